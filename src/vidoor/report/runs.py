"""Flat runs: what their fields are called, which runs are asked for, what tells runs apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from vidoor.errors import VidoorError, unknown
from vidoor.report.layout import text
from vidoor.report.record import is_number

Run: TypeAlias = dict[str, Any]
"""One run, flat: dotted field -> number, string, bool or None. A name with dots is in quotes."""

CIRCUMSTANCES = ("recipe.runtime.", "environment.", "cost.", "seconds.")
"""Where something ran and what it took: no settings, so runs that differ in them are averaged."""

PARTS = {
    "detectors": "detector", "mitigations": "mitigation", "probes": "probe", "epochs": "epoch"
}  # fmt: skip
"""Parts of a record with an entry for each method, probe or epoch of the poisoned victim, and the
field that names it in a run that is about one of them."""

UNTOUCHED = "none"
"""The mitigation of a run without any."""

LISTED = 8
"""Most names in a sentence."""


def short(field: str) -> str:
    """The name of a field in tables: a field of the recipe goes without ``recipe.``."""
    return field.removeprefix("recipe.")


def full_names(runs: Sequence[Run]) -> dict[str, str]:
    """short name -> field; the recipe's field where the record has one of that name too."""
    fields = dict.fromkeys(field for run in runs for field in run)
    return {short(f): f for f in sorted(fields, key=lambda f: f.startswith("recipe."))}


def find(names: Iterable[str], full: Mapping[str, str]) -> list[str]:
    """The field that each name means, once; VidoorError for an unknown one."""
    shorts = dict.fromkeys(map(short, names))
    for name in shorts:
        if name not in full:
            raise VidoorError(unknown("field", name, sorted(full)))
    return [full[name] for name in shorts]


def each(runs: Sequence[Run], parts: Iterable[str]) -> list[Run]:
    """The runs as so many more, each about one entry of the ``parts``: its fields come first.

    With ``detectors`` the field ``detector`` is a detector's name, and ``alarm`` what it said; with
    ``mitigations`` ``asr`` is what a ``mitigation`` has left of it, ``none`` all of it; with
    ``probes`` it is that of a ``probe``, of whose trigger ``test.start`` and others tell; with
    ``epochs`` it was measured after the ``epoch``.
    VidoorError for what is no part of records.
    """
    for part in parts:
        if part not in PARTS:
            raise VidoorError(unknown("part", part, PARTS))
        runs = [one for run in runs for one in _apart(run, part)]
    return list(runs)


def _apart(run: Run, part: str) -> list[Run]:
    entries: dict[str, Run] = {UNTOUCHED: {}} if part == "mitigations" else {}
    for field, value in run.items():
        if field.startswith(f"{part}."):
            name, own = _entry(field.removeprefix(f"{part}."))
            entries.setdefault(name, {})[own] = value
    rest = {field: value for field, value in run.items() if not field.startswith(f"{part}.")}
    return [{**rest, PARTS[part]: name, **own} for name, own in entries.items()]


def _entry(field: str) -> tuple[str, str]:
    """Name and rest of a field that begins with a name, in quotes if it has dots."""
    quoted = field.startswith('"')
    name, _, own = field[quoted:].partition('".' if quoted else ".")
    return name, own


def select(runs: Sequence[Run], where: Iterable[str], full: Mapping[str, str]) -> Sequence[Run]:
    """The runs with one of the values that ``where`` has for a field, for every field in it.

    VidoorError if a condition is not of the form field=value, or no run has that value.
    """
    wanted: dict[str, list[str]] = {}
    for condition in where:
        name, equals, value = (part.strip() for part in condition.partition("="))
        if not equals:
            raise VidoorError(f"{condition!a:.60} is no condition; write it as field=value")
        [field] = find([name], full)
        wanted.setdefault(field, []).append(value)
    for field, values in wanted.items():
        found = {repr(run.get(field)): run.get(field) for run in runs}
        kept = {key: {value for value in values if _means(value, found[key])} for key in found}
        for value in values:
            if not any(value in meant for meant in kept.values()):
                known = listed(ascii(text(one)) for one in found.values())
                raise VidoorError(f"no run has {short(field)} = {value!a:.60}; choose from {known}")
        runs = [run for run in runs if kept[repr(run.get(field))]]
    return runs


def _means(written: str, value: Any) -> bool:
    """Is ``written`` a way to write ``value``? 3e-4 is 0.0003."""
    try:
        return text(value) == written or (is_number(value) and value == float(written))
    except ValueError:
        return False


def once(runs: Iterable[Run]) -> list[Run]:
    """The runs without copies; VidoorError if two others have the same settings and seed."""
    known: dict[Any, Run] = {}
    for run in runs:
        first = known.setdefault((identity(run), run.get("seed")), run)
        if first is not run and _id(first) != _id(run):
            raise VidoorError(
                f"runs {_id(first)!a:.60} and {_id(run)!a:.60} have the same settings and the "
                f"same seed {run.get('seed')}; keep one of them in this folder"
            )
    return list(known.values())


def _id(run: Run) -> str:
    return str(run.get("run_id") or sorted(run.items(), key=repr))


def _is_setting(field: str) -> bool:
    # A method's own seed is a setting; where the clips lie is none, they are told by data.content.
    if field in ("recipe.seed", "recipe.data.root") or field.startswith(CIRCUMSTANCES):
        return False
    named = field in ("name", "arm", "asr_variant", "data.content", *PARTS.values())
    return named or field.startswith("recipe.") or field.endswith(".kind")


def identity(run: Run) -> frozenset[tuple[str, str]]:
    """All settings of a run; one that is None is as good as absent."""
    return frozenset(
        (field, repr(value))
        for field, value in run.items()
        if value is not None and _is_setting(field)
    )


def varying(runs: Sequence[Run], full: Mapping[str, str]) -> list[str]:
    """The settings that differ between runs, the arm first and the others by section."""
    settings = dict.fromkeys(field for run in runs for field in run if _is_setting(field))
    differ = (field for field in settings if len({repr(run.get(field)) for run in runs}) > 1)
    fields = {full[short(field)]: short(field).partition(".")[0] for field in differ}
    sections = list(dict.fromkeys(fields.values()))
    return sorted(fields, key=lambda f: -1 if short(f) == "arm" else sections.index(fields[f]))


def unsettled(runs: Sequence[Run], known: Sequence[str], fields: Iterable[str]) -> list[str]:
    """The ``fields`` whose values do not follow from those of ``known`` and of the fields before.

    An arm of a grid may change many settings: beside the arm, none of them says anything new.
    """
    groups = [repr([run.get(field) for field in known]) for run in runs]
    found = []
    for field in fields:
        finer = [f"{group}, {run.get(field)!r}" for group, run in zip(groups, runs, strict=True)]
        if len(set(finer)) > len(set(groups)):
            found.append(field)
            groups = finer
    return found


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    first, rest = (names := list(names))[:LISTED], names[LISTED:]
    return ", ".join(first) + (f" and {len(rest)} more" if rest else "")
