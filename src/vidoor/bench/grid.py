"""From one recipe document to all the settings that its ``[grid]`` asks for.

::

    [grid]
    seeds = 5                                   # the recipe's seed and the four after it
    poisoning.rate = [0.05, 0.2]                # an axis: every value with every other axis's
    trigger = [{ kind = "dft", rms = 2.0 }, { kind = "badnet" }]      # another method: its table

    [[grid.zip]]                                # these move together, and count as one axis
    data.frames = [8, 16]
    victim.width = [16, 8]

    [grid.arms.short]                           # named alternatives, and count as one axis
    training.epochs = 5
    [grid.arms.long]
    training.epochs = 50

    [[grid.exclude]]                            # settings that agree with all of this are left out
    arm = "short"
    poisoning.rate = 0.05

No key is set in two places, so their order changes nothing but the order of the settings.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product, starmap
from typing import Any

from vidoor.document import Document, merge
from vidoor.errors import RecipeError, unknown
from vidoor.options import as_table
from vidoor.recipe import LAYOUTS

RESERVED = ("seeds", "zip", "arms", "exclude")
"""Keys of ``[grid]`` that are no axes."""

MOST = 100_000
"""Settings of the largest grid that is expanded."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One cell of a grid: a recipe document without a grid, and what tells it from the others."""

    document: Document
    label: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """One value of an axis: what it changes, and how it is told from the axis's others."""

    changes: Document
    label: str


def expand(document: Document) -> list[Setting]:
    """The settings of ``document`` in the order of its axes, seeds innermost; one without a grid.

    RecipeError, one line, for a grid that cannot be read, is empty or larger than ``MOST``.
    """
    base = dict(document)
    grid = as_table(base.pop("grid", {}), "grid")
    for layout in LAYOUTS:
        base.pop(layout, None)  # how the results are shown is no setting
    axes = [*_arms(grid), *_axes(grid), *_zips(grid), *_seeds(base, grid)]
    _refuse_slips(axes)
    count = math.prod(map(len, axes))
    if count > MOST:
        raise RecipeError(f"the grid has {count:,} settings; {MOST:,} is the most")
    settings = [_setting(base, choices) for choices in product(*axes)]
    return _kept(settings, grid)


def _setting(base: Document, choices: Sequence[_Choice]) -> Setting:
    changes = _united(choice.changes for choice in choices)
    label = ", ".join(choice.label for choice in choices if choice.label)
    return Setting(merge(base, changes), label)


def _united(changes: Iterable[Document]) -> Document:
    """Changes as one; a method's kind and its options may come in any order."""
    return reduce(partial(merge, methods=False), changes, {})


def _refuse_slips(axes: Sequence[Sequence[_Choice]]) -> None:
    """A key that two axes set would silently have the value of the second, and settings that
    differ in their runtime alone are one run."""
    taken: set[str] = set()
    for axis in axes:
        keys = {key for choice in axis for key, _ in _leaves(choice.changes)}
        for key in sorted(keys):
            if key in taken:
                raise _twice(key)
            if (table := key.partition(".")[0]) in ("runtime", *LAYOUTS):
                raise RecipeError(
                    f"no result depends on {key}, so it is no axis; set it in [{table}]"
                )
        taken |= keys


def _twice(key: str) -> RecipeError:
    return RecipeError(f"the grid sets {key} in two places; keep one of them")


