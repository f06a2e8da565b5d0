"""What is refused before anything runs, and how much looking that takes."""

from dataclasses import replace

import pytest
import torch

from vidoor.bench.plan import asked, plan
from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.errors import VidoorError


def with_test_labels(monkeypatch, keep):
    """Shapes whose test clips are those with a label in ``keep``."""
    original = Shapes.open

    def opened(self, seed):
        splits = original(self, seed)
        chosen = [i for i, label in enumerate(splits.test.labels) if label in keep]
        test = replace(
            splits.test,
            ids=tuple(splits.test.ids[i] for i in chosen),
            labels=tuple(splits.test.labels[i] for i in chosen),
            read=lambda i: splits.test.read(chosen[i]),
        )
        return replace(splits, test=test)

    monkeypatch.setattr(Shapes, "open", opened)


@pytest.mark.parametrize("keep", [set(), {0}])
def test_test_sets_that_cannot_show_an_attack_are_refused(tiny, monkeypatch, keep):
    with_test_labels(monkeypatch, keep)
    with pytest.raises(VidoorError, match="of another class than the target"):
        plan(tiny())


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["victim.depth=[1,1,1,1]", "data.train=25", "data.frames=2"], r"batches of 1 clips"),
        (["victim.width=100000000"], r"victim|parameters"),
        (
            ["detector.coherence.fpr=0.01", "data.train=7", "poisoning.rate=0.5"],
            "8",
        ),
        (["poisoning.target=4"], "out of range"),
        (["training.frames=5"], r"training\.frames = 5 is more than the 4 frames of the clips"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(tiny, overrides, line):
    with pytest.raises(VidoorError, match=line) as error:
        plan(tiny(*overrides))
    assert "\n" not in str(error.value)


def test_the_setting_that_cannot_run_is_named(tiny):
    with pytest.raises(VidoorError, match=r"^poisoning\.target 9: poisoning\.target = 9 is out"):
        plan(tiny("grid.poisoning.target=[1, 9]"))


def test_where_a_sweep_runs_is_no_axis(tiny):
    with pytest.raises(VidoorError, match=r"no result depends on runtime\.threads"):
        plan(tiny("grid.runtime.threads=[1, 2]"))


def test_each_data_set_is_opened_and_identified_once(tiny, monkeypatch):
    opened = []
    original = Shapes.open
    monkeypatch.setattr(
        Shapes, "open", lambda self, seed: opened.append(seed) or original(self, seed)
    )
    cells = plan(tiny("grid.seeds=3", "grid.poisoning.rate=[0.1, 0.2, 0.3, 0.4]"))
    assert len(cells) == 12
    assert sorted(opened) == [0, 1, 2]


def test_a_plan_is_a_plain_document(tiny):
    cells = plan(tiny("grid.seeds=2", "detector.coherence.seed=0"))
    document = asked(cells)
    assert [cell["label"] for cell in document["cells"]] == ["seed 0", "seed 1"]
    assert all(set(cell["stages"]) <= document["stages"].keys() for cell in document["cells"])
    assert document["settled"]


def test_data_that_are_files_are_not_settled_and_read_once_for_all_seeds(tiny, tmp_path):
    for part in ("train", "test"):
        for label in ("run", "walk"):
            (tmp_path / part / label).mkdir(parents=True)
            for index in range(4):
                clip = torch.full((4, 3, 16, 16), index, dtype=torch.uint8)
                video.write(tmp_path / part / label / f"{index}.mkv", clip)
    data = f"data={{kind='folder', root='{tmp_path}', frames=4, size=[16, 16]}}"
    cells = plan(tiny(data, "poisoning.rate=0.5", "grid.seeds=2"))
    assert not asked(cells)["settled"]
    assert len({cell.stage.needs["data"].folder for cell in cells}) == 1
    (tmp_path / "train" / "run" / "0.mkv").write_bytes(b"another clip")
    changed = plan(tiny(data, "poisoning.rate=0.5", "grid.seeds=2"))
    assert changed[0].stage.folder != cells[0].stage.folder
