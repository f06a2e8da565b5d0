"""The files of an audit, each written whole: tables, pictures, SARIF, the page, last the record.

``clean.csv`` lists the clips that nothing speaks against, in the form of ``data.listed``, paths
below the folder of the clips; ``suspicious.csv`` the accused ones, with reasons, for people.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from vidoor.audit import page, sarif
from vidoor.audit.record import Record, document, text
from vidoor.audit.work import Work
from vidoor.bench import store
from vidoor.data.layout import Clip
from vidoor.data.listed import Layout
from vidoor.data.lists import encoded
from vidoor.errors import ClipError
from vidoor.files import whole, write_text
from vidoor.report import figures
from vidoor.wording import printable

RECORD, SARIF, PAGE = "audit.json", "audit.sarif", "index.html"
FORMULA = re.compile("(?:^|(?<=;)) *(?=[-=+@＝＋－＠])")
"""Where a spreadsheet would begin a formula."""

CLEAN, SUSPICIOUS = "clean.csv", "suspicious.csv"
ARRAYS, PICTURE = "pattern.npz", "pattern.png"

COLUMNS = ("path", "label", "split", "rank", "score", "by", "reasons")

Volumes: TypeAlias = Mapping[str, NDArray[np.float32]]


def names(work: Work) -> dict[str, str]:
    """The files that there will be, by what they are."""
    files = {"record": RECORD, "sarif": SARIF, "page": PAGE}
    if _judged(work):
        files |= {"clean": CLEAN, "suspicious": SUSPICIOUS}
    if patterns(work):
        files |= {"pattern": ARRAYS, "picture": PICTURE}
    return files


def write(record: Record, work: Work) -> None:
    """Write all files of a record; those of an earlier one that no longer hold are removed."""
    folder, volumes = work.folder, patterns(work)
    for name in {CLEAN, SUSPICIOUS, ARRAYS, PICTURE} - {*record.files.values()}:
        (folder / name).unlink(missing_ok=True)
    if _judged(work):
        _write(folder / CLEAN, _clean(record, work))
        _write(folder / SUSPICIOUS, _suspicious(record))
    if volumes:
        store.write_arrays(folder / ARRAYS, volumes)
        first = figures.grey(next(iter(volumes.values())))
        _write(folder / PICTURE, figures.png(figures.strip(first)))
    store.write_json(folder / SARIF, sarif.log(record))
    frames = {name: figures.filmstrip(figures.grey(volume)) for name, volume in volumes.items()}
    _write(folder / PAGE, page.render(document(record), frames, _thumbnails(record, work)))
    write_text(folder / RECORD, text(record))


def _write(path: Path, content: bytes) -> None:
    with whole(path) as partial:
        partial.write_bytes(content)


def _judged(work: Work) -> bool:
    """Has a detector that accuses clips had its say?"""
    return any(
        check.accuses and check.level == "dataset" and check.name in work.verdicts
        for check in work.checks
    )


def patterns(work: Work) -> dict[str, NDArray[np.float32]]:
    """What was recovered, as volumes [T, H, W]: patterns that clips share (``template``), and what
    sends a model to a class (``perturbation``, the mean of its channels). Of alarms that accuse."""
    found: dict[str, NDArray[np.float32]] = {}
    for check in work.checks:
        verdict = work.verdicts.get(check.name)
        if verdict is None or not (check.accuses and verdict.alarm):
            continue
        kind = "template" if check.level == "dataset" else "perturbation"
        told = verdict.evidence
        if "templates" in told:  # of several triggers, the first one's is under its own name, too
            told = {"templates": told["templates"]}
        for value in told.values():
            for volume in _volumes(value, channels=check.level == "model"):
                number = sum(name.startswith(kind) for name in found) + 1
                found[kind if number == 1 else f"{kind}_{number}"] = volume
    return found


def _volumes(value: Any, *, channels: bool) -> list[NDArray[np.float32]]:
    if not isinstance(value, np.ndarray | torch.Tensor):
        return []
    array = np.asarray(value)
    if array.dtype.kind != "f" or array.ndim not in (3, 4) or not array.size:
        return []
    if array.ndim == 4:
        array = array.mean(0, keepdims=True) if channels else array
    return [volume.astype(np.float32) for volume in (array if array.ndim == 4 else array[None])]


def _clean(record: Record, work: Work) -> bytes:
    """A table of clips that ``data.kind = "manifest"`` reads."""
    bad = {suspect.clip for suspect in record.suspicious}
    split = dict(zip(work.source.clips.ids, work.source.splits, strict=True))
    parts: dict[str, list[Clip]] = {"train": [], "test": []}
    for clip, label in zip(work.clips.ids, work.clips.labels, strict=True):
        if clip not in bad:
            parts[split[clip]].append(Clip(clip, work.clips.classes[label]))
    layout = Layout(CLEAN, divided="test" in work.source.splits)
    (table,) = layout.lists(work.clips.classes, parts["train"], parts["test"]).values()
    return table


def _suspicious(record: Record) -> bytes:
    rows = [
        (
            *map(_cell, (s.clip, s.label, s.split)), s.rank, f"{s.score:.6g}",
            *map(_cell, (" ".join(s.by), "; ".join(s.reasons))),
        )
        for s in record.suspicious
    ]  # fmt: skip
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    return encoded(table.getvalue())


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula, whether commas or semicolons divide cells."""
    return FORMULA.sub("'", printable(text))


def _thumbnails(record: Record, work: Work) -> list[str]:
    """The middle frames of the most suspicious clips, as data URIs; empty where one is gone."""
    row = {clip: index for index, clip in enumerate(work.clips.ids)}
    return [_thumbnail(work, row[suspect.clip]) for suspect in record.suspicious[: page.THUMBNAILS]]


def _thumbnail(work: Work, row: int) -> str:
    try:
        clip = work.clips.read(row)
    except ClipError:
        return ""
    return page.thumbnail(clip[len(clip) // 2].permute(1, 2, 0).numpy())
