"""Progress of long work: a bar with a rate and an ETA on a terminal, plain lines otherwise."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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

from vidoor.wording import printable

T = TypeVar("T")


class _Logs(Console):
    """Goes on where nobody reads any more: logs are lost, the work is not."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


console = _Logs(stderr=True, highlight=False, soft_wrap=True)
"""Where logs go: standard error, so that standard output holds results alone."""


_bars = console.is_terminal
_quiet = False


def plain(quiet: bool = False) -> None:
    """No bars in this process: others write to the same terminal. ``quiet``: no lines either."""
    global _bars, _quiet
    _bars, _quiet = False, quiet


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


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[str, int], None]]:
    """Show how far work of ``total`` steps is; call ``tell(line, count)`` after each ``count``."""
    if not _bars:
        yield _counted(total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def tell(line: str, count: int) -> None:
            bar.advance(task, count)
            if line:
                say(line)

        yield tell


def _counted(total: int) -> Callable[[str, int], None]:
    start, done = time.monotonic(), 0

    def tell(line: str, count: int) -> None:
        nonlocal done
        done += count
        left = (time.monotonic() - start) * (total - done) / max(done, 1)
        if line:
            say(
                f"[{done}/{total}] {line}; {left:.0f} s to go"
                if done < total
                else f"[{done}/{total}] {line}"
            )

    return tell


def say(line: str) -> None:
    """One line of log; names in it may be anyone's."""
    if not _quiet:
        console.print(printable(line), markup=False)