def _tables(value: Any, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise RecipeError(f"{where} must be an array of tables, [[{where}]], not {value!r}")
    return [as_table(item, where) for item in value]


def _leaves(table: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values, empty tables among them; quoted keys with dots in them count
    as dotted, too."""
    for key, value in table.items():
        path = (*prefix, key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield ".".join(path), value


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}


def _axes(grid: Mapping[str, Any]) -> Iterator[list[_Choice]]:
    own = {key: value for key, value in grid.items() if key not in RESERVED}
    for key, values in _lists(own).items():
        yield [_Choice(_nested(key, value), _label(key, value)) for value in values]


def _lists(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each axis of a table of axes."""
    lists: dict[str, list[Any]] = {}
    for key, values in _leaves(table):
        if key in lists:
            raise _twice(key)
        lists[key] = _list(key, values)
    return lists


def _list(key: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        hint = "" if "." in key else f"; or is it an {unknown('key', key, RESERVED)}"
        raise RecipeError(f"grid.{key} must be a list of one or more values, not {values!r}{hint}")
    return values


def _label(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        options = [f"{k} {v}" if v != {} else k for k, v in _leaves(value) if k != "kind"]
        return " ".join([str(value.get("kind", key)), *options])
    return f"{key} {value}"


def _zips(grid: Mapping[str, Any]) -> Iterator[list[_Choice]]:
    for table in _tables(grid.get("zip", []), "grid.zip"):
        axes = _lists(table)
        lengths = {key: len(values) for key, values in axes.items()}
        if len(set(lengths.values())) != 1:
            told = ", ".join(f"{key} has {length}" for key, length in lengths.items()) or "no axis"
            raise RecipeError(f"the axes of a [[grid.zip]] must be equally long: {told}")
        yield [
            _together(dict(zip(axes, row, strict=True))) for row in zip(*axes.values(), strict=True)
        ]


def _together(values: Mapping[str, Any]) -> _Choice:
    changes = _united(starmap(_nested, values.items()))
    return _Choice(changes, ", ".join(starmap(_label, values.items())))


def _arms(grid: Mapping[str, Any]) -> Iterator[list[_Choice]]:
    arms = as_table(grid.get("arms", {}), "grid.arms")
    if arms:
        told = {name: _leaves(as_table(arm, f"grid.arms.{name}")) for name, arm in arms.items()}
        yield [
            _Choice({**_united(starmap(_nested, leaves)), "arm": name}, name)
            for name, leaves in told.items()
        ]


def _seeds(base: Document, grid: Mapping[str, Any]) -> Iterator[list[_Choice]]:
    if "seeds" not in grid:
        return
    seeds, first = grid["seeds"], base.get("seed", 0)
    if not _whole(first):
        raise RecipeError(f"seed must be a whole number, not {first!r}")
    if _whole(seeds) and seeds >= 1:
        if seeds > MOST:
            raise RecipeError(f"the grid has {seeds:,} seeds; {MOST:,} is the most")
        seeds = list(range(first, first + seeds))
    if not (isinstance(seeds, list) and seeds and all(map(_whole, seeds))):
        raise RecipeError(
            f"grid.seeds must be a whole number >= 1 or a list of seeds, not {seeds!r}"
        )
    yield [_Choice({"seed": seed}, f"seed {seed}" if len(seeds) > 1 else "") for seed in seeds]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kept(settings: list[Setting], grid: Mapping[str, Any]) -> list[Setting]:
    """The settings that no exclusion meets. One that meets none at all is a slip, and refused."""
    for table in _tables(grid.get("exclude", []), "grid.exclude"):
        wanted = dict(_leaves(table))
        rest = [setting for setting in settings if not _meets(setting.document, wanted)]
        told = ", ".join(f"{key} = {value!r}" for key, value in wanted.items()) or "nothing"
        if not wanted or len(rest) == len(settings):
            known = sorted({key for setting in settings for key, _ in _leaves(setting.document)})
            odd = next((key for key in wanted if key not in known), None)
            raise RecipeError(
                f"[[grid.exclude]] {told} leaves out no setting; "
                + (unknown("key", odd, known) if odd else "check its values")
            )
        if not rest:
            raise RecipeError(f"[[grid.exclude]] {told} leaves no setting at all; exclude less")
        settings = rest
    return settings


def _meets(document: Document, wanted: Mapping[str, Any]) -> bool:
    found = dict(_leaves(document))
    return all(key in found and found[key] == value for key, value in wanted.items())
