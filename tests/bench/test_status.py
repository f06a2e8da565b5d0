"""What folders tell of a sweep: states held against hand-made ones, costs, and what is recalled."""

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import strategies as st

from vidoor import SCHEMA
from vidoor.bench import status, store
from vidoor.bench.status import recall, remember, survey, sweeps
from vidoor.errors import DataError

CLIPS, TRAIN, OTHER = "stages/data-0", "stages/train-1", "stages/train-2"
ASKED = {
    "name": "mine",
    "workers": 2,
    "settled": True,
    "cells": [
        {"label": "seed 0", "run": "r0", "stages": [CLIPS, TRAIN, "r0"]},
        {"label": "seed 1", "run": "r1", "stages": [CLIPS, OTHER, "r1"]},
    ],
    "stages": {
        CLIPS: {"label": "data", "like": "d"},
        TRAIN: {"label": "train clean", "like": "t"},
        OTHER: {"label": "train poisoned", "like": "t"},
        "r0": {"label": "run", "like": "r"},
        "r1": {"label": "run", "like": "r"},
    },
}


@pytest.fixture
def finish(tmp_path):
    """Makes stages complete, each at a cost of so many seconds."""

    def finished(*names: str, seconds: float = 1.0, like: str = "") -> None:
        for name in names:
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "result.json").write_text("{}")
            own = ASKED["stages"].get(name, {}).get("like", "")
            store.finish(tmp_path / name, {"seconds": seconds}, like=like or own)

    return finished


def failed(out: Path, run: str, text: str | None = None) -> None:
    (out / run).mkdir(exist_ok=True)
    told = json.dumps({"stage": "train clean", "problem": "no room", "details": "…"})
    (out / run / store.ERROR).write_text(told if text is None else text)


def states(out: Path):
    return [cell["state"] for cell in survey(ASKED, out)["cells"]]


# ---- how far a sweep is --------------------------------------------------------------------------


def test_nothing_is_there_yet(tmp_path):
    found = survey(ASKED, tmp_path)
    assert found == {
        "name": "mine",
        "cells": [
            {"label": "seed 0", "run": "r0", "state": "missing", "missing": 3},
            {"label": "seed 1", "run": "r1", "state": "missing", "missing": 3},
        ],
        "complete": 0,
        "failed": 0,
        "stages": 5,
        "missing": 5,
        "running": [],
        "seconds": 0,
        "unknown": 5,
        "workers": 2,
    }
    assert list(tmp_path.iterdir()) == [], "looking has left something"


def test_a_cell_is_partly_there_then_complete(tmp_path, finish):
    finish(CLIPS)
    assert states(tmp_path) == ["partly", "partly"]
    finish(TRAIN)
    found = survey(ASKED, tmp_path)
    assert [cell["missing"] for cell in found["cells"]] == [1, 2]
    finish("r0")
    found = survey(ASKED, tmp_path)
    assert [cell["state"] for cell in found["cells"]] == ["complete", "partly"]
    assert (found["complete"], found["missing"]) == (1, 2)
    finish(OTHER, "r1")
    found = survey(ASKED, tmp_path)
    assert (found["complete"], found["missing"], found["seconds"]) == (2, 0, 0)


def test_what_is_damaged_is_missing(tmp_path, finish):
    finish(CLIPS, TRAIN, OTHER, "r0", "r1")
    (tmp_path / TRAIN / "result.json").write_text("cut")
    (tmp_path / "r0" / "result.json").unlink()
    assert states(tmp_path) == ["partly", "complete"]
    assert survey(ASKED, tmp_path)["missing"] == 2


def test_a_complete_run_stays_so_without_what_it_was_made_from(tmp_path, finish):
    finish("r0", "r1")
    found = survey(ASKED, tmp_path)
    assert [cell["state"] for cell in found["cells"]] == ["complete", "complete"]
    assert (found["missing"], found["unknown"]) == (0, 0)
    (tmp_path / "r1" / store.DONE).unlink()
    found = survey(ASKED, tmp_path)
    assert [cell["state"] for cell in found["cells"]] == ["complete", "missing"]
    assert found["missing"] == 3, "the first run's own victim is not wanted any more"


def test_a_failed_cell_tells_why_until_it_is_complete(tmp_path, finish):
    failed(tmp_path, "r0")
    found = survey(ASKED, tmp_path)
    assert found["failed"] == 1
    assert found["cells"][0] == {
        "label": "seed 0",
        "run": "r0",
        "state": "failed",
        "missing": 3,
        "stage": "train clean",
        "problem": "no room",
    }
    finish(CLIPS)
    assert states(tmp_path) == ["failed", "partly"]
    finish(TRAIN, "r0")
    assert states(tmp_path) == ["complete", "partly"]


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "{}", '{"stage": "x"}', "[" * 100_000])
def test_an_error_that_cannot_be_read_is_none(tmp_path, text):
    failed(tmp_path, "r0", text)
    assert states(tmp_path) == ["missing", "missing"]


def test_what_is_being_worked_at_is_told_with_who_works_at_it(tmp_path, finish):
    finish(CLIPS)
    failed(tmp_path, "r0")
    (tmp_path / TRAIN).mkdir(parents=True)
    with store.locked(tmp_path / TRAIN) as ours:
        assert ours
        found = survey(ASKED, tmp_path)
        assert [cell["state"] for cell in found["cells"]] == ["running", "partly"]
        by = f"{socket.gethostname()} {os.getpid()}"
        assert found["running"] == [{"stage": "train clean", "by": by}]
    assert states(tmp_path) == ["failed", "partly"]
    assert survey(ASKED, tmp_path)["running"] == []


