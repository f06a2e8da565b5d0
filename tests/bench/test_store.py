"""Records on disk: whole or not at all, readable by others, and made by one process at a time."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidoor.bench import store
from vidoor.bench.environment import environment

# ---- what is written -----------------------------------------------------------------------------


def test_json_holds_numbers_and_null_for_what_is_not_one(tmp_path: Path):
    path = tmp_path / "r.json"
    store.write_json(path, {"a": np.float32(0.5), "b": float("nan"), "c": [np.int64(3), np.inf]})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None, "c": [3, None]}


FLOATS = st.floats(width=32)
SHOWN = st.text("aδ\n\"'\0", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | FLOATS.map(np.float32) | SHOWN,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(SHOWN, inner),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_strict_json_in_ascii_of_the_same_value(value):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, float | np.float32):
            return float(value) if np.isfinite(value) else None
        return value

    def refuse(constant):
        raise AssertionError(constant)

    text = store.dumps(value)
    assert text.isascii()
    assert json.loads(text, parse_constant=refuse) == plain(value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "r.json"
    store.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        store.write_json(path, {"new": object()})
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write_arrays(path, {"x": np.array([object()])})
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_come_back_without_unpickling(tmp_path: Path):
    arrays = {"d.ids": np.array(["a", "b"]), "d.scores": np.arange(2.0)}
    store.write_arrays(tmp_path / "s.npz", arrays)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as back:
        assert back["d.ids"].tolist() == ["a", "b"]
        assert back["d.scores"].tolist() == [0.0, 1.0]


def test_the_environment_is_recorded():
    told = environment("cpu")
    assert {"vidoor", "python", "torch", "numpy", "platform", "cpu", "threads", "gpu"} == set(told)
    json.dumps(told)


# ---- what is complete ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path):
    """A complete folder of two files and more."""
    (tmp_path / "weights.safetensors").write_bytes(bytes(1000))
    (tmp_path / "empty.json").write_bytes(b"")
    for name in (store.PAGE, store.ERROR, store.LOCK, ".partial-0.npz"):
        (tmp_path / name).write_text("of no concern")
    store.finish(tmp_path, {"seconds": 2.5, "forward": 3}, label="train clean", like="abc")
    return tmp_path


def test_a_finished_folder_tells_its_files_its_cost_and_what_it_is(folder):
    record = store.done(folder)
    finished = datetime.fromisoformat(record.pop("finished"))
    assert timedelta(0) <= datetime.now(UTC) - finished < timedelta(minutes=1)
    assert record == {
        "files": {"weights.safetensors": 1000, "empty.json": 0},
        "cost": {"seconds": 2.5, "forward": 3},
        "label": "train clean",
        "like": "abc",
    }
    assert store.cost(folder) == record["cost"]


def test_what_was_not_there_in_the_end_does_not_count(folder):
    for name in (store.PAGE, store.ERROR, store.LOCK, ".partial-0.npz"):
        (folder / name).unlink()
    (folder / "later.txt").write_text("written later")
    assert store.done(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "empty.json", store.DONE])
def test_a_folder_that_lacks_a_file_is_not_complete(folder, name):
    (folder / name).unlink()
    assert store.done(folder) is None
    assert store.cost(folder) == {}


@pytest.mark.parametrize("size", [0, 999, 1001])
def test_a_file_of_another_size_makes_a_folder_incomplete(folder, size):
    (folder / "weights.safetensors").write_bytes(bytes(size))
    assert store.done(folder) is None


def test_a_record_cut_off_anywhere_is_none(folder):
    whole = (folder / store.DONE).read_bytes().rstrip()
    for length in range(len(whole)):
        (folder / store.DONE).write_bytes(whole[:length])
        assert store.done(folder) is None
    (folder / store.DONE).write_bytes(whole)
    assert store.done(folder)


OTHER = [
    "null",
    "5",
    "true",
    '"files"',
    "[]",
    '["files"]',
    "{}",
    '{"files": 3}',
    '{"files": ["a"]}',
]
OTHER += ['{"files": null}', '{"files": {"empty.json": "0"}}', '{"files": {"nul\\u0000": 0}}']
OTHER += ["[" * 100_000]


@pytest.mark.parametrize("content", OTHER)
def test_a_record_of_another_form_is_none(folder, content):
    (folder / store.DONE).write_text(content)
    assert store.done(folder) is None
    (folder / store.DONE).write_bytes(b"\xff" + content.encode())
    assert store.done(folder) is None


def test_where_there_is_no_folder_nothing_is_complete(tmp_path: Path):
    assert store.done(tmp_path / "absent") is None
    (tmp_path / "file").write_text("")
    assert store.done(tmp_path / "file") is None
    (tmp_path / store.DONE).mkdir()
    assert store.done(tmp_path) is None


def test_finishing_again_tells_what_is_there_now(folder):
    (folder / "empty.json").unlink()
    (folder / "history.json").write_text("[]")
    store.finish(folder, {"seconds": 1.0})
    assert store.done(folder)["files"] == {"weights.safetensors": 1000, "history.json": 2}


def test_tidying_leaves_what_a_stage_goes_on_from(folder):
    (folder / ".partial-1.json").write_text("[")
    store.tidy(folder)
    assert store.done(folder) is None
    left = {path.name for path in folder.iterdir()}
    assert left == {"weights.safetensors", "empty.json", store.PAGE, store.ERROR, store.LOCK}
    store.tidy(folder)


# ---- whose a folder is ---------------------------------------------------------------------------

TRY = """
import sys
from pathlib import Path
from vidoor.bench import store
with store.locked(Path(sys.argv[1])) as ours:
    print("held" if ours else "refused", flush=True)
    sys.stdin.read()
