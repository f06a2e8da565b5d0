"""Methods that go wrong, each in its own way: what a sweep must survive."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vidoor.registry import register
from vidoor.types import ClipSet, Verdict


@register("detector", "faulty")
@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Finds nothing, or fails in the way that it is told to."""

    needs_victim: ClassVar[bool] = False

    how: Literal[
        "not",
        "raise",
        "lines",
        "exit",
        "memory",
        "die",
        "die once",
        "short",
        "nan",
        "alien",
        "back",
    ] = "not"

    once: str = ""
    """A file that remembers that it has died once."""

    def inspect(self, suspects: ClipSet, *, victim: Any = None) -> Verdict:
        """No alarm, if anything."""
        if self.how == "raise":
            raise RuntimeError("a detector with a fault")
        if self.how == "lines":
            raise ValueError("one line\nand another")
        if self.how == "exit":
            sys.exit(0)
        if self.how == "memory":
            np.ones(2**50)
        if self.how == "die" or (self.how == "die once" and not Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        ids = suspects.ids[::-1] if self.how == "back" else suspects.ids
        scores = [float(clip[-7:]) for clip in ids]
        if self.how == "nan":
            scores[0] = float("nan")
        return Verdict(
            ids=("alien", *ids[1:]) if self.how == "alien" else ids,
            scores=tuple(scores[1:] if self.how == "short" else scores),
            threshold=1e9,
            calibration="none",
            alarm=False,
        )
