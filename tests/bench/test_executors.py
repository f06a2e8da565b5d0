"""Work in processes of its own: results, errors, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidoor.bench.executors import apart
from vidoor.errors import DataError, TrainingError


def write(path: Path, text: str) -> None:
    path.write_text(f"{text} {os.getpid()}")


def refuse(path: Path) -> None:
    raise DataError(f"{path}: no room")


def fall(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def linger(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(300)


def test_each_call_has_a_process_of_its_own(tmp_path):
    apart(write, [(tmp_path / "a", "one"), (tmp_path / "b", "two")])
    (one, first), (two, second) = ((tmp_path / name).read_text().split() for name in "ab")
    assert (one, two) == ("one", "two")
    assert len({first, second, str(os.getpid())}) == 3


def test_what_a_user_can_mend_arrives_as_one_line(tmp_path):
    with pytest.raises(TrainingError, match="no room") as error:
        apart(refuse, [(tmp_path,), (tmp_path,)])
    assert "\n" not in str(error.value)


def test_an_end_from_outside_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"signal 9.*runtime\.workers=1"):
        apart(fall, [(tmp_path,)])


def test_no_process_outlives_a_killed_caller(tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_executors import linger\nfrom vidoor.bench.executors import apart\n"
        f"if __name__ == '__main__':\n    apart(linger, [(Path({str(tmp_path)!r}) / 'pid',)])\n"
    )
    caller = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((tmp_path / "pid").read_text())
    caller.kill()
    caller.wait()
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
