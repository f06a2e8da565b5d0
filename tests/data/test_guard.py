"""Hostile clips: each costs itself, nothing else, and no process stays."""

import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import pytest
import readers
import torch
from videos import encode, jpeg_frames, scene

from vidoor.data import video
from vidoor.data.folder import Reader
from vidoor.data.guard import MOST_WORKERS, Limits, guarded
from vidoor.errors import DataError
from vidoor.types import Geometry

TWO = Limits(workers=2)
HERE = Path(__file__).parent


def marked(mark: str) -> set[int]:
    """Processes that have inherited a mark in their environment, zombies apart."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue
    return found - {os.getpid()}


def soon(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(held)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """A mark that whatever is started inherits; at the end nothing may bear it."""
    mark = f"GUARD_{os.getpid()}_{time.monotonic_ns()}"
    monkeypatch.setenv(mark, "1")
    yield mark
    assert soon(lambda: not marked(mark)), "a process was left behind"


def is_numbered(index: int, outcome: object) -> bool:
    return isinstance(outcome, torch.Tensor) and torch.equal(outcome, readers.numbered(index))


# ---- what comes out ------------------------------------------------------------------------------


def test_clips_come_in_the_order_asked_for(mark: str) -> None:
    asked = [3, 1, 4, 1, 5, 9, 2, 6, *range(40)]
    got = [(i, is_numbered(i, outcome)) for i, outcome in guarded(readers.numbered, asked, TWO)]
    assert got == [(i, True) for i in asked]


def test_nothing_asked_nothing_started(mark: str) -> None:
    assert list(guarded(readers.numbered, [])) == []


def test_one_clip_is_guarded_too(mark: str) -> None:
    ((index, outcome),) = guarded(readers.misbehaving, [5])
    assert (index, outcome) == (5, "crashed: the decoder died (signal 11)")


def test_every_type_and_shape(mark: str) -> None:
    for index, outcome in guarded(readers.typed, range(5), TWO):
        expected = readers.typed(index)
        assert isinstance(outcome, torch.Tensor)
        assert outcome.dtype == expected.dtype and torch.equal(outcome, expected)


def test_a_clip_stays_until_the_next_is_taken(mark: str) -> None:
    """The others that are read meanwhile must not come to lie over it."""
    for index, outcome in guarded(readers.numbered, range(12), TWO):
        time.sleep(0.05)
        assert is_numbered(index, outcome)


def test_a_clip_kept_too_long_is_still_memory(mark: str) -> None:
    """Its bytes may change, but reading them ends no process."""
    kept = [outcome for _, outcome in guarded(readers.numbered, range(30), TWO)]
    assert all(clip.sum() >= 0 for clip in kept)


EXPECTED = {
    5: "crashed: the decoder died (signal 11)",
    10: "timeout: no frame set after 3 s",
    15: "out of memory: more than 1 GiB",
    20: "out of memory: more than 1 GiB",
    25: "damaged: on purpose",
    30: "crashed: the decoder died (exit status 7)",
    35: "timeout: no frame set after 3 s",
    40: "crashed: the decoder died (signal 6)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit is held on Linux only")
@pytest.mark.parametrize("workers", [1, 2])
def test_each_misbehaving_clip_costs_itself(
    mark: str, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(seconds=3, memory=1, workers=workers)
    seen = {}
    for index, outcome in guarded(readers.misbehaving, range(45), limits):
        seen[index] = "read" if is_numbered(index, outcome) else outcome
    assert list(seen) == list(range(45))
    assert seen == {index: EXPECTED.get(index, "read") for index in range(45)}
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit is held on Linux only")
def test_hostile_files(mark: str, tmp_path: Path) -> None:
    """Good ones between what claims to be, or grows to be, too large."""
    video.write(tmp_path / "good.mkv", good := scene(8))
    huge = torch.zeros(1, 3, 4320, 7680, dtype=torch.uint8)
    encode(tmp_path / "8k.mp4", huge, "libx264", preset="ultrafast")
    jpeg_frames(tmp_path / "grows.avi", [(48, 64), (4600, 4600)])
    jpeg_frames(tmp_path / "explodes.avi", [(48, 64), (9000, 9000)])
    (tmp_path / "text.avi").write_text("RIFF but for that")
    names = ("good.mkv", "8k.mp4", "good.mkv", "explodes.avi", "text.avi", "grows.avi", "good.mkv")
    read, limits = Reader(tmp_path, names, Geometry(8, 48, 64)), Limits(memory=0.1, workers=1)
    found = []
    for index, outcome in guarded(read, range(len(names)), limits):
        found.append("good" if isinstance(outcome, torch.Tensor) else outcome)
        assert found[index] != "good" or torch.equal(outcome, good)
    assert found == [
        "good",
        "too large: pictures of 7680×4320, at most 16.8 million pixels are read",
        "good",
        "out of memory",
        "unreadable: Invalid data found when processing input",
        "too large: pictures of 4600×4600, at most 16.8 million pixels are read",
        "good",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="a memory limit is held on Linux only")
def test_a_long_file_needs_no_more_memory_than_a_short_one(mark: str, tmp_path: Path) -> None:
    """400 frames, 180 MB as decoded and more than is held as packets, in 150 MB."""
    with av.open(str(tmp_path / "long.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, options={"qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuvj420p"
        pixels = torch.randint(0, 256, (480, 640, 3), dtype=torch.uint8).numpy()
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
        (packet,) = stream.encode(picture) or stream.encode(None)
        data = bytes(packet)
        for index in range(400):
            copy = av.Packet(data)
            copy.stream, copy.pts, copy.dts, copy.time_base = stream, index, index, Fraction(1, 25)
            container.mux(copy)
    assert (tmp_path / "long.avi").stat().st_size > 2**25
    for frames in (8, 390):  # a few by themselves, and all one after the other
        read = Reader(tmp_path, ("long.avi",), Geometry(frames, 24, 32))
        ((_, clip),) = guarded(read, [0], Limits(memory=0.14, workers=1))
        assert isinstance(clip, torch.Tensor), clip
        assert clip.flatten(1).any(1).all()


def test_no_clip_pays_for_those_before_it(mark: str) -> None:
    """Ten clips of 100 MiB that are never given back, in a process that may have 250 MiB."""
    limits = Limits(memory=0.25, workers=1)
    assert all(is_numbered(i, o) for i, o in guarded(readers.hoarding, range(10), limits))


def test_a_crash_is_held_against_a_clip_only_in_a_new_process(mark: str, tmp_path: Path) -> None:
    read = partial(readers.once, tmp_path)
    assert all(is_numbered(i, o) for i, o in guarded(read, range(3), Limits(workers=1)))


def test_few_processes_read_many_clips(mark: str, tmp_path: Path) -> None:
    for _ in guarded(partial(readers.noted, tmp_path), range(60), TWO):
        pass
    names = [file.name.split("-") for file in tmp_path.iterdir()]
    assert sorted(int(index) for index, _ in names) == list(range(60))
    assert len({pid for _, pid in names}) <= 2


@pytest.mark.parametrize("workers", [1, 3])
def test_at_most_two_more_than_workers_are_in_flight(
    mark: str, tmp_path: Path, workers: int
) -> None:
    """Whoever takes clips slowly must not fill the memory with those that lie ready."""
    clips = guarded(partial(readers.noted, tmp_path), range(20), Limits(workers=workers))
    for taken, _ in enumerate(clips, start=1):
        time.sleep(0.1)
        assert len(list(tmp_path.iterdir())) <= taken + workers + 1


def test_slow_takers_cause_no_timeouts(mark: str) -> None:
    limits = Limits(seconds=0.5, workers=2)
    for index, outcome in guarded(readers.numbered, range(4), limits):
        time.sleep(0.7)
        assert is_numbered(index, outcome)


def test_what_workers_print_is_lost(mark: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert all(is_numbered(i, o) for i, o in guarded(readers.warning, range(3), TWO))
    assert capfd.readouterr() == ("", "")


# ---- what is no clip's fault ---------------------------------------------------------------------


def test_a_bug_is_raised_as_it_is(mark: str) -> None:
    with pytest.raises(KeyError) as caught:
        list(guarded(readers.faulty, [0, 1], TWO))
    assert caught.value.args == (1,)
    assert "in faulty" in caught.value.__notes__[0]


def test_an_error_that_does_not_pickle(mark: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(guarded(readers.odd, [0], TWO))
    assert str(caught.value) == "Odd: 1 and 2"


def test_an_error_of_the_user(mark: str) -> None:
    with pytest.raises(DataError) as caught:
        list(guarded(readers.refusing, [0], TWO))
    assert str(caught.value) == "the folder has gone"


def test_a_reader_that_workers_cannot_find(mark: str) -> None:
    with pytest.raises(AttributeError, match="local"):
        list(guarded(lambda index: torch.zeros(index), [0], TWO))


def test_python_that_does_not_start(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DataError, match=r"^the processes that read clips ended \(exit status 1\)"):
        list(guarded(readers.numbered, [0], TWO))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "limits: seconds is 0; give more than 0"),
        ({"seconds": float("nan")}, "limits: seconds is nan; give more than 0"),
        ({"memory": -1.0}, "limits: memory is -1.0 GiB; give more than 0"),
        ({"workers": -1}, f"limits: workers is -1; give 0 to {MOST_WORKERS}"),
        ({"workers": 10**4}, f"limits: workers is 10000; give 0 to {MOST_WORKERS}"),
    ],
)
def test_limits_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Limits(**options)
    assert str(caught.value) == message


# ---- no process stays ----------------------------------------------------------------------------


def test_closing_ends_every_process(mark: str) -> None:
    """In the middle of a clip that takes ten minutes."""
    clips = guarded(partial(readers.sleepy, 600.0, 3), range(9), Limits(workers=3))
    next(clips)
    assert len(marked(mark)) >= 3
    clips.close()
    assert not marked(mark)


def test_closing_before_the_first_clip(mark: str) -> None:
    guarded(readers.numbered, range(9), TWO).close()
    assert not marked(mark)


def test_an_error_of_the_taker_ends_every_process(mark: str) -> None:
    with pytest.raises(ZeroDivisionError):
        for index, _ in guarded(readers.numbered, range(9), TWO):
            assert 1 / index
    assert soon(lambda: not marked(mark))


def test_a_keyboard_interrupt_ends_every_process(mark: str) -> None:
    main = threading.main_thread().ident
    assert main is not None
    alarm = threading.Timer(3.0, lambda: signal.pthread_kill(main, signal.SIGINT))
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        list(guarded(partial(readers.sleepy, 600.0, 1), range(9), TWO))
    alarm.join()
    assert not marked(mark)


CHILD = """
import sys
from functools import partial
import readers
from vidoor.data import video
from vidoor.data.folder import Reader
from vidoor.data.guard import Limits, guarded
for index, outcome in guarded(partial(readers.sleepy, 600.0, 3), range(9), Limits(workers=3)):
    print(index, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_death_of_the_caller_ends_every_process(mark: str, how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as caller:
        assert caller.stdout is not None
        assert [caller.stdout.readline() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
        assert len(marked(mark)) >= 4
        caller.send_signal(how)
        caller.wait(20)
    assert soon(lambda: not marked(mark))


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_the_death_of_the_nursery_ends_every_reader(mark: str) -> None:
    clips = guarded(partial(readers.sleepy, 600.0, 3), range(9), Limits(workers=3))
    next(clips)
    (nursery,) = {pid for pid in marked(mark) if parent(pid) == os.getpid()}
    os.kill(nursery, signal.SIGKILL)
    with pytest.raises(DataError, match=r"ended \(exit status -9\)"):
        list(clips)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


DAEMON = """
from multiprocessing import get_context
import readers
from vidoor.data import video
from vidoor.data.folder import Reader
from vidoor.data.guard import guarded
def work():
    print(sum(1 for _ in guarded(readers.numbered, range(5))))
if __name__ == "__main__":
    process = get_context("spawn").Process(target=work, daemon=True)
    process.start()
    process.join()
"""
"""``multiprocessing`` forbids daemonic processes to have children of its own making."""

SCRIPT = """
import readers
from vidoor.data import video
from vidoor.data.folder import Reader
from vidoor.data.guard import guarded
print("once")
print(sum(1 for _ in guarded(readers.numbered, range(5))))
"""
"""Without a guard of its main module, which must not run again in every worker."""


@pytest.mark.parametrize(("script", "output"), [(DAEMON, "5\n"), (SCRIPT, "once\n5\n")])
def test_scripts_that_processes_are_hard_on(
    mark: str, tmp_path: Path, script: str, output: str
) -> None:
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", tmp_path / "script.py"],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")
