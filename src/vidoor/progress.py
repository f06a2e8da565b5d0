"""Progress of long work: a bar with a rate and an ETA on a terminal, plain lines otherwise."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where logs go: standard error, so that standard output holds results alone."""


_bars = console.is_terminal


def plain() -> None:
    """No bars in this process: others write to the same terminal."""
    global _bars
    _bars = False


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s", style="cyan")


def track(items: Iterable[T], what: str, total: int, unit: int = 1) -> Iterator[T]:
    """Pass ``items`` through and show how far they are; each counts for ``unit`` of ``total``."""
    if not _bars:
        yield from _plain(items, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task, min(unit, total - bar.tasks[0].completed))


def _plain(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    start = time.monotonic()
    yield from items
    seconds = time.monotonic() - start
    say(f"{what}: {total:,} in {seconds:.1f} s ({total / max(seconds, 1e-9):.0f}/s)")


def say(line: str) -> None:
    """One line of log."""
    console.print(line, markup=False)
