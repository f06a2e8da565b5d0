"""Tables of options, and the methods that they describe.

A method is a frozen dataclass and its fields are its options. ``build`` and ``component`` make one
from a table of a recipe, strictly; ``table`` writes it back; ``identity`` is what results hang on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vidoor.errors import RecipeError, unknown
from vidoor.registry import lookup, name_of, names

SEEDS = range(2**63)
"""Valid seeds."""


def check_seed(seed: int) -> None:
    """ValueError if it is no valid seed."""
    if seed not in SEEDS:
        raise ValueError(f"seed must be in 0..2**63 - 1, not {seed}")


def component(group: str, options: Any, name: str = "", *, where: str = "") -> Any:
    """The method of ``group`` that a recipe table ``{kind = …, option = …}`` describes; ``where``
    it stands is the group and its name unless told."""
    where = where or (f"{group}.{name}" if name else group)
    values = dict(as_table(options, where))
    kind = values.pop("kind", None)
    if not isinstance(kind, str):
        raise RecipeError(f"[{where}] needs a kind, a string; valid: {', '.join(names(group))}")
    cls = lookup(group, kind)
    return build(cls, values, where)


def _preset(cls: type, name: Any, where: str) -> Mapping[str, Any]:
    """The options that ``preset = name`` stands for; a recipe's own options override them."""
    presets: Mapping[str, Mapping[str, Any]] = getattr(cls, "presets", {})
    if name is None:
        return {}
    if name not in presets:
        raise RecipeError(f"[{where}] names an {unknown('preset', str(name), presets)}")
    return presets[name]


def build(cls: type, options: Any, where: str) -> Any:
    """An instance of the dataclass ``cls`` from a recipe table; strict: nothing is converted."""
    values = dict(as_table(options, where))
    values = {**_preset(cls, values.pop("preset", None), where), **values}
    refuse_unknown(values, cls, where)
    try:
        return _adapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise RecipeError(_first_line(error, where)) from None


@cache
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """``value`` itself. RecipeError if it is no table."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where} must be a table, not {value!r}")
    return value


def refuse_unknown(
    values: Mapping[str, Any], cls: type, where: str, taken: Sequence[str] = ()
) -> None:
    """RecipeError if a key is no option of ``cls``; ``where`` is empty for the recipe itself, from
    which ``taken`` keys, valid too, were taken before."""
    valid = [spec.name for spec in fields(cls) if spec.init]
    for key in values:
        if key not in valid:
            place = f"[{where}] has an " if where else "the recipe has an "
            raise RecipeError(place + unknown("key", key, [*valid, *taken]))


def _first_line(error: ValidationError, where: str) -> str:
    """pydantic's report as one line: the first problem, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in (where, *first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    arrived = "" if first["type"] == "value_error" else f", not {first['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{key}: {message[0].lower()}{message[1:]}{arrived}{more}"


def table(method: Any) -> dict[str, Any]:
    """A method or a settings dataclass as a recipe table."""
    options = {
        spec.name: _plain(getattr(method, spec.name))
        for spec in fields(method)
        if spec.init and getattr(method, spec.name) is not None
    }
    try:
        return {"kind": name_of(method), **options}
    except LookupError:
        return options


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def identity(method: Any) -> dict[str, Any]:
    """What results depend on: a method's options, or its own ``identity()`` where it has one
    (a folder of clips is the clips in it, not its path); and its ``revision`` if it tells one: a
    method whose results changed counts it up, so that older ones are not taken for its own."""
    own = getattr(method, "identity", None)
    told = table(method) if own is None else {"kind": name_of(method), **own()}
    return {**told, **revision(method)}


def revision(method: Any) -> dict[str, Any]:
    """The method's revision, if it tells one, as an entry of its identity."""
    found = getattr(method, "revision", None)
    return {} if found is None else {"revision": found}
