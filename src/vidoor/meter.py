"""What work costs: passes through victims, wall-clock time, peak memory."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from vidoor.types import Cost

_totals: dict[str, float] = {"forward": 0, "backward": 0, "seconds": 0.0}
_open = 0


def count(what: str, amount: float) -> None:
    """Add to what this process has spent: clips that passed a victim ``forward`` or ``backward``,
    or ``seconds`` that an earlier process spent on the same work."""
    _totals[what] += amount


def carry(spent: Mapping[str, float]) -> None:
    """Add what an earlier process spent on the same work, as its ``Meter.spent`` told."""
    for what, amount in spent.items():
        count(what, amount)


@dataclass(slots=True)
class Meter:
    """Reads what has been spent since it was made; ``cost`` once its block has ended."""

    before: dict[str, float] = field(default_factory=lambda: dict(_totals))
    start: float = field(default_factory=time.perf_counter)
    cost: Cost = field(default_factory=Cost)

    def spent(self) -> dict[str, float]:
        """Clips forward and backward, and seconds, until now."""
        spent = {what: total - self.before[what] for what, total in _totals.items()}
        return {**spent, "seconds": spent["seconds"] + time.perf_counter() - self.start}


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what happens inside, in this process. The peak of memory is that of the outermost
    block; an inner one sees what the outer has reached before it."""
    global _open
    if not _open:
        _forget_peak()
    meter = Meter()
    _open += 1
    try:
        yield meter
    finally:
        _open -= 1
        spent = meter.spent()
        meter.cost = Cost(
            forward=int(spent["forward"]),
            backward=int(spent["backward"]),
            seconds=spent["seconds"],
            memory=_peak(),
        )


def _gpu() -> bool:
    return bool(torch.cuda.is_initialized())


def _forget_peak() -> None:
    if _gpu():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or not allowed: the peak is then that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int | None:
    """Largest resident set plus largest GPU allocation, in bytes; None where none is known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    resident = re.search(r"VmHWM:\s+(\d+) kB", status)
    gpu = torch.cuda.max_memory_allocated() if _gpu() else 0
    return int(resident[1]) * 1024 + gpu if resident else None
