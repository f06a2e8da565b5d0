"""Standard streams that outlive whoever reads them.

A reader that goes away (``| head -1``) loses what it would have read, and nothing else: the work
goes on and leaves with its own status. Logs may be lost; a result that cannot be written is told.
"""

import io
import os
import sys
from typing import Any

from vidoor.errors import VidoorError


class _Stream(io.FileIO):
    """Writes to a descriptor until that fails; from then on, what comes is dropped."""

    def __init__(self, descriptor: int, *, needed: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.needed, self.lost = needed, False

    def write(self, data: Any) -> int:
        """Bytes taken. VidoorError, once, if what is ``needed`` cannot be written."""
        size = memoryview(data).nbytes
        if self.lost:
            return size
        try:
            return super().write(data) or 0
        except OSError as error:
            self.lost = True
            if self.needed and not isinstance(error, BrokenPipeError):
                raise VidoorError(
                    f"standard output cannot be written ({error.strerror}); make room there, or "
                    "send it elsewhere"
                ) from None
            return size


def outlive() -> None:
    """Make standard output and standard error such streams, where they are the process's own."""
    for name, stream in (("stdout", sys.__stdout__), ("stderr", sys.__stderr__)):
        if os.name == "posix" and stream is not None and getattr(sys, name) is stream:
            raw = _Stream(stream.fileno(), needed=name == "stdout")
            text = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
            )
            setattr(sys, name, text)
