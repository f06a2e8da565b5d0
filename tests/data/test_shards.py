"""Bytes by key, shared by processes: what was put comes back whole, or is not there."""

import errno
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.data import _shard, shards

LIMIT = 80_000


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def value(number: int, length: int = 1000) -> np.ndarray:
    """The oracle: what belongs to a key, worked out anew."""
    return np.random.default_rng(number).integers(0, 256, length, dtype=np.uint8)


def fresh(root: Path, limit: int = LIMIT) -> shards.Shards:
    """A store as another process would open it: it knows nothing but the folder."""
    return shards.Shards(root, limit)


def filled(root: Path, numbers: range, limit: int = LIMIT, length: int = 1000) -> shards.Shards:
    store = fresh(root, limit)
    for number in numbers:
        store.put(key(number), value(number, length))
    store.close()
    return store


def right(store: shards.Shards, number: int, length: int = 1000) -> bool:
    """Whether it is there; it must then be what it should."""
    found = store.get(key(number))
    if found is None:
        return False
    np.testing.assert_array_equal(found, value(number, length))
    return True


def bytes_on_disk(root: Path) -> int:
    return sum(path.stat().st_size for path in root.glob("*.clips"))


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small file system; skips where that is not allowed."""
    folder = tmp_path / "mount"

    def mount(options: str) -> Path:
        folder.mkdir(exist_ok=True)
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", str(folder)], check=True)


# ---- what comes back -----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=6))
def test_what_is_put_comes_back_at_once_and_to_others(tmp_path_factory, lengths):
    root = tmp_path_factory.mktemp("store")
    store = fresh(root, 10**6)
    for number, length in enumerate(lengths):
        store.put(key(number), value(number, length))
        assert right(store, number, length)
    store.close()
    other = fresh(root, 10**6)
    assert other.held([key(number) for number in range(9)]) == {*map(key, range(len(lengths)))}
    for number, length in enumerate(lengths):
        assert right(other, number, length)
        assert right(other, number, length)  # now that its seal is known to hold


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path):
    store = fresh(tmp_path / "none")
    assert store.get(key(0)) is None
    assert store.held([key(0)]) == set()
    assert store.contents([b"stamp"]) == {}
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_caller_does_to_its_bytes_stays_with_it(tmp_path):
    filled(tmp_path, range(3))
    store = fresh(tmp_path)
    for _ in range(2):
        found = store.get(key(1))
        assert found is not None
        found[:] = 0
        assert right(store, 1)


def test_more_arrays_than_files_may_be_open(tmp_path):
    filled(tmp_path, range(2))
    store, most = fresh(tmp_path), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    arrays = [store.get(key(1)) for _ in range(600)]  # one that begins within a page
    assert len(_shard._maps) == 256
    assert len(os.listdir("/proc/self/fd")) - most <= 256  # noqa: PTH208
    for array in arrays:
        np.testing.assert_array_equal(array, value(1))
    del arrays, array
    assert len(os.listdir("/proc/self/fd")) == most  # noqa: PTH208


def test_what_may_still_be_cut_off_is_not_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "AGE", 1000.0)
    store = fresh(tmp_path)
    store.put(key(0), value(0))
    held = store.get(key(0))
    assert len(_shard._maps) == 0
    (shard,) = tmp_path.glob("*.clips")
    os.truncate(shard, 0)  # as the next writer does if this one is killed
    np.testing.assert_array_equal(held, value(0))
    os.truncate(shard, 1000)
    store.close()
    held = store.get(key(0))
    assert len(_shard._maps) == 1


def test_many_keys_are_asked_for_at_once(tmp_path):
    filled(tmp_path, range(40), length=10)
    assert len(fresh(tmp_path).held([key(number) for number in range(5000)])) == 40


def test_what_files_hold_is_remembered_and_forgotten_in_time(tmp_path, monkeypatch):
    store = fresh(tmp_path)
    store.remember(b"stamp", b"content")
    store.close()
    assert fresh(tmp_path).contents([b"stamp", b"other"]) == {b"stamp": b"content"}
    now = time.time()
    monkeypatch.setattr(_shard.time, "time", lambda: now + 91 * 86400)
    filled(tmp_path, range(1))
    assert fresh(tmp_path).contents([b"stamp"]) == {}


def test_threads_share_a_store(tmp_path):
    store = fresh(tmp_path, 10**6)

    def work(number: int) -> bool:
        store.put(key(number), value(number))
        return all(right(store, other) for other in range(number, number + 1))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    store.close()
    other = fresh(tmp_path, 10**6)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: right(other, number), range(200)))


# ---- damage --------------------------------------------------------------------------------------


def test_a_flipped_bit_is_a_clip_that_is_not_there(tmp_path, capsys):
    filled(tmp_path, range(5))
    (shard,) = tmp_path.glob("*.clips")
    with shard.open("r+b") as file:
        file.seek(2500)
        old = file.read(1)
        file.seek(2500)
        file.write(bytes([old[0] ^ 1]))
    store = fresh(tmp_path)
    assert [right(store, number) for number in range(5)] == [True, True, False, True, True]
    assert "damaged" in capsys.readouterr().err
    store.put(key(2), value(2))
    store.close()
    assert all(right(fresh(tmp_path), number) for number in range(5))


@pytest.mark.parametrize("change", ["start = start + 1", "shard = 'gone.clips'", "length = 999"])
def test_a_wrong_index_gives_no_wrong_bytes(tmp_path, change):
    filled(tmp_path, range(3))
    index = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    index.execute(f"UPDATE clips SET {change}")
    index.close()
    store = fresh(tmp_path)
    assert not any(right(store, number) for number in range(3))
    store.put(key(0), value(0))
    store.close()
    assert right(fresh(tmp_path), 0)


def test_two_keys_exchanged_are_noticed(tmp_path):
    filled(tmp_path, range(2))
    index = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
    index.execute("UPDATE clips SET key = ? WHERE key = ?", (key(7), key(1)))
    index.close()
    assert fresh(tmp_path).get(key(7)) is None


def test_a_shard_cut_short_or_removed_costs_its_clips(tmp_path):
    store = filled(tmp_path, range(4))
    assert right(store, 3)
    (shard,) = tmp_path.glob("*.clips")
    os.truncate(shard, 3500)
    assert [right(store, number) for number in range(4)] == [True, True, True, False]
    shard.unlink()
    assert not any(right(store, number) for number in range(4))
    filled(tmp_path, range(4))
    assert all(right(store, number) for number in range(4))
    index = sqlite3.connect(tmp_path / "index.sqlite")
    named = {name for (name,) in index.execute("SELECT name FROM shards")}
    index.close()
    assert named == {path.name for path in tmp_path.glob("*.clips")}  # nothing else uses up room


def test_what_another_process_keeps_again_is_found(tmp_path):
    store = filled(tmp_path, range(2))
    (shard,) = tmp_path.glob("*.clips")
    shard.unlink()
    filled(tmp_path, range(2))
    assert right(store, 0)


def test_an_index_that_is_none_costs_a_line(tmp_path, capsys):
    filled(tmp_path, range(1))
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 500)
    store = fresh(tmp_path)
    assert store.get(key(0)) is None
    assert store.get(key(0)) is None
    store.put(key(0), value(0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("file is not a database" in line for line in lines)


def test_a_folder_that_is_emptied_meanwhile_is_filled_anew(tmp_path):
    store = fresh(tmp_path)
    store.put(key(0), value(0))
    store.commit()
    for path in tmp_path.iterdir():
        path.unlink()
    for number in range(3):
        store.put(key(number), value(number))
        store.commit()
        assert number == 0 or right(fresh(tmp_path), number) == (number == 2)
    store.close()
    assert right(fresh(tmp_path), 2)


# ---- the limit -----------------------------------------------------------------------------------


def test_the_least_recently_used_shards_go_first(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(shards.time, "time", lambda: clock[0])
    filled(tmp_path, range(40))
    reader = fresh(tmp_path)
    held = reader.get(key(0))
    assert held is not None
    assert right(reader, 15)
    for number in range(40, 200, 5):
        clock[0] += 100
        assert right(reader, 15)
        filled(tmp_path, range(number, number + 5))
        assert bytes_on_disk(tmp_path) <= LIMIT
    assert right(fresh(tmp_path), 15)  # used throughout
    assert not right(fresh(tmp_path), 0)
    np.testing.assert_array_equal(held, value(0))  # though its shard has gone
    there = [number for number in range(200) if right(fresh(tmp_path), number)]
    assert 60 <= len(there) <= 80
    assert there[-50:] == list(range(150, 200))


def test_what_is_being_written_is_not_evicted(tmp_path, capsys):
    writers = [fresh(tmp_path, 8000) for _ in range(9)]
    for number, store in enumerate(writers):
        store.put(key(number), value(number))
    assert "its limit is reached by what is being written" in capsys.readouterr().err
    for store in writers:
        store.close()
    assert [right(fresh(tmp_path, 8000), number) for number in range(9)] == [True] * 8 + [False]
    writers[8].resume()
    writers[8].put(key(8), value(8))
    writers[8].close()
    assert right(fresh(tmp_path, 8000), 8)
    assert bytes_on_disk(tmp_path) <= 8000


def test_what_is_larger_than_the_limit_evicts_nothing(tmp_path, capsys):
    store = filled(tmp_path, range(5), 8000)
    store.put(key(9), value(9, 9000))
    assert "limit" in capsys.readouterr().err
    assert all(right(fresh(tmp_path), number) for number in range(5))


def test_what_a_killed_eviction_left_in_the_index_is_not_there(tmp_path):
    filled(tmp_path, range(12))  # in two shards
    first, second = tmp_path.glob("*.clips")
    keys = [key(number) for number in range(12)]
    assert fresh(tmp_path).held(keys) == set(keys)
    first.unlink()
    store = fresh(tmp_path)
    there = store.held(keys)
    assert 0 < len(there) < 12 and second.exists()
    assert there == {key(number) for number in range(12) if right(store, number)}


def test_writers_that_come_and_go_write_on_in_one_shard(tmp_path):
    for number in range(8):
        filled(tmp_path, range(number, number + 1))
    assert len(list(tmp_path.glob("*.clips"))) == 1
    assert all(right(fresh(tmp_path), number) for number in range(8))


# ---- other processes -----------------------------------------------------------------------------

_SHORT = "from vidoor.data import shards; shards.AGE, shards.BATCH = 0.005, 20_000"


def process(call: str, *arguments: object) -> subprocess.Popen[str]:
    """A function of this file in a process of its own, where clips enter the index quickly."""
    here = Path(__file__)
    line = (
        f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; {_SHORT}"
    )
    line += f"; t.{call}(*sys.argv[1:])"
    command = [sys.executable, "-W", "ignore", "-c", line, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def write_some(root: str, start: int | str = 0, count: int | str = 600) -> None:
    store = shards.at(Path(root), 10**7)
    for number in range(int(start), int(start) + int(count)):
        store.put(key(number), value(number))
    store.close()


def kill_writers(root: str) -> None:
    rng = np.random.default_rng(0)
    for attempt in range(15):
        child = os.fork()
        if not child:
            write_some(root, 400 * attempt, 10**6)
        time.sleep(float(rng.uniform(0.0, 0.2)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        store = fresh(Path(root), 10**7)
        there = store.held([key(number) for number in range(8000)])
        assert all(right(store, number) for number in range(8000) if key(number) in there)
    print(len(there))


def test_killed_at_any_moment_what_is_there_is_whole(tmp_path):
    killer = process("kill_writers", tmp_path)
    there = killer.communicate()[0]
    assert killer.returncode == 0
    assert int(there) > 100
    filled(tmp_path, range(8000, 8001), 10**7)  # sweeps
    index = sqlite3.connect(tmp_path / "index.sqlite")
    ends = dict(index.execute("SELECT name, bytes FROM shards WHERE reserved = bytes"))
    index.close()
    files = {path.name: path.stat().st_size for path in tmp_path.glob("*.clips")}
    assert ends == files
    room = [name for name, end in ends.items() if end <= 10**7 // 8 - 1000]
    assert len(room) <= 1  # those that were killed left their shards to the next


def test_two_writers_and_a_reader(tmp_path):
    writers = [process("write_some", tmp_path) for _ in range(2)]
    store = fresh(tmp_path, 10**7)
    seen = 0
    while any(writer.poll() is None for writer in writers):
        seen = max(seen, sum(right(store, number) for number in range(0, 600, 37)))
        time.sleep(0.01)
    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    assert seen
    assert all(right(fresh(tmp_path, 10**7), number) for number in range(600))


def fork_while_writing(root: str) -> None:
    shards.AGE = 1000.0
    store = shards.at(Path(root), 10**6)
    store.put(key(0), value(0))
    store.commit()
    store.put(key(1), value(1))
    child = os.fork()
    if not child:
        store.put(key(2), value(2))
        assert [right(store, number) for number in range(3)] == [True, False, True]
        store.close()
        os._exit(7)
    store.put(key(3), value(3))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    store.close()


def test_a_forked_child_leaves_the_shard_to_its_parent(tmp_path):
    parent = process("fork_while_writing", tmp_path)
    parent.communicate()
    assert parent.returncode == 0
    other = fresh(tmp_path, 10**6)
    assert all(right(other, number) for number in range(4))
    assert len(list(tmp_path.glob("*.clips"))) == 2


def write_without_end(root: str) -> None:
    store = shards.at(Path(root), 10**6)
    for number in range(5):
        store.put(key(number), value(number))


def test_what_is_put_last_enters_the_index_at_exit(tmp_path):
    done = process("write_without_end", tmp_path)
    done.communicate()
    assert done.returncode == 0
    assert all(right(fresh(tmp_path), number) for number in range(5))


# ---- file systems --------------------------------------------------------------------------------


def test_a_full_disk_costs_a_line_and_goes_on_with_room(mounted, capsys):
    root = mounted("size=200k")
    store = fresh(root, 10**7)
    for number in range(400):
        store.put(key(number), value(number))
    store.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    there = sum(right(fresh(root, 10**7), number) for number in range(400))
    assert there > 50
    subprocess.run(["mount", "-o", "remount,size=8m", str(root)], check=True)
    store.resume()
    for number in range(400):
        store.put(key(number), value(number))
    store.close()
    assert all(right(fresh(root, 10**7), number) for number in range(400))


def test_a_folder_that_cannot_be_written_is_read_and_costs_a_line(mounted, capsys):
    root = mounted("size=8m")
    filled(root, range(3))
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    store = fresh(root)
    assert all(right(store, number) for number in range(3))
    for number in range(3, 6):
        store.put(key(number), value(number))
        assert store.get(key(number)) is None
    store.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "readonly database" in line or "Read-only file system" in line


def test_a_file_system_without_locks_costs_a_line(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_shard.fcntl, "flock", flock)
    store = fresh(tmp_path)
    for number in range(3):
        store.put(key(number), value(number))
        assert store.get(key(number)) is None
    store.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "No locks available" in line
