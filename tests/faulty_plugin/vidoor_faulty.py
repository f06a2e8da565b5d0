"""Methods that go wrong, each in its own way: what a sweep must survive."""

import os
import signal
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from vidoor.registry import register
from vidoor.types import ClipSet, Verdict


@register("detector", "faulty")
@dataclass(frozen=True, kw_only=True)
class Faulty:
    """Finds nothing, or fails in the way that it is told to."""

    needs_victim: ClassVar[bool] = False

    how: Literal["not", "raise", "memory", "die", "die once"] = "not"

    once: str = ""
    """A file that remembers that it has died once."""

    def inspect(self, suspects: ClipSet, *, victim: Any = None) -> Verdict:
        """No alarm, if anything."""
        if self.how == "raise":
            raise RuntimeError("a detector with a fault")
        if self.how == "memory":
            np.ones(2**50)
        if self.how == "die" or (self.how == "die once" and not os.path.exists(self.once)):
            if self.once:
                with open(self.once, "w"):
                    pass
            os.kill(os.getpid(), signal.SIGKILL)
        return Verdict(
            ids=suspects.ids,
            scores=(0.0,) * len(suspects),
            threshold=1.0,
            calibration="none",
            alarm=False,
        )
