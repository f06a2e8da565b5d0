"""``vidoor figures``: pictures of triggers, e.g. the paper's Figs. 1, 4 and 5; nothing is trained.

The folder holds a PNG for each figure, ``figures.json`` (what is on it, and how visible that is),
``README.md`` and the recipe. Equal recipes give equal bytes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from vidoor import imperceptibility, metrics
from vidoor.bench import store
from vidoor.bench.album import Album, Gallery, Part, album
from vidoor.document import Document
from vidoor.errors import RecipeError, VidoorError
from vidoor.files import make_folder, whole, write_text
from vidoor.imperceptibility import WINDOW, Clip
from vidoor.options import table
from vidoor.progress import track
from vidoor.report.gallery import Heading, change, gallery, scaled
from vidoor.report.layout import WRITERS, Column, Mean, Table, measure
from vidoor.types import ClipSet

README, RECIPE, RECORD = "README.md", "recipe.toml", "figures.json"


class _Shot(NamedTuple):
    """One clip before and after one trigger, and how much they differ."""

    clean: Clip
    triggered: Clip
    psnr: float
    ssim: float


def draw(document: Document, out: Path) -> dict[str, Any]:
    """Draw all figures of a recipe into the folder ``out``; what is on them.

    RecipeError, DataError or TriggerError, one line, before anything is written; VidoorError if
    ``out`` holds what is no part of the figures.
    """
    asked = album(document)
    names = {name: f"{name}.png" for name in asked.figures}
    _check(out, {README, RECIPE, RECORD, *names.values()})
    clips = asked.clips()
    for name, figure in asked.figures.items():
        _fits(name, figure, clips)

    @cache
    def shot(arm: str, clip: int) -> _Shot:
        frames = clips.read(clip)
        pair = frames.numpy(), asked.triggers[arm](frames).numpy()
        return _Shot(*pair, metrics.psnr(*pair), metrics.ssim(*pair))

    drawn: dict[str, bytes] = {}
    seen: dict[tuple[str, str], _Shot] = {}
    for name, figure in track(asked.figures.items(), "drawing figures", len(asked.figures)):
        shots = {arm: shot(arm, figure.clip) for arm in figure.arms or asked.triggers}
        drawn[names[name]] = _draw(figure, shots)
        seen |= {(arm, clips.ids[figure.clip]): found for arm, found in shots.items()}
    record = _record(asked, clips, seen)
    make_folder(out)
    for file, picture in drawn.items():
        with whole(out / file) as partial:
            partial.write_bytes(picture)
    store.write_json(out / RECORD, record)
    write_text(out / RECIPE, tomli_w.dumps(document))
    write_text(out / README, _readme(record))
    return {**record, "folder": str(out)}


def _check(out: Path, names: set[str]) -> None:
    if out.exists() and not out.is_dir():
        raise VidoorError(f"{out} is a file; give a folder for the figures")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if strange := sorted(name for name in found - names if not name.startswith(".")):
        raise VidoorError(
            f"{out} holds {strange[0]}, which is none of the figures; give another folder"
        )


def _fits(name: str, figure: Gallery, clips: ClipSet) -> None:
    for key, index, count in (
        ("clip", figure.clip, len(clips)),
        ("frames", max(figure.frames), clips.geometry.frames),
    ):
        if index >= count:
            raise RecipeError(
                f"figure.{name}.{key}: there is no {index}; valid: 0..{count - 1}"
                if count
                else "the data set has no clip"
            )


def _draw(figure: Gallery, shots: Mapping[str, _Shot]) -> bytes:
    """The PNG of one figure."""
    arms = [Heading(arm, f"{shot.psnr:.1f} dB") for arm, shot in shots.items()]
    parts = [(part, frame) for part in figure.show for frame in figure.frames]
    heads = [Heading(_title(part, figure), f"frame {frame}") for part, frame in parts]
    tiles = [[_tile(shot, *part, figure) for part in parts] for shot in shots.values()]
    if figure.triggers == "rows":
        return gallery(figure.title, arms, heads, tiles)
    return gallery(figure.title, heads, arms, list(map(list, zip(*tiles, strict=True))))


def _title(part: Part, figure: Gallery) -> str:
    titles = {"change": f"{figure.gain:g} x change", "detail": "most visible part"}
    return titles.get(part, part)


def _tile(shot: _Shot, part: Part, frame: int, figure: Gallery) -> np.ndarray:
    """What is shown of one frame, uint8 [h, w, 3]."""
    clean, triggered = (clip[frame].transpose(1, 2, 0) for clip in shot[:2])
    if part == "change":
        return change(clean, triggered, figure.gain, figure.side)
    if part == "detail":
        grid = imperceptibility.psnr_windows(*(clip[frame : frame + 1] for clip in shot[:2]))
        row, column = (WINDOW * i for i in np.unravel_index(grid.argmin(), grid.shape))
        triggered = triggered[row : row + WINDOW, column : column + WINDOW]
    return scaled(clean if part == "clean" else triggered, figure.side)


def _record(asked: Album, clips: ClipSet, seen: Mapping[tuple[str, str], _Shot]) -> dict[str, Any]:
    return {
        "name": asked.head.name,
        "note": asked.head.note,
        "figures": [
            {
                "name": name,
                "file": f"{name}.png",
                "title": figure.title,
                "clip": clips.ids[figure.clip],
                "frames": list(figure.frames),
                "arms": list(figure.arms or asked.triggers),
            }
            for name, figure in asked.figures.items()
        ],
        "triggers": [
            {
                "arm": arm,
                "clip": clip,
                "psnr": shot.psnr,
                "ssim": shot.ssim,
                "trigger": table(asked.triggers[arm]),
            }
            for (arm, clip), shot in seen.items()
        ],
    }


def _readme(record: Mapping[str, Any]) -> str:
    return "\n\n".join(part for part in _parts(record) if part) + "\n"


def _parts(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {record['name']}"
    yield record["note"]
    yield f"    vidoor figures {RECIPE} --out FOLDER"
    for figure in record["figures"]:
        yield f"![{figure['title'] or figure['name']}]({figure['file']})"
    columns = [Column("arm", "trigger"), Column("clip", "clip"), measure("psnr"), measure("ssim")]
    lines = [
        [row["arm"], row["clip"], *(Mean(row[name], None, 1) for name in ("psnr", "ssim"))]
        for row in record["triggers"]
    ]
    yield WRITERS["md"](Table(columns, lines, 2, 1)).rstrip("\n")
