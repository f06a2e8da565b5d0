"""Which stages of a sweep are missing, which can be made now, and what became of the others."""

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidoor.bench import store
from vidoor.bench.make import Outcome
from vidoor.bench.plan import Cell
from vidoor.bench.stages import KINDS, Stage

SOONEST, LATEST = 0.1, 2.0
"""Seconds until a stage that another process is at is looked for again, at first and at most."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that could not be made: the stage that failed, and why."""

    cell: Cell
    stage: str
    outcome: Outcome


@dataclass(slots=True)
class _Wait:
    """A stage that is missing."""

    stage: Stage
    label: str
    order: tuple[int, int]
    """Cells are finished one after the other, and of one cell training comes first."""

    needs: set[str] = field(default_factory=set)
    delay: float = SOONEST


class Board:
    """The state of a sweep, as its driver knows it. Stages go by the name of their folder."""

    def __init__(self, cells: Sequence[Cell], out: Path) -> None:
        self.out = out
        self.live: dict[str, Cell] = {}
        self.failed: dict[str, Failure] = {}
        self.waiting: dict[str, _Wait] = {}
        self._ready: list[tuple[tuple[int, int], str]] = []
        self._elsewhere: list[tuple[float, str]] = []
        self._dependents: dict[str, list[str]] = {}
        complete: dict[str, bool] = {}
        for place, cell in enumerate(cells):
            open_ = [cell.stage]
            while open_:
                stage = open_.pop()
                if stage.folder not in self.waiting and not self._complete(stage, complete):
                    order = place, KINDS.index(stage.kind)
                    self.waiting[stage.folder] = _Wait(stage, cell.label, order)
                    open_ += stage.needs.values()
            if cell.stage.folder in self.waiting:
                self.live[cell.stage.folder] = cell
        for name, wait in self.waiting.items():
            wait.needs = {need.folder for need in wait.stage.needs.values()} & self.waiting.keys()
            for need in wait.needs:
                self._dependents.setdefault(need, []).append(name)
            if not wait.needs:
                self._enqueue(name)

    def _complete(self, stage: Stage, known: dict[str, bool]) -> bool:
        if stage.folder not in known:
            known[stage.folder] = store.done(self.out / stage.folder) is not None
        return known[stage.folder]

    def _enqueue(self, name: str) -> None:
        heapq.heappush(self._ready, (self.waiting[name].order, name))

    def take(self, count: int) -> Iterator[Stage]:
        """At most ``count`` stages that can be made now, the most urgent first."""
        while self._elsewhere and self._elsewhere[0][0] <= time.monotonic():
            _, name = heapq.heappop(self._elsewhere)
            if name in self.waiting:
                self._enqueue(name)
        while count and self._ready:
            _, name = heapq.heappop(self._ready)
            if name in self.waiting:
                count -= 1
                yield self.waiting[name].stage

    def describe(self, stage: Stage) -> str:
        """What a stage is, and of which run."""
        label = self.waiting[stage.folder].label
        return f"{stage.label} ({label})" if label else stage.label

    def postpone(self, name: str) -> None:
        """Another process is at this stage: look again later."""
        wait = self.waiting[name]
        heapq.heappush(self._elsewhere, (time.monotonic() + wait.delay, name))
        wait.delay = min(LATEST, 2 * wait.delay)

    def complete(self, name: str) -> None:
        """This stage is complete: what waited for it alone can be made."""
        self.live.pop(name, None)
        del self.waiting[name]
        for dependent in self._dependents.get(name, ()):
            if dependent in self.waiting:
                self.waiting[dependent].needs.discard(name)
                if not self.waiting[dependent].needs:
                    self._enqueue(dependent)

    def fail(self, name: str, outcome: Outcome) -> list[Failure]:
        """This stage failed: so do the runs that rest on it, and what only they need is dropped."""
        label = self.waiting[name].stage.label
        fallen, open_ = set(), [name]
        while open_:
            fallen.add(at := open_.pop())
            open_ += [d for d in self._dependents.get(at, ()) if d not in fallen]
        failures = [
            Failure(self.live.pop(run), label, outcome) for run in list(self.live) if run in fallen
        ]
        self.failed |= {failure.cell.stage.folder: failure for failure in failures}
        wanted = set(open_ := list(self.live))
        while open_:
            needs = self.waiting[open_.pop()].needs - wanted
            wanted |= needs
            open_ += needs
        self.waiting = {name: wait for name, wait in self.waiting.items() if name in wanted}
        return failures
