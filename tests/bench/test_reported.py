"""What lists get wrong stands in the record of a run."""

import trees

from vidoor.report.tables import read_json


def test_a_run_names_the_clips_that_are_missing(perform, tmp_path):
    trees.ucf101(tmp_path / "set", trees.film)
    gone = [trees.ucf_clip("YoYo", group, 1) for group in (2, 1)]
    for clip in gone:
        (tmp_path / "set" / "UCF-101" / clip).unlink()
    data = f'kind = "ucf101", root = "{tmp_path / "set"}", frames = 4, size = [16, 16]'
    (folder,) = perform(f"data={{{data}}}").folders
    told = read_json(folder / "result.json")["data"]
    assert told["quarantined"] == [{"id": f"UCF-101/{clip}", "reason": "missing"} for clip in gone]
    assert told["train"] == 11
