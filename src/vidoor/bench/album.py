"""What a recipe for ``vidoor figures`` says: clips, triggers by name, and pictures of them.

::

    [data]                       # left out: embedded clips of the paper's size, 32×224×224
    kind = "shapes"              # or another data set, or "video": path = a file, or a folder

    [grid.arms.DFT]              # the triggers, by name
    trigger = { kind = "dft", preset = "paper" }

    [figure.classic]             # becomes classic.png
    kind = "frames"
    arms = ["DFT"]
    frames = [0, 16]
    show = ["clean", "triggered", "change"]
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vidoor.bench.grid import expand
from vidoor.bench.samples import PAPER, samples
from vidoor.document import Document
from vidoor.errors import RecipeError, unknown
from vidoor.imperceptibility import WINDOW
from vidoor.options import as_table, build, check_seed, component
from vidoor.registry import lookup
from vidoor.types import ClipSet, Geometry, Trigger

Part: TypeAlias = Literal["clean", "triggered", "change", "detail"]

TABLES = ("data", "trigger", "grid", "figure")
"""What a recipe for figures may hold beside its ``Head``; ``trigger`` is for one without a grid."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A row for each trigger, and in it what is shown of each frame."""

    title: str = ""
    """What stands above the picture."""

    arms: tuple[str, ...] = ()
    """Names of the triggers, in order; all of them if none is named."""

    clip: int = 0
    """Which clip, from 0: of the test set, or of the training set where that is empty."""

    frames: tuple[int, ...] = (0,)
    """Which frames of it, from 0."""

    show: tuple[Part, ...] = ("clean", "triggered", "change")
    """``clean`` and ``triggered`` frames, the ``change`` between them, amplified, around mid-grey,
    and ``detail``: that window of 28×28 pixels of the triggered frame which has the least PSNR."""

    gain: float = 10.0
    """How much the change is amplified."""

    side: int = 112
    """Longest side of each picture in pixels; frames are scaled by whole factors."""

    triggers: Literal["rows", "columns"] = "rows"
    """Where each trigger stands: in a row or in a column of its own."""

    def __post_init__(self) -> None:
        if not (self.frames and self.show):
            raise ValueError("frames and show must name one thing or more, not none")
        if self.clip < 0 or min(self.frames) < 0:
            raise ValueError(f"clips and frames count from 0, not {self.clip} and {self.frames}")
        if not 0 < self.gain <= 255:
            raise ValueError(f"gain must be a number above 0, at most 255, not {self.gain}")
        if not WINDOW <= self.side <= 1024:
            raise ValueError(f"side must be in {WINDOW}..1024 pixels, not {self.side}")


KINDS = {"frames": Gallery}
"""Kinds of figures, and their options."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """A video of the user's, or a folder of them, as a data set."""

    path: Path
    frames: int = PAPER.frames
    size: tuple[int, int] = (PAPER.height, PAPER.width)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands above the tables of the recipe."""

    name: str = "figures"
    note: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Album:
    """A recipe for figures, resolved."""

    head: Head
    data: Any
    triggers: Mapping[str, Trigger]
    figures: Mapping[str, Gallery]

    def clips(self) -> ClipSet:
        """The clips that the figures are of, one at least unless there are none at all."""
        if isinstance(self.data, Video):
            geometry = Geometry(self.data.frames, *self.data.size)
            return samples(self.data.path, 0, geometry).source
        splits = self.data.open(self.head.seed)
        found: ClipSet = splits.test if len(splits.test) else splits.train
        return found


def album(document: Document) -> Album:
    """The figures that ``document`` describes. RecipeError, one line, if it describes none."""
    keys = [spec.name for spec in fields(Head)]
    for key in document:
        if key not in (*keys, *TABLES):
            known = unknown("key", key, (*keys, *TABLES))
            raise RecipeError(f"a recipe for figures has no {known.removeprefix('unknown ')}")
    head = build(Head, {key: document[key] for key in keys if key in document}, "recipe")
    triggers = dict(_triggers(document))
    figures = dict(_figures(document.get("figure", {}), triggers))
    if not figures:
        raise RecipeError("the recipe has no [figure.NAME] table; it needs one or more")
    return Album(
        head=head, data=_data(document.get("data", {})), triggers=triggers, figures=figures
    )


def _triggers(document: Document) -> Iterator[tuple[str, Trigger]]:
    asked = {key: document[key] for key in ("trigger", "grid") if key in document}
    for setting in expand(asked):
        if odd := sorted({*setting.document} - {"trigger", "arm"}):
            raise RecipeError(f"the grid of a recipe for figures sets trigger alone, not {odd[0]}")
        if "trigger" not in setting.document:
            raise RecipeError("the recipe names no trigger; give it [grid.arms.NAME] tables")
        options = setting.document["trigger"]
        method = component("trigger", options)
        yield setting.label or options["kind"], method


def _figures(tables: Any, arms: Mapping[str, Trigger]) -> Iterator[tuple[str, Gallery]]:
    for name, options in as_table(tables, "figure").items():
        where = f"figure.{name}"
        if name.startswith(".") or not name or set(name) & set("/\\\0"):
            raise RecipeError(f"[{where}]: {name!r} cannot be the name of a file; give another")
        values = dict(as_table(options, where))
        kind = values.pop("kind", None)
        if kind not in KINDS:
            raise RecipeError(f"[{where}] names an {unknown('kind', str(kind), KINDS)}")
        figure: Gallery = build(KINDS[kind], values, where)
        for arm in figure.arms:
            if arm not in arms:
                raise RecipeError(f"[{where}] names an {unknown('arm', arm, arms)}")
        yield name, figure


def _data(options: Any) -> Any:
    """The data set; clips are of the paper's size unless it says otherwise."""
    values = {"kind": "shapes", **as_table(options, "data")}
    if values["kind"] == "video":
        return build(Video, {key: values[key] for key in values if key != "kind"}, "data")
    usual = {"frames": PAPER.frames, "size": [PAPER.height, PAPER.width]}
    known = {spec.name for spec in fields(lookup("data", str(values["kind"])))}
    return component("data", {**{k: v for k, v in usual.items() if k in known}, **values})
