"""An audit from the clips to the files: what it finds, what it leaves, what stops it."""

import csv
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from auditing import GEOMETRY, request
from PIL import Image
from pydantic import TypeAdapter

from vidoor.audit import source as sources
from vidoor.audit.command import audit
from vidoor.audit.record import Record
from vidoor.bench.sources import data_set
from vidoor.detectors.coherence import Coherence
from vidoor.errors import DataError, VidoorError
from vidoor.types import Geometry


def test_a_poisoned_set_is_found_with_all_its_clips(finished, planted) -> None:
    record, _ = finished
    assert (record.verdict.status, record.verdict.exit) == ("findings", 1)
    assert {suspect.clip for suspect in record.suspicious} == planted
    assert [suspect.rank for suspect in record.suspicious] == list(range(1, len(planted) + 1))
    scores = [suspect.score for suspect in record.suspicious]
    assert scores == sorted(scores, reverse=True)
    (finding,) = record.findings
    assert (finding.check, finding.clips) == ("coherence", len(planted))
    assert finding.classes == (record.clips.classes[1],)
    assert record.clips.geometry == GEOMETRY and record.clips.kind == "folder"
    told = f"{len(planted)} of 72 clips carry one hidden pattern, all of them labelled"
    assert told in record.verdict.text and record.verdict.false_alarms["coherence"]
    assert record.verdict.text.count(".\n") == 0 and record.verdict.text.endswith(".")
    assert all("shares a pattern with" in s.reasons[0] for s in record.suspicious)


def test_a_clean_set_is_left_alone(clean: Path, tmp_path: Path) -> None:
    record = audit(request(clips=clean, out=tmp_path / "out"))
    assert (record.verdict.status, record.verdict.exit) == ("clean", 0)
    assert record.suspicious == record.findings == () and "pattern" not in record.files
    assert not (tmp_path / "out" / "pattern.png").exists()
    assert len(rows(tmp_path / "out" / "clean.csv")) == 72
    assert "No sign of a backdoor in 72 clips (coherence: " in record.verdict.text


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_the_record_has_its_form(finished) -> None:
    record, out = finished
    text = (out / "audit.json").read_bytes()
    assert TypeAdapter(Record).validate_json(text) == TypeAdapter(Record).validate_python(
        json.loads(text)
    )
    assert set(record.files.values()) | {"stages"} == {
        path.name for path in out.iterdir() if path.name != ".lock"
    }


def test_the_cleaned_split_is_read_by_vidoor(finished, poisoned: Path, planted, tmp_path) -> None:
    record, out = finished
    copy = shutil.copytree(poisoned, tmp_path / "copy")
    shutil.copy(out / "clean.csv", copy)
    splits = data_set(copy, "manifest", {"frames": 12, "size": [32, 32]}).open(0)
    assert len(splits.train) == 72 - len(planted) and not planted & set(splits.train.ids)
    told = {row["path"]: row["label"] for row in rows(out / "clean.csv")}
    assert all(label == clip.split("/")[0] for clip, label in told.items())
    assert [row["path"] for row in rows(out / "suspicious.csv")] == [
        suspect.clip for suspect in record.suspicious
    ]


def test_the_pattern_is_there_as_numbers_and_as_a_picture(finished) -> None:
    _, out = finished
    with np.load(out / "pattern.npz") as file:
        template = file["template"]
    assert template.shape == GEOMETRY and template.dtype == np.float32
    with Image.open(out / "pattern.png") as picture:
        assert picture.size[0] > 8 * 32


def test_the_page_needs_no_network(finished, planted) -> None:
    page = (finished[1] / "index.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") == min(24, len(planted))
    assert page.count("data:image/png;base64,") == 1
    assert all(clip in page for clip in planted)


def test_again_nothing_is_computed(finished, poisoned: Path, monkeypatch) -> None:
    record, out = finished
    monkeypatch.setattr(Coherence, "inspect", None)
    again = audit(request(clips=poisoned, out=out))
    same = {"seconds": {}, "folder": ""}
    assert replace(again, **same) == replace(record, **same)


