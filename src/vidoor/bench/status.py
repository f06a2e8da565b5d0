"""What a command asked for and how far it is, from the folders alone: nothing is loaded or run.

A sweep writes down what it was asked for under ``<out>/sweeps``; anyone who sees the folder can
hold that against what is complete, failed or being worked at, and against what like work has cost.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import vidoor
from vidoor import SCHEMA
from vidoor.bench import store
from vidoor.document import Document, digest
from vidoor.errors import DataError
from vidoor.files import make_folder
from vidoor.progress import say
from vidoor.report.record import PAGE

SWEEPS = "sweeps"

Asked: TypeAlias = dict[str, Any]
"""A sweep: ``name``, ``workers``, ``settled`` (does no result depend on files?), ``cells`` (label,
run folder, folders of the stages), ``stages`` (folder -> label, like)."""


def _path(document: Document, out: Path) -> Path:
    asked = {key: value for key, value in document.items() if key not in ("runtime", "table")}
    return out / SWEEPS / f"{digest(asked)}.json"


def remember(document: Document, out: Path, asked: Asked) -> None:
    """Write down what a document asks for."""
    path = _path(document, out)
    make_folder(path.parent)
    store.write_json(path, {"schema": SCHEMA, "code": _code(), **asked})


def recall(document: Document, out: Path) -> Asked | None:
    """What a document asks for, if that is known, complete, and depends on nothing else: on no
    files, and on no other code than that which wrote it down."""
    asked = _read(_path(document, out))
    if asked is None or not asked["settled"] or asked.get("code") != _code():
        return None
    whole = all(_is_whole(out / cell["run"]) for cell in asked["cells"])
    return asked if whole else None


def _code() -> str:
    """Which files vidoor is made of: a method that was revised asks for other runs."""
    root = Path(vidoor.__file__).parent
    files = ((path, path.stat()) for path in sorted(root.rglob("*.py")))
    return digest([(str(path.relative_to(root)), s.st_size, s.st_mtime_ns) for path, s in files])


def _is_whole(run: Path) -> bool:
    page = run / PAGE
    return store.done(run) is not None and page.exists() and page.stat().st_size > 0


def _read(path: Path) -> Asked | None:
    try:
        asked = json.loads(path.read_bytes())
        known = {"name", "workers", "settled", "cells", "stages"} <= asked.keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return asked if known and asked.get("schema") == SCHEMA else None


def sweeps(out: Path) -> list[Asked]:
    """Every sweep that was asked for in a folder, the latest last. DataError if it is none."""
    if not out.is_dir():
        raise DataError(f"{out}: no such folder; give the folder of the runs")
    paths = sorted((out / SWEEPS).glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = [(path, _read(path)) for path in paths]
    for path, asked in found:
        if asked is None:
            say(f"{path}: no list of a sweep; its command writes it again")
    return [asked for _, asked in found if asked is not None]


def survey(asked: Asked, out: Path, elsewhere: Collection[str] = ()) -> dict[str, Any]:
    """How far a sweep is, and what is left of it. Runs ``elsewhere`` count as complete.

    ``cells`` has a ``state`` each: complete, failed (with its ``problem``), running, partly (some
    stages are there) or missing. ``seconds`` is what the missing stages will take one after the
    other, and ``unknown`` how many of them are like nothing that was ever made.
    """
    complete = {name for name in asked["stages"] if store.done(out / name) is not None}
    complete |= set(elsewhere)
    # What a complete run rests on may be gone: nobody needs it any more.
    wanted = {
        name for cell in asked["cells"] if cell["run"] not in complete for name in cell["stages"]
    }
    wanted -= complete
    missing = {name: stage for name, stage in asked["stages"].items() if name in wanted}
    workers = {name: held for name in missing if (held := store.holder(out / name)) is not None}
    costs = _costs(out)
    estimates = {name: costs.get(stage["like"]) for name, stage in missing.items()}
    cells = [_cell(cell, out, complete, workers) for cell in asked["cells"]]
    known = [seconds for seconds in estimates.values() if seconds is not None]
    return {
        "name": asked["name"],
        "cells": cells,
        "complete": sum(cell["state"] == "complete" for cell in cells),
        "failed": sum(cell["state"] == "failed" for cell in cells),
        "stages": len(asked["stages"]),
        "missing": len(missing),
        "running": [{"stage": missing[name]["label"], "by": by} for name, by in workers.items()],
        "seconds": sum(known),
        "unknown": len(missing) - len(known),
        "workers": asked["workers"],
    }


def _cell(
    cell: Mapping[str, Any], out: Path, complete: set[str], workers: Mapping[str, str]
) -> dict[str, Any]:
    about = {"label": cell["label"], "run": cell["run"]}
    if cell["run"] in complete:
        return {**about, "state": "complete", "missing": 0}
    left = [name for name in cell["stages"] if name not in complete]
    state = "running" if any(name in workers for name in left) else "missing"
    if state == "missing" and len(left) < len(cell["stages"]):
        state = "partly"
    error = _error(out / cell["run"] / store.ERROR)
    if error and state != "running":
        return {**about, "state": "failed", "missing": len(left), **error}
    return {**about, "state": state, "missing": len(left)}


def _error(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
        return {"stage": document["stage"], "problem": document["problem"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _costs(out: Path) -> dict[str, float]:
    """Median seconds that complete stages took, by what they are like."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for path in [*out.glob(f"stages/*/{store.DONE}"), *out.glob(f"*/{store.DONE}")]:
        record = store.done(path.parent) or {}
        spent = (record.get("cost") or {}).get("seconds")
        if spent is not None:
            seconds[str(record.get("like"))].append(spent)
    return {like: median(spent) for like, spent in seconds.items()}