"""


@contextmanager
def elsewhere(folder: Path):
    """Another process that tries to hold ``folder`` until it is told to let go: what it got."""
    command = [sys.executable, "-c", TRY, folder]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            process.word = process.stdout.readline().strip()
            yield process
        finally:
            process.kill()


def mine(folder: Path) -> bool:
    with store.locked(folder) as ours:
        return ours


def test_one_process_at_a_time_holds_a_folder(tmp_path: Path):
    with elsewhere(tmp_path) as first:
        assert first.word == "held"
        assert not mine(tmp_path)
        with elsewhere(tmp_path) as second:
            assert second.word == "refused"
        assert store.holder(tmp_path) == f"{socket.gethostname()} {first.pid}"
        assert not mine(tmp_path), "one that was refused or looked has freed the folder"
        first.communicate("", timeout=30)
        assert first.returncode == 0
    assert store.holder(tmp_path) is None
    assert mine(tmp_path)
    with store.locked(tmp_path), elsewhere(tmp_path) as other:
        assert other.word == "refused"


def test_the_folder_of_a_dead_process_is_free(tmp_path: Path):
    with elsewhere(tmp_path) as holder:
        assert holder.word == "held"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert store.holder(tmp_path) is None
        with store.locked(tmp_path) as ours:
            assert ours
            assert store.holder(tmp_path) == f"{socket.gethostname()} {os.getpid()}"


def test_an_error_inside_frees_the_folder(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), store.locked(tmp_path):
        raise KeyboardInterrupt
    assert mine(tmp_path)


def test_a_process_does_not_get_its_own_folder_twice(tmp_path: Path):
    with store.locked(tmp_path) as first:
        assert first
        assert not mine(tmp_path)
        assert not mine(tmp_path)
    assert mine(tmp_path)


def test_looking_who_is_there_leaves_no_trace(tmp_path: Path):
    assert store.holder(tmp_path) is None
    assert store.holder(tmp_path / "absent") is None
    assert list(tmp_path.iterdir()) == []


def test_one_who_may_only_look_is_told_nothing_and_no_error():
    """As in the folder of a colleague."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / store.LOCK).write_text("host 1\n")
        (folder / store.LOCK).chmod(0o444)
        folder.chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:  # who may write anywhere
                os.seteuid(65534)
            assert store.holder(folder) is None
        finally:
            os.seteuid(user)
            folder.chmod(0o755)