def test_clips_without_labels(poisoned: Path, planted, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in poisoned.rglob("*.mkv"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    odd = os.fsdecode(b"odd \xff.mkv")  # no text in any encoding that is asked for
    next(path for path in flat.iterdir() if path.name.replace("-", "/", 1) not in planted).rename(
        flat / odd
    )
    record = audit(request(clips=flat, out=tmp_path / "out"))
    assert record.verdict.status == "findings" and not record.clips.labelled
    assert {s.clip for s in record.suspicious} == {clip.replace("/", "-") for clip in planted}
    assert {row["label"] for row in rows(tmp_path / "out" / "clean.csv")} == {"unlabelled"}
    assert odd in {row["path"] for row in rows(tmp_path / "out" / "clean.csv")}
    forced = audit(request(clips=poisoned, kind="unlabelled", out=tmp_path / "forced"))
    assert {s.clip for s in forced.suspicious} == planted


def test_a_hostile_file_costs_itself_alone(poisoned: Path, planted, tmp_path: Path) -> None:
    copy = shutil.copytree(poisoned, tmp_path / "copy")
    (copy / "zoo").mkdir()
    (copy / "zoo" / "text.mkv").write_text("no clip")
    whole = next(path for path in copy.rglob("*.mkv") if str(path.relative_to(copy)) not in planted)
    whole.write_bytes(whole.read_bytes()[:2000])
    (copy / "loose.mkv").write_bytes(b"beside")
    record = audit(request(clips=copy, out=tmp_path / "out"))
    lost = {clip.clip for clip in record.clips.quarantined}
    assert lost == {"zoo/text.mkv", str(whole.relative_to(copy))}
    assert (record.clips.listed, record.clips.judged) == (73, 71)
    assert [clip.clip for clip in record.clips.reported] == ["loose.mkv"]
    assert {suspect.clip for suspect in record.suspicious} == planted
    assert lost.isdisjoint(row["path"] for row in rows(tmp_path / "out" / "clean.csv"))
    with pytest.raises(DataError, match="of 73 clips cannot be used"):
        audit(request(clips=copy, out=tmp_path / "strict", strict=True))


def test_a_budget_ends_with_what_there_is(poisoned: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    record = audit(request(clips=poisoned, out=out, minutes=1e-9))
    assert (record.verdict.status, record.verdict.exit) == ("unfinished", 2)
    assert record.not_done == ("coherence",) and record.clips.judged == 0
    assert not (out / "clean.csv").exists() and "not done: coherence" in record.verdict.text
    assert json.loads((out / "audit.json").read_text())["checks"][0]["state"] == "not done"

    def endless(*arguments: object, **options: object) -> None:
        while True:
            time.sleep(0.01)

    audit(request(clips=poisoned, out=tmp_path / "warm"))
    with monkeypatch.context() as patch:
        patch.setattr(Coherence, "inspect", endless)
        record = audit(request(clips=poisoned, out=out, minutes=0.1))
    assert record.not_done == ("coherence",) and record.clips.judged == 72
    assert audit(request(clips=poisoned, out=out)).verdict.status == "findings"


def test_an_interrupt_loses_no_verdict(poisoned: Path, tmp_path: Path, monkeypatch) -> None:
    from vidoor.audit import outputs

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    asked = request(clips=poisoned, out=tmp_path / "out")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outputs, "write", interrupted)
        audit(asked)
    monkeypatch.setattr(Coherence, "inspect", None)
    assert audit(asked).verdict.status == "findings"


def test_another_option_is_another_check(finished, poisoned: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished[1], tmp_path / "out")
    audit(request(clips=poisoned, out=out, overrides=["detector.coherence.fpr=0.01"]))
    assert len(list((out / "stages").glob("coherence-*"))) == 2
    assert len(list((out / "stages").glob("clips-*"))) == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"clips": Path("absent")}, "absent: no such file or folder"),
        ({"minutes": 0.0}, "--budget is 0 minutes; give more than 0"),
        ({"seed": -1}, "--seed must be in"),
        ({"kind": "hmdb"}, "unknown data kind 'hmdb'"),
        ({"overrides": ["detector.nc.steps=3"]}, "nc looks at a model; give one with --model"),
        ({"overrides": ["detector.coherence.fpr=2"]}, "give valid|fpr"),
        ({"overrides": ["detector.strip.fpr=0.1"]}, "strip looks at a model"),
        (
            {"overrides": ["detector.coherence.kind=spectral-signatures"]},
            "coherence is asked in every audit; add the other one under a name of its own",
        ),
        ({"overrides": ["trigger.rms=3"]}, "unknown table 'trigger'"),
        ({"overrides": ["data=3"]}, "data must be a table of options"),
        ({"frames": 10**9}, "give at most"),
        ({"size": (4, 4)}, "give .*8×8 or more|8"),
        ({"model": Path("absent.safetensors")}, "absent.safetensors: no such file"),
    ],
)
def test_impossible_audits_get_a_line_and_leave_nothing(
    poisoned: Path, tmp_path: Path, monkeypatch, change, line
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VidoorError, match=line) as caught:
        audit(request(**{"clips": poisoned, **change}))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_audit_overwrites_nothing_else(poisoned: Path, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("…")
    (tmp_path / "file").write_text("…")
    clip = next(clean.rglob("*.mkv"))
    for asked, line in (
        (request(clips=poisoned, out=poisoned / "audit"), "lies in the folder of the clips"),
        (request(clips=poisoned, out=tmp_path / "thesis"), "holds what is no audit"),
        (request(clips=poisoned, out=tmp_path / "file"), "is a file"),
        (request(clips=clip, out=tmp_path / "new"), "is one file; an audit compares clips"),
        (
            request(clips=tmp_path / "thesis", out=tmp_path / "new"),
            "holds no clips and no class folders",
        ),
    ):
        with pytest.raises(DataError, match=line):
            audit(asked)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis", "file"}


@pytest.mark.parametrize(
    ("shapes", "geometry"),
    [
        ([], (32, 112, 112)),
        ([(20, 40, 50)], (20, 40, 50)),
        ([(20, 40, 50), (12, 40, 50)], (12, 40, 50)),
        ([(40, 40, 50), (50, 40, 50)], (32, 40, 50)),
        ([(4, 40, 50), (5, 40, 50)], (8, 40, 50)),
        ([(20, 40, 50), (20, 50, 40)], (20, 112, 112)),
        ([(70, 240, 50)], (32, 112, 112)),
        ([(64, 224, 224)], (64, 224, 224)),
    ],
)
def test_clips_are_looked_at_as_they_are_where_they_are_alike(shapes, geometry) -> None:
    assert sources.common(Geometry(*shape) for shape in shapes) == geometry


def test_the_geometry_is_the_one_asked_for_or_the_models_or_their_own(clean: Path) -> None:
    asked = sources.find(clean, None, {"frames": 9, "size": [10, 12]}, None)
    assert asked.clips.geometry == (9, 10, 12) == asked.clips.read.geometry
    told = sources.find(clean, None, {"frames": 9}, sources.USUAL)
    assert told.clips.geometry == (9, 112, 112)
    assert sources.find(clean, None, {"frames": 9}, None).clips.geometry == (9, 32, 32)


def test_every_layout_is_recognised_and_all_its_clips_are_judged(tmp_path: Path) -> None:
    import trees

    made = {
        "ucf101": (trees.ucf101, 12, 6),
        "hmdb51": (trees.hmdb51, 18, 6),
        "gsl": (trees.gsl, 6, 6),
        "manifest": (trees.table, 8, 2),
        "folder": (trees.folder, 10, 0),
    }
    for kind, (make, train, test) in made.items():
        make(tmp_path / kind)
        found = sources.find(tmp_path / kind, None, {"frames": 4, "size": [16, 16]}, None)
        assert found.kind == kind and found.labelled
        assert (found.splits.count("train"), found.splits.count("test")) == (train, test)
        assert len(set(found.clips.ids)) == train + test == len(found.stamps())
        assert all((found.root / clip).exists() for clip in found.clips.ids)
        assert found.clips.read.path(train + test - 1) == found.root / found.clips.ids[-1]


def test_links_out_of_a_flat_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "secret.mkv").write_text("…")
    (tmp_path / "flat" / "a.mkv").symlink_to(tmp_path / "secret.mkv")
    with pytest.raises(DataError, match="flat"):
        sources.find(tmp_path / "flat", None, {"frames": 4, "size": [16, 16]}, None)


def test_the_same_folder_is_for_one_audit_at_a_time(poisoned: Path, tmp_path: Path) -> None:
    from vidoor.bench import store

    (tmp_path / "out" / "stages").mkdir(parents=True)
    with store.locked(tmp_path / "out"), pytest.raises(DataError, match="another audit works"):
        audit(request(clips=poisoned, out=tmp_path / "out"))


def test_without_room_in_the_cache_clips_lie_in_the_stage(
    poisoned: Path, planted, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("VIDOOR_CACHE", "")
    asked = request(clips=poisoned, out=tmp_path / "out")
    assert {suspect.clip for suspect in audit(asked).suspicious} == planted
    assert len(list((tmp_path / "out" / "stages").glob("clips-*/clips.npy"))) == 1


def test_files_that_change_while_they_are_read(poisoned: Path, tmp_path, monkeypatch) -> None:
    seen = iter(SimpleNamespace(value=[[clip, at]]) for at, clip in enumerate("abcd"))
    monkeypatch.setattr(sources.Source, "stamps", lambda self: next(seen).value)
    with pytest.raises(DataError, match="changed while they were read"):
        audit(request(clips=poisoned, out=tmp_path / "out"))
