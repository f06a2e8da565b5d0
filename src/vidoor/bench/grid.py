"""From one recipe document to the runs that it asks for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vidoor.errors import RecipeError, unknown
from vidoor.recipe import Recipe, parse

KEYS = ("seeds",)


def expand(document: Mapping[str, Any]) -> list[Recipe]:
    """The runs of ``document``: one, or ``[grid] seeds = n`` of them from its seed upwards."""
    values = dict(document)
    grid = values.pop("grid", {})
    if not isinstance(grid, Mapping):
        raise RecipeError(f"grid must be a table, not {grid!r}")
    for key in grid:
        if key not in KEYS:
            raise RecipeError(f"[grid] has an {unknown('key', key, KEYS)}")
    seeds = grid.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise RecipeError(f"grid.seeds must be a whole number >= 1, not {seeds!r}")
    recipe = parse(values)
    return [replace(recipe, seed=recipe.seed + offset) for offset in range(seeds)]
