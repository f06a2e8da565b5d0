"""Records of runs, made comparable: without what may differ between two makings of one record."""

import json
from pathlib import Path
from typing import Any

import numpy as np

VOLATILE = ("seconds", "memory", "report", "folder", "finished")


def timeless(value: Any) -> Any:
    """A document without times, peaks of memory and places."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in VOLATILE}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def records(out: Path) -> dict[str, Any]:
    """Every record below ``out`` by its run, timeless, with the bytes of the scores beside it."""
    return {
        path.parent.name: (
            timeless(json.loads(path.read_text())),
            _content(path.parent / "scores.npz"),
        )
        for path in out.glob("*/result.json")
    }


def _content(path: Path) -> dict[str, bytes]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def finished(out: Path) -> dict[str, int]:
    """Every complete stage and run below ``out``, and when it was completed."""
    return {
        path.parent.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for path in [*out.glob("stages/*/done.json"), *out.glob("*/done.json")]
    }
