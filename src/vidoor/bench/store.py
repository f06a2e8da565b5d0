"""Results on disk: written whole or not at all, found again by content.

<out>/stages/<kind>-<key>/   what several runs share, such as a trained victim
<out>/<run id>/              one run: recipe.toml, result.json, scores.npz, frames.npz, report.html
<out>/sweeps/<key>.json      which runs a command asked for

A folder is complete when it holds ``done.json``, written last, and every file that this lists, of
the size that it lists.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from vidoor.files import PARTIAL, whole, write_text
from vidoor.report.record import PAGE

DONE, ERROR = "done.json", "error.json"
CHECKPOINT = "checkpoint.safetensors"
"""Where a training stands; gone once its folder is complete."""

LOCK = ".lock"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole, see ``dumps``."""
    write_text(path, dumps(value) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz, whole."""
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def dumps(value: Any) -> str:
    """``value`` as JSON that any language reads: ASCII, and null for what is no number."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def done(folder: Path) -> dict[str, Any] | None:
    """What is on record about a complete folder; None if it is not complete."""
    try:
        record = json.loads((folder / DONE).read_bytes())
        sizes = record["files"].items()
        whole = all((folder / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    found: dict[str, Any] = record
    return found if whole else None


def finish(folder: Path, cost: Mapping[str, Any], **about: Any) -> None:
    """Declare ``folder`` complete, and what its making cost."""
    sizes = {
        path.name: path.stat().st_size
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.name not in (DONE, ERROR, PAGE, CHECKPOINT)
    }
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"files": sizes, "cost": cost, "finished": finished, **about}
    write_json(folder / DONE, record)


def cost(folder: Path) -> dict[str, Any]:
    """What the making of a complete folder cost, as ``finish`` was told."""
    record = done(folder)
    return {} if record is None else record["cost"]


def tidy(folder: Path) -> None:
    """Remove what a process that was killed left half-written, and what is no longer true."""
    # safetensors writes beside its target, under a name of its own.
    for path in [*folder.glob(f"{PARTIAL}-*"), *folder.glob(".tmp*"), folder / DONE]:
        path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Is the folder ours, until the block ends? Never waits. The lock of a dead process is free."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        with suppress(OSError):  # who holds it is for the curious
            (folder / LOCK).write_text(f"{socket.gethostname()} {os.getpid()}\n")
        yield True
    finally:
        lock.release()


def holder(folder: Path) -> str | None:
    """Host and process that work in ``folder`` now; None if none does, or if it is not for us to
    know: the folder is another user's."""
    if not (folder / LOCK).exists():
        return None
    try:
        with FileLock(folder / LOCK).acquire(blocking=False):
            return None
    except Timeout:
        return (folder / LOCK).read_text().strip() or "unknown"
    except OSError:
        return None
