"""Files that appear whole or not at all, with many writers and with writers that fail."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vidoor.errors import DataError
from vidoor.files import PARTIAL, make_folder, whole, write_text


def test_a_reader_sees_the_old_content_until_all_of_the_new_is_there(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    path.write_text("old")
    with whole(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffix == path.suffix
        assert partial.name.startswith(PARTIAL)
        partial.write_text("ne")
        assert path.read_text() == "old"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_open_file_keeps_its_content(tmp_path: Path):
    path = tmp_path / "r.json"
    write_text(path, "old" * 1000)
    with path.open() as reader:
        assert reader.read(3) == "old"
        write_text(path, "new")
        assert reader.read() == "old" * 999
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", ["old", None])
def test_where_writing_fails_nothing_is_left(tmp_path: Path, error, old):
    path = tmp_path / "r.json"
    if old:
        path.write_text(old)

    def fail():
        with whole(path) as partial:
            partial.write_text("half of the n")
            raise error("no more")

    with pytest.raises(error, match="no more"):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == ([(path.name, old)] * bool(old))


def test_a_file_that_was_never_written_or_has_no_place_leaves_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "r.json"):
        pass
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_text(tmp_path / "taken", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "r.json", "x")


def test_text_is_utf8_as_it_stands(tmp_path: Path):
    write_text(tmp_path / "a.txt", "δ · a ⊗ b\n")
    assert (tmp_path / "a.txt").read_bytes() == "δ · a ⊗ b\n".encode()


def test_many_writers_of_one_file_never_mix(tmp_path: Path):
    path, size = tmp_path / "r.txt", 50_000
    write_text(path, "0" * size)

    def write(digit: int) -> None:
        for _ in range(20):
            write_text(path, str(digit) * size)

    with ThreadPoolExecutor(4) as writers:
        jobs = [writers.submit(write, digit) for digit in range(4)]
        while not all(job.done() for job in jobs):
            text = path.read_text()
            assert len(text) == size
            assert len(set(text)) == 1
        for job in jobs:
            job.result()
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_leaves_the_old_file_and_a_partial_one(tmp_path: Path):
    path = tmp_path / "r.txt"
    path.write_text("old")
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom vidoor.files import whole\n"
        "with whole(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n    print('there', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"there\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert path.read_text() == "old"
    left = [p for p in tmp_path.iterdir() if p != path]
    assert [p.name.startswith(PARTIAL) for p in left] == [True]


def test_folders_are_made_with_their_parents_and_may_be_there(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    assert make_folder(folder) == make_folder(folder) == folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["file/below", "file", "x" * 300, "nul\0"])
def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path: Path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write here .*; choose another folder") as error:
        make_folder(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_there_but_takes_no_files_gets_the_same_line():
    if not Path("/proc/self").is_dir():
        pytest.skip("no folder here that nobody can write to")
    with pytest.raises(DataError, match="cannot write here"):
        make_folder(Path("/proc/self"))
