"""Reading every clip of a set once: which can be read, and why the others are left out."""

import os
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from torch import Tensor

from vidoor.data.guard import Limits, guarded
from vidoor.errors import ClipError, DataError
from vidoor.types import ClipSet, Quarantined

Kept: TypeAlias = tuple[int, ...]
"""Indices of the clips that could be read."""

USUAL = Limits()

_AHEAD = 2  # clips for each thread that may lie ready


def each(
    read: Callable[[int], Tensor], indices: Sequence[int], limits: Limits = USUAL
) -> Iterator[tuple[int, Tensor | str]]:
    """Read clips side by side: (index, frames) or (index, reason), in order.

    What is ``untrusted`` is read by ``guarded``, within ``limits``; the rest in threads. Frames are
    valid until the next item is taken.
    """
    if getattr(read, "untrusted", False):
        return guarded(read, indices, limits)
    return _in_threads(read, indices)


def _in_threads(
    read: Callable[[int], Tensor], indices: Sequence[int]
) -> Iterator[tuple[int, Tensor | str]]:
    def attempt(index: int) -> Tensor | str:
        try:
            return read(index)
        except ClipError as error:
            return error.reason

    threads = os.cpu_count() or 1
    rest, flight = deque(indices), deque[tuple[int, Future[Tensor | str]]]()
    with ThreadPoolExecutor(threads) as pool:
        while rest or flight:
            while rest and len(flight) < (1 + _AHEAD) * threads:
                index = rest.popleft()
                flight.append((index, pool.submit(attempt, index)))
            index, outcome = flight.popleft()
            yield index, outcome.result()


def sort_out(
    clips: ClipSet, reasons: dict[int, str], what: str
) -> tuple[Kept, tuple[Quarantined, ...]]:
    """The clips that are kept, and those with a reason against it, both in the order of the set.

    DataError if no clip of some class is left.
    """
    kept = tuple(index for index in range(len(clips)) if index not in reasons)
    readable = {clips.labels[index] for index in kept}
    for label in sorted(set(clips.labels) - readable):
        nothing = f"class {clips.classes[label]!r} has no readable clip among its {what}"
        if not kept:
            nothing = f"none of the {len(clips)} {what} can be read"
        first = min(reasons)
        raise DataError(f"{nothing}; the first, {clips.ids[first]}: {reasons[first]}")
    return kept, tuple(Quarantined(clips.ids[i], reasons[i]) for i in sorted(reasons))


def refuse_quarantined(quarantined: Collection[Quarantined], total: int) -> None:
    """DataError, one line, if any of ``total`` clips was left out: for those who want all or none.

    ``3 of 246 clips cannot be used: 2 truncated, 1 unreadable; first run/4.avi: truncated: …``
    """
    if quarantined:
        first = next(iter(quarantined))
        raise DataError(
            f"{len(quarantined)} of {total} clips cannot be used: {_counts(quarantined)}; "
            f"first {first.id}: {first.reason}"
        )


def left_out(quarantined: Collection[Quarantined]) -> str:
    """What to say at the end of a run; empty if nothing was left out.

    ``3 clips left out: 2 truncated, 1 unreadable (first: run/4.avi)``
    """
    if not quarantined:
        return ""
    clips = "1 clip" if len(quarantined) == 1 else f"{len(quarantined)} clips"
    return f"{clips} left out: {_counts(quarantined)} (first: {next(iter(quarantined)).id})"


def faults(reported: Collection[Quarantined]) -> str:
    """What to say of lists that do not agree with the clips there are; empty if they do.

    ``3 faults in the lists: 2 missing, 1 listed twice (first: run/4.avi)``
    """
    if not reported:
        return ""
    count = "1 fault" if len(reported) == 1 else f"{len(reported)} faults"
    return f"{count} in the lists: {_counts(reported)} (first: {next(iter(reported)).id})"


def _counts(quarantined: Collection[Quarantined]) -> str:
    """How many for which kind of reason (what precedes its details), the most frequent first."""
    kinds = Counter(clip.reason.partition(":")[0] for clip in quarantined)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
