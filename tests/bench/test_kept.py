"""Sweeps that go on where a saved result ends, in a folder that has nothing of it."""

import json
from threading import Thread

import pytest

from vidoor.bench import command, store
from vidoor.errors import DataError, VidoorError
from vidoor.report import saved


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """The folder of a sweep of two seeds, and of its result."""
    folder = tmp_path_factory.mktemp("made")
    document = tiny("grid.seeds=2")
    runs, failed = command.perform(document, folder / "runs")
    assert not failed
    saved.save(folder / "result", document, runs)
    return folder


@pytest.fixture
def result(made, tmp_path):
    """A copy of the result that may be spoilt."""
    records = tmp_path / "result" / "records"
    records.mkdir(parents=True)
    for path in (made / "result" / "records").iterdir():
        (records / path.name).write_bytes(path.read_bytes())
    return records.parent


def test_only_what_the_result_lacks_is_made(tiny, made, result, tmp_path):
    document = tiny("grid.seeds=3")
    foreseen = command.foresee(document, tmp_path / "runs", result)
    assert (foreseen["complete"], len(foreseen["cells"]), foreseen["missing"]) == (2, 3, 5)
    assert not (tmp_path / "runs").exists()
    runs, failed = command.perform(document, tmp_path / "runs", result)
    assert not failed and len(runs) == 3
    assert len([*(tmp_path / "runs" / "stages").iterdir()]) == 4  # of the third seed
    for old in (made / "result" / "records").iterdir():
        assert (tmp_path / "runs" / old.stem / "result.json").read_bytes() == old.read_bytes()
        assert (tmp_path / "runs" / old.stem / "recipe.toml").read_text().count("seed = ") > 0
        assert (tmp_path / "runs" / old.stem / store.PAGE).stat().st_size > 0
    saved.save(result, document, runs)
    assert {path.stem for path in (result / "records").iterdir()} == {run.name for run in runs}


def test_what_is_complete_in_the_folder_stays(tiny, made, result):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()}
    for record in (result / "records").iterdir():
        record.write_text("spoilt")  # nobody looks at it
    runs, _ = command.perform(tiny("grid.seeds=2"), made / "runs", result)
    assert len(runs) == 2
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()} == before


def test_other_settings_take_nothing_over(tiny, result, tmp_path):
    found = command.foresee(tiny("grid.seeds=2", "training.lr=0.01"), tmp_path / "runs", result)
    assert found["complete"] == 0


@pytest.mark.parametrize("make", [lambda _: "{", lambda record: record | {"run_id": "another"}])
def test_a_record_that_is_not_of_its_run_is_one_line(tiny, result, tmp_path, make):
    path = next((result / "records").iterdir())
    spoilt = make(json.loads(path.read_text()))
    path.write_text(spoilt if isinstance(spoilt, str) else json.dumps(spoilt))
    with pytest.raises(VidoorError, match=path.stem) as caught:
        command.perform(tiny("grid.seeds=2"), tmp_path / "runs", result)
    assert "\n" not in str(caught.value)


def test_what_another_process_takes_over_is_waited_for(tiny, result, tmp_path):
    document, runs = tiny("grid.seeds=2"), tmp_path / "runs"
    folder = runs / next((result / "records").iterdir()).stem
    folder.mkdir(parents=True)
    with store.locked(folder) as ours:
        assert ours
        other = Thread(target=command.perform, args=(document, runs, result))
        other.start()
        other.join(2)
        assert other.is_alive() and not store.done(folder)
    other.join(60)
    assert store.done(folder) and not (runs / "stages").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tiny, result, tmp_path):
    path = next((result / "records").iterdir())
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / path.stem).write_text("in the way")
    with pytest.raises(DataError, match="cannot be written") as caught:
        command.perform(tiny("grid.seeds=2"), tmp_path / "runs", result)
    assert "\n" not in str(caught.value)


def test_the_command_takes_over_what_it_saves_to(vidoor_command, made, result, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_bytes((made / "result" / "recipe.toml").read_bytes())
    done = vidoor_command("sweep", recipe, "--out", tmp_path / "runs", "--save", result)
    assert done.returncode == 0, done.stderr
    assert "taken over" in done.stderr and "2 runs" in done.stderr
    assert not (tmp_path / "runs" / "stages").exists()
    assert (result / "table.md").read_bytes() == (made / "result" / "table.md").read_bytes()