def test_what_many_runs_share_is_running_for_all_of_them(tmp_path):
    (tmp_path / CLIPS).mkdir(parents=True)
    with store.locked(tmp_path / CLIPS):
        found = survey(ASKED, tmp_path)
        assert [cell["state"] for cell in found["cells"]] == ["running", "running"]
        assert len(found["running"]) == 1


# ---- what is left of it --------------------------------------------------------------------------


SECONDS = st.lists(st.floats(0, 1e6), min_size=1, max_size=6)


def test_an_estimate_is_the_median_of_its_like_and_of_nothing_else(tmp_path, finish):
    """A stage of the same kind may take a thousand times as long: it tells nothing."""
    for name, seconds, like in [("a", 1.0, "t"), ("b", 9.0, "t"), ("c", 5.0, "t"), ("d", 1e4, "u")]:
        finish(f"stages/train-{name}", seconds=seconds, like=like)
    found = survey(ASKED, tmp_path)
    assert found["seconds"] == 2 * 5.0
    assert found["unknown"] == 3
    (tmp_path / "stages/train-b" / "result.json").unlink()  # no longer complete: counts no more
    assert survey(ASKED, tmp_path)["seconds"] == 2 * (1.0 + 5.0) / 2


def test_folders_that_hold_something_else_are_no_costs(tmp_path, finish):
    finish("stages/train-a", seconds=4.0, like="t")
    for name, text in {"x": "[]", "y": "{", "stages/train-z": "null"}.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / store.DONE).write_text(text)
    assert survey(ASKED, tmp_path)["seconds"] == 2 * 4.0


# ---- what was asked for --------------------------------------------------------------------------

DOCUMENT = {"name": "mine", "seed": 3, "runtime": {"workers": 2}}


def complete(out: Path, finish) -> None:
    finish("r0", "r1")
    for run in ("r0", "r1"):
        (out / run / store.PAGE).write_text("<html>")


def test_what_was_asked_is_recalled_once_it_is_complete(tmp_path, finish):
    assert recall(DOCUMENT, tmp_path) is None
    remember(DOCUMENT, tmp_path, ASKED)
    assert recall(DOCUMENT, tmp_path) is None
    complete(tmp_path, finish)
    known = recall(DOCUMENT, tmp_path)
    assert known is not None
    assert known.pop("code")
    assert known == {"schema": SCHEMA, **ASKED}
    elsewhere = {**DOCUMENT, "runtime": {"workers": 7, "out": "elsewhere"}}
    assert recall(elsewhere, tmp_path) == recall(DOCUMENT, tmp_path)
    assert recall({**DOCUMENT, "seed": 4}, tmp_path) is None


def test_other_code_may_ask_for_other_runs(tmp_path, finish, monkeypatch):
    remember(DOCUMENT, tmp_path, ASKED)
    complete(tmp_path, finish)
    assert recall(DOCUMENT, tmp_path) is not None
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr("vidoor.__file__", str(package / "__init__.py"))
    assert recall(DOCUMENT, tmp_path) is None


@pytest.mark.parametrize("name", [store.PAGE, store.DONE, "result.json"])
@pytest.mark.parametrize("run", ["r0", "r1"])
def test_a_run_that_lacks_a_file_has_to_be_looked_at(tmp_path, finish, run, name):
    remember(DOCUMENT, tmp_path, ASKED)
    complete(tmp_path, finish)
    (tmp_path / run / name).unlink()
    assert recall(DOCUMENT, tmp_path) is None


def test_an_empty_page_has_to_be_drawn_anew(tmp_path, finish):
    remember(DOCUMENT, tmp_path, ASKED)
    complete(tmp_path, finish)
    (tmp_path / "r1" / store.PAGE).write_text("")
    assert recall(DOCUMENT, tmp_path) is None


def test_what_depends_on_files_is_never_recalled(tmp_path, finish):
    remember(DOCUMENT, tmp_path, {**ASKED, "settled": False})
    complete(tmp_path, finish)
    assert recall(DOCUMENT, tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", "{}", "[" * 100_000])
def test_a_damaged_note_is_none(tmp_path, finish, text):
    remember(DOCUMENT, tmp_path, ASKED)
    complete(tmp_path, finish)
    (note,) = (tmp_path / status.SWEEPS).iterdir()
    note.write_text(text)
    assert recall(DOCUMENT, tmp_path) is None
    assert sweeps(tmp_path) == []


def test_a_note_of_another_schema_is_none(tmp_path, finish):
    complete(tmp_path, finish)
    remember(DOCUMENT, tmp_path, {**ASKED, "schema": SCHEMA + 1})
    assert recall(DOCUMENT, tmp_path) is None
    assert sweeps(tmp_path) == []


def test_sweeps_are_told_the_latest_last(tmp_path):
    assert sweeps(tmp_path) == []
    for place, name in enumerate("bca"):
        remember({**DOCUMENT, "name": name}, tmp_path, {**ASKED, "name": name})
        for path in (tmp_path / status.SWEEPS).iterdir():
            if json.loads(path.read_text())["name"] == name:
                os.utime(path, (1000 + place, 1000 + place))
    assert [asked["name"] for asked in sweeps(tmp_path)] == ["b", "c", "a"]


def test_a_folder_that_is_not_there_gets_one_line(tmp_path):
    with pytest.raises(DataError, match=r"absent: no such folder; give the folder of the runs"):
        sweeps(tmp_path / "absent")
