"""Where reading processes come from: a process that has loaded what they need, and only forks.

Loading torch takes a second or two, forking a few milliseconds, so a reader that died is replaced
at once. Forking the caller itself would copy its threads' locks, held by nobody in the copy. This
is ``multiprocessing``'s fork server but for three things: it ends with the call that started it,
it never imports the caller's main module, and a daemonic process may have one.
"""

import ctypes
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vidoor.errors import ClipError, DataError

MOST_FILES = 200
"""As many file descriptors may be given to a reader; Linux passes 253 in one message."""

PATIENCE = 300.0
"""Seconds in which Python and torch start even on a crowded machine."""

_FORK = 0  # asks for a reader; any other number for how the process of that number ended
_WORD = struct.Struct("q")
_PR_SET_PDEATHSIG = 1  # prctl(2)
_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from vidoor.data._nursery import serve; serve(int(sys.argv[1]))"
)


class Nursery:
    """The caller's end. Whatever it forked ends with the block, and with the caller."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        self._line.settimeout(PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), *map(str, sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads would not survive a fork
                start_new_session=True,  # Ctrl-C is the caller's to hear
            )
        self._used = False

    def fork(self, files: Sequence[int]) -> tuple[int, Connection]:
        """A new reader that shares ``files`` (descriptors): its process number, and the line to it.

        DataError if the nursery itself cannot start.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = self._ask(_FORK, [theirs.fileno(), *files])
            self._used = True
            return pid, Connection(ours.detach())

    def reap(self, pid: int) -> int:
        """How a reader that is dead or dying ended: its exit status, less than 0 for a signal."""
        return os.waitstatus_to_exitcode(self._ask(pid))

    def _ask(self, word: int, files: Sequence[int] = ()) -> int:
        try:
            socket.send_fds(self._line, [_WORD.pack(word)], files)
            answer = self._line.recv(_WORD.size, socket.MSG_WAITALL)
        except OSError:
            answer = b""
        if len(answer) < _WORD.size:
            self._process.kill()
            raise DataError(
                f"the processes that read clips ended (exit status {self._process.wait()}), often "
                "for want of memory; use fewer workers, or raise runtime.memory if it is set"
            )
        number: int = _WORD.unpack(answer)[0]
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._line.close()  # upon this it ends its readers, and then itself
        try:
            self._process.wait(5.0 if self._used else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# ---- in the nursery ------------------------------------------------------------------------------


def serve(line: int) -> None:
    """Fork a reader whenever asked, until the caller hangs up or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from vidoor.data import video  # noqa: F401 - PyAV, PIL and torch, once for all readers

    readers: set[int] = set()
    with socket.socket(fileno=line) as caller:
        while True:
            try:
                message, files, _, _ = socket.recv_fds(caller, _WORD.size, MOST_FILES)
            except OSError:
                break
            if len(message) < _WORD.size:
                break
            word = _WORD.unpack(message)[0]
            if word == _FORK:
                answer = _fork(caller, files)
                readers.add(answer)
            else:
                answer = os.waitpid(word, 0)[1]
                readers.discard(word)
            caller.sendall(_WORD.pack(answer))
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
    for pid in readers:
        os.waitpid(pid, 0)


def _fork(caller: socket.socket, files: list[int]) -> int:
    nursery = os.getpid()
    pid = os.fork()
    if pid:
        for file in files:
            os.close(file)
        return pid
    try:
        caller.close()
        _end_with(nursery)
        _silence()
        _work(Connection(files[0]), files[1:])
    except (EOFError, OSError):  # the caller has hung up
        os._exit(0)
    finally:
        os._exit(1)


def _end_with(parent: int) -> None:
    """Be killed when the nursery is, however deep the decoder sits in a loop."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _silence() -> None:
    """What a dying decoder has to say to the terminal helps nobody."""
    with Path(os.devnull).open("wb") as nothing:
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)


def _limit(memory: float) -> None:
    """Let this process add ``memory`` GiB of address space to what it has."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + int(memory * 2**30)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _work(line: Connection, files: list[int]) -> None:
    """Read one clip after another: the frames into a file, what else there is to say on the line.

    First ``read`` and the memory limit arrive, then pairs of an index and one of ``files``. Answers
    are None (ready), the type and shape of the frames, a reason, or an exception to be raised.
    """
    try:
        read, memory = line.recv()
        _limit(memory)
    except (EOFError, OSError):
        raise
    except Exception as error:
        line.send(_portable(error))
        return
    line.send(None)
    while True:
        index, place = line.recv()
        try:
            line.send(_hand_over(read(index), files[place]))
        except Exception as error:
            if isinstance(error, ClipError):
                line.send(error.reason)
            elif lacks_memory(error):
                line.send(f"out of memory: more than {memory:g} GiB")
            else:
                line.send(_portable(error))


def _hand_over(frames: Any, file: int) -> tuple[Any, tuple[int, ...]]:
    """Write the bytes of a tensor where the caller has mapped them."""
    import torch

    if frames.numel():
        pixels = frames.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        rest, at = memoryview(pixels), 0
        while at < len(rest):  # Linux writes 2 GiB at most
            at += os.pwrite(file, rest[at:], at)
    return frames.dtype, tuple(frames.shape)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error only says that there was no memory. torch has no exception for it."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "bad_alloc" in text)
    )


def _portable(error: Exception) -> Exception:
    """The error with the place where it arose, for that is lost on the way."""
    import traceback

    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a reading process:\n{where}")
    return error
