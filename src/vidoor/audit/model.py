"""The model of an audit: a checkpoint that is read as data, and the architecture that it fits.

Weights do not say what network they are of. That is told by ``--set victim.…``, or by the recipes
that vidoor leaves where it leaves weights; whichever they fit by name and shape is theirs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidoor.document import read as read_document
from vidoor.errors import RecipeError, VidoorError, WeightsError
from vidoor.options import build, component, table
from vidoor.types import Geometry
from vidoor.victims import victim as victims
from vidoor.victims import weights
from vidoor.victims._download import digest
from vidoor.victims.config import Training
from vidoor.victims.training import pick_device
from vidoor.victims.victim import Victim

RECIPE = "recipe.toml"


@dataclass(frozen=True, slots=True)
class Told:
    """An architecture that the weights may be of, and who says so."""

    architecture: Any
    frames: int | None
    """Frames that it sees of a clip, see ``Victim``."""

    geometry: Geometry | None
    """Of the clips that it was trained on, where that is known."""

    by: str


@dataclass(frozen=True, slots=True)
class Model:
    """A victim that is to be audited."""

    path: Path
    sha256: str
    victim: Victim
    told: Told

    def about(self) -> dict[str, Any]:
        """What the record says of it."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "victim": table(self.told.architecture),
            "told_by": self.told.by,
        }


def candidates(path: Path, options: Mapping[str, Any]) -> list[Told]:
    """What the weights may be of: what the ``options`` say (tables ``victim`` and ``training``),
    else what the recipes say that lie by the weights. WeightsError if nobody says anything."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise WeightsError(f"{path}: {what}; give a checkpoint with --model")
    if "victim" in options:
        frames = build(Training, options.get("training", {}), "training").frames
        return [Told(component("victim", options["victim"]), frames, None, "--set")]
    found = [told for file in _recipes(path) if (told := _of_recipe(file)) is not None]
    if not found:
        raise WeightsError(
            f"{path} does not say what network it is of; say it with --set victim.kind=… and the "
            "options that it was built with, e.g. --set victim.width=16"
        )
    return found


def _recipes(path: Path) -> Iterator[Path]:
    """The recipe in the same folder; and those of all runs, where this is a stage of some."""
    yield from path.resolve().parent.glob(RECIPE)
    folder = path.resolve().parent.parent
    if folder.name == "stages":
        yield from sorted(folder.parent.glob(f"*/{RECIPE}"))


def _of_recipe(file: Path) -> Told | None:
    """What a recipe says of its victim; None if it is not one that can be used."""
    try:
        document = read_document(file)
        said, training, data = (
            dict(document.get(key, {})) for key in ("victim", "training", "data")
        )
        said.pop("weights", None)
        if said.get("kind") == "custom":  # a factory is code, which no file that lies there names
            return None
        frames, size = data.get("frames"), data.get("size")
        geometry = Geometry(frames, *size) if frames and size and len(size) == 2 else None
        view = build(Training, training, "training").frames
        return Told(component("victim", said), view, geometry, str(file))
    except (VidoorError, TypeError, ValueError):
        return None


def _built(told: Told, classes: int) -> Victim:
    try:
        return victims.build(told.architecture, classes, 0, told.frames, pretrained=False)
    except RuntimeError as error:
        if "allocate" not in str(error):  # PyTorch's own, which is no MemoryError
            raise
        raise WeightsError(
            f"the victim that {told.by} asks for is too large for the memory"
        ) from None


def load(path: Path, told: list[Told], classes: int) -> Model:
    """The model, on the device of this process. WeightsError if the file is refused, or fits none.

    Nothing in the file is run.
    """
    state = weights.read(path)
    problem: WeightsError | None = None
    for one in told:
        victim = _built(one, classes)
        try:
            weights.adopt(victim.network, state, str(path))
        except WeightsError as error:
            problem = error
            continue
        return Model(path, digest(path), victim.to(pick_device("auto")).eval(), one)
    if problem is None:
        raise RecipeError("no architecture is given")
    raise WeightsError(
        f"{problem}; the clips have {classes} classes, and the victim is as {told[-1].by} says: "
        "say what it is with --set victim.kind=… and its options"
    )
