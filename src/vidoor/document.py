"""Recipe files as plain documents: reading, overriding, merging. No method is looked up here."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vidoor import SCHEMA, __version__
from vidoor.errors import RecipeError

Document: TypeAlias = Mapping[str, Any]
"""A recipe as TOML gives it: tables, lists and plain values."""

DEEPEST = 50
"""Tables and lists within one another in the deepest recipe that is read."""


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The document of a recipe file, with ``a.b=value`` overrides applied."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read ({error.strerror}); give a recipe file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    return override(document, overrides)


def override(document: Document, overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of ``document`` with each ``a.b=value`` set; values are TOML, bare words strings."""
    changed: dict[str, Any] = _plain(document)
    for text in overrides:
        key, equals, value = text.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise RecipeError(f"override {text!r} is not of the form key=value or table.key=value")
        at = changed
        for name in path[:-1]:
            at = at.setdefault(name, {})
            if not isinstance(at, dict):
                raise RecipeError(f"override {text!r}: {name!r} is a value, not a table")
        at[path[-1]] = _value(value.strip())
    copy: dict[str, Any] = _plain(changed)
    return copy


def _plain(value: Any, depth: int = 0) -> Any:
    """A copy in which everything is as JSON has it: dates and paths become strings."""
    if depth > DEEPEST:
        raise RecipeError(f"tables and lists lie more than {DEEPEST} deep; nest them less")
    if isinstance(value, Mapping):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _value(text: str) -> Any:
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return values["value"] if len(values) == 1 else text


def merge(document: Document, changes: Document, *, methods: bool = True) -> dict[str, Any]:
    """``document`` with ``changes`` in it, table by table.

    A table of changes that names a ``kind`` is another method: it takes the place of the old one.
    Without ``methods`` it is a table like any other, as where both are parts of the same changes.
    """
    merged = dict(document)
    for key, value in changes.items():
        old = merged.get(key)
        other = methods and isinstance(value, Mapping) and "kind" in value
        if isinstance(old, Mapping) and isinstance(value, Mapping) and not other:
            value = merge(old, value, methods=methods)
        merged[key] = value
    return merged


def digest(*parts: Any) -> str:
    """Twelve hex digits of the content of ``parts``, the schema and the version of vidoor: results
    of an older version never pass for those of a newer one."""
    text = json.dumps([SCHEMA, __version__, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
