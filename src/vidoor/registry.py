"""Where methods are found: register, lookup, names, and entry points for third parties.

A method is a frozen dataclass whose fields are its options::

    @register("trigger", "dft")
    @dataclass(frozen=True, kw_only=True)
    class DFT: ...

Built-in methods are found by importing every module of their group's package, so adding a file is
enough. A third-party package names its module under the entry-point group ``vidoor``; importing
that module registers its methods.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from vidoor.errors import RecipeError, unknown
from vidoor.progress import say

GROUPS = {
    "data": "vidoor.data",
    "trigger": "vidoor.triggers",
    "victim": "vidoor.victims",
    "detector": "vidoor.detectors",
    "mitigation": "vidoor.mitigations",
}
"""Group name -> package whose modules register the built-in methods."""

ENTRY_POINTS = "vidoor"

_methods: dict[str, dict[str, type]] = {group: {} for group in GROUPS}
_names: dict[type, str] = {}

T = TypeVar("T", bound=type)


def register(group: str, name: str) -> Callable[[T], T]:
    """Class decorator: make a frozen dataclass known as method ``name`` of ``group``.

    Raises ValueError if another class already holds the name.
    """

    def add(cls: T) -> T:
        held = _methods[group].setdefault(name, cls)
        if (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{group} {name!r} is already registered by {held.__module__}")
        _names[cls] = name
        return cls

    return add


@cache
def _load() -> None:
    for package in GROUPS.values():
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # whatever a third party's module may do on import
            say(f"plug-in {entry.value!r} is left out: {type(error).__name__}: {error}")


def methods(group: str) -> dict[str, type]:
    """All methods of ``group``, by name, in alphabetical order."""
    _load()
    return dict(sorted(_methods[group].items()))


def names(group: str) -> list[str]:
    """The names of all methods of ``group``."""
    return list(methods(group))


def lookup(group: str, name: str) -> type:
    """The class of method ``name``; RecipeError names the valid ones if there is none."""
    found = methods(group)
    if name not in found:
        raise RecipeError(unknown(f"{group} kind", name, found))
    return found[name]


def name_of(method: object) -> str:
    """The name under which the class of ``method`` is registered."""
    try:
        return _names[type(method)]
    except KeyError:
        raise LookupError(f"{type(method).__name__} is not registered") from None


def about(cls: type) -> dict[str, Any]:
    """What a method or a settings class is, its options with their defaults, and its presets."""
    summary = (cls.__doc__ or "").strip().partition("\n")[0]
    options = {spec.name: _default(spec) for spec in fields(cls)}
    return {"summary": summary, "options": options, "presets": dict(getattr(cls, "presets", {}))}


def _default(spec: Any) -> Any:
    if spec.default_factory is not MISSING:
        return spec.default_factory()
    if spec.default is MISSING:
        return "required"
    return str(spec.default) if isinstance(spec.default, Path) else spec.default
