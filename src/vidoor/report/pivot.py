"""From flat runs to a table: any fields as lines and columns, mean ± sd over seeds in the cells.

Runs are averaged only when everything but the seed agrees: the name, the whole recipe, the kind of
every part and the definition of ASR. ``sd`` is the sample standard deviation (n − 1) over seeds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, TypeAlias

from vidoor.errors import VidoorError
from vidoor.report import published
from vidoor.report import runs as flat
from vidoor.report.layout import PUBLISHED, Column, Mean, Table, measure, text, title
from vidoor.report.record import is_number
from vidoor.report.runs import Run, listed, short

Line: TypeAlias = dict[str, Any]
"""Runs as one: field -> setting, Mean or None, and under ``n`` how many seeds they are."""

SETTINGS = (
    "name", "recipe.", "data.", "trigger.", "poisoning.", "victim.", "training.", "detector.",
    "mitigation.", "environment.", "test.",
)  # fmt: skip
"""Fields that say what was run; a number elsewhere is a measurement and gets a mean and an sd, and
yes and no a share."""

MEASURES = ("clean_acc", "acc", "asr", "flagged.tpr", "flagged.fpr", "psnr", "ssim")


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a table shows. Fields are dotted; a field of the recipe needs no ``recipe.`` in front,
    and is the one that is meant where the record has one of the same name.

    Lines and columns are in order: numbers ascending, then text as it first appears.
    """

    rows: Sequence[str] = ()
    """Each combination of their values is a line. By default the name and the settings that differ;
    beside ``columns``, those of them that the columns do not settle."""

    columns: Sequence[str] = ()
    """Each combination of their values is a column, or one for each of the ``values``."""

    values: Sequence[str] = ()
    """What the cells show; by default the ``MEASURES`` there are."""

    where: Sequence[str] = ()
    """``field=value``: only runs that have this value, or another one given for the same field."""

    each: Sequence[str] = ()
    """``detectors``, ``mitigations``, ``probes`` or ``epochs``: a run counts once for each of them;
    see ``runs.each``."""

    paper: Sequence[str] = ()
    """A table of the paper, and ``field=value`` for what is settled of it, e.g. ``table5`` and
    ``data.kind=ucf101``: what it prints stands beside the values; see ``published``."""


ALL = Query()


def summarise(runs: Sequence[Run], query: Query = ALL) -> list[Line]:
    """One line per combination of the values of rows and columns, in order: these, the values and
    n. Copies of a run count once.

    VidoorError if a field or a value asked for is unknown, if runs of one line differ in a setting,
    or if two runs differ in nothing, not even in the seed.
    """
    summary = _summary(runs, query)
    return _ordered(summary.lines, [*summary.rows, *summary.columns])


def tabulate(runs: Sequence[Run], query: Query = ALL) -> Table:
    """``summarise(runs, query)`` as a table in which ``columns`` are spread over its width."""
    summary = _summary(runs, query)
    return _spread(summary) if summary.columns else _stack(summary)


@dataclass(frozen=True, slots=True)
class _Summary:
    """Lines as they first appear, and the fields in them by their short names."""

    lines: list[Line]
    rows: list[str]
    columns: list[str]
    values: list[str]
    note: str


def _summary(runs: Sequence[Run], query: Query) -> _Summary:
    runs = flat.each(runs, query.each)
    full = flat.full_names(runs)
    runs = flat.once(flat.select(runs, query.where, full))
    varying = flat.varying(runs, full)
    rows, columns = _keys(runs, query, varying, full)
    keys = [*rows, *columns]
    values = _values(runs, query, keys, full)
    groups: dict[Any, list[Run]] = {}
    asked = query.rows or query.columns
    for run in runs:
        # With no keys asked for every setting is one, also those that share a short name.
        key = repr([run.get(field) for field in keys]) if asked else flat.identity(run)
        groups.setdefault(key, []).append(run)
    _refuse_mixed(groups.values(), varying)
    lines = [
        {short(field): group[0].get(field) for field in keys}
        | {short(field): _cell(field, group) for field in values}
        | {"n": len(group)}
        for group in groups.values()
    ]
    shown, caption = list(map(short, values)), ""
    if query.paper:
        table = published.lookup(query.paper)
        found = [published.beside(table, group[0]) for group in groups.values()]
        lines = [line | _published(own) for line, own in zip(lines, found, strict=True)]
        shown, caption = _interleaved(shown, found, query.paper), f"The paper: {table.caption}."
    hidden = [short(field) for field in varying if field not in (*keys, *values)]
    note = f"Settings that differ and are not shown: {listed(hidden)}." if hidden else ""
    rows, columns = (list(map(short, fields)) for fields in (rows, columns))
    return _Summary(lines, rows, columns, shown, " ".join(filter(None, (caption, note))))


def _published(figures: published.Figures) -> Line:
    return {f"{PUBLISHED}{name}": value for name, value in figures.items()}


def _interleaved(
    values: Sequence[str], found: Sequence[published.Figures], paper: Sequence[str]
) -> list[str]:
    """The values, and behind each of them what the paper has of it.

    Its ASR is what records call ``asr_paper``, and stands behind this one where it is shown.
    """
    known = {name for figures in found for name in figures}
    if not known & {*values, *(["asr"] if "asr_paper" in values else [])}:
        raise VidoorError(
            f"the paper's {paper[0]} has nothing of these runs; its fields are "
            f"{', '.join(published.lookup(paper).fields)}: settle those that have other values "
            "here, as in data.kind=ucf101, and show what it measures"
        )
    shown = []
    for value in values:
        shown.append(value)
        its = "asr" if value == "asr_paper" else value
        if its in known and not (value == "asr" and "asr_paper" in values):
            shown.append(f"{PUBLISHED}{its}")
    return shown


def _keys(
    runs: Sequence[Run], query: Query, varying: list[str], full: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """The fields that make the rows and those that make the columns."""
    rows, columns = flat.find(query.rows, full), flat.find(query.columns, full)
    both = [short(field) for field in rows if field in columns]
    if both:
        raise VidoorError(f"{listed(both)} cannot be both row and column; keep one of the two")
    if not rows:
        name = full.get("name", "name")
        rest = flat.unsettled(runs, [name, *columns], varying) if columns else varying
        rows = [field for field in dict.fromkeys([name, *rest]) if field not in columns]
    return rows, columns


def _values(
    runs: Sequence[Run], query: Query, keys: Sequence[str], full: Mapping[str, str]
) -> list[str]:
    present = [field for field in MEASURES if any(run.get(field) is not None for run in runs)]
    asked = flat.find(query.values, full) or present
    values = [field for field in asked if field not in keys]
    if query.columns and not values:
        raise VidoorError("no cell has a value; name values that are neither rows nor columns")
    return values


def _refuse_mixed(groups: Iterable[Sequence[Run]], varying: Sequence[str]) -> None:
    mixed: set[str] = set()
    for first, *others in groups:
        for run in others:
            mixed |= {short(field) for field, _ in flat.identity(first) ^ flat.identity(run)}
    if mixed:
        names = listed(name for name in map(short, varying) if name in mixed)
        raise VidoorError(
            f"runs that differ in {names} fall into one cell; "
            "make rows or columns of these fields, or choose among the runs by field=value"
        )


def _cell(field: str, runs: Sequence[Run]) -> Any:
    values = [run[field] for run in runs if run.get(field) is not None]
    if not values:
        return None
    same = len({repr(value) for value in values}) == 1
    measured = all(isinstance(value, bool) or is_number(value) for value in values)
    if measured and not (field.startswith(SETTINGS) and (same or isinstance(values[0], bool))):
        return Mean(fmean(values), stdev(values) if len(values) > 1 else None, len(values))
    return values[0] if same else "varies"


def _ordered(lines: Sequence[Line], fields: Sequence[str]) -> list[Line]:
    """Lines by their fields: numbers ascending, then text as it first appears, then nothing."""
    places = {field: _places(line[field] for line in lines) for field in fields}
    return sorted(lines, key=lambda line: [places[f][repr(line[f])] for f in fields])


def _places(values: Iterable[Any]) -> dict[str, int]:
    distinct = {repr(value): value for value in values}.values()
    numbers = sorted(value for value in distinct if is_number(value))
    others = [value for value in distinct if not is_number(value)]
    return {repr(value): place for place, value in enumerate([*numbers, *others])}


def _stack(summary: _Summary) -> Table:
    keys, n = [Column(field, field) for field in summary.rows], Column("n", "n")
    header = [*keys, *map(measure, summary.values), n]
    lines = _ordered(summary.lines, summary.rows)
    cells = [[line.get(column.field) for column in header] for line in lines]
    return Table(header, cells, len(keys), note=summary.note)


def _spread(summary: _Summary) -> Table:
    rows, columns, values = summary.rows, summary.columns, summary.values

    def key(line: Line, fields: Sequence[str]) -> tuple[str, ...]:
        return tuple(repr(line[field]) for field in fields)

    cells = {(key(line, rows), key(line, columns)): line for line in summary.lines}
    sides = {key(line, rows): line for line in _ordered(summary.lines, rows)}
    tops = {key(line, columns): line for line in _ordered(summary.lines, columns)}
    table = [
        [side[field] for field in rows]
        + [cells.get((left, top), {}).get(value) for top in tops for value in values]
        for left, side in sides.items()
    ]
    header = [Column(field, field) for field in rows]
    alike = len({tuple(text(top[field]) for field in columns) for top in tops.values()}) < len(tops)
    for top in tops.values():
        shown = {field: repr(top[field]) if alike else text(top[field]) for field in columns}
        label, at = " · ".join(shown.values()), ",".join(f"{f}={v}" for f, v in shown.items())
        for value in values:
            named = label if len(values) == 1 else f"{label} · {title(value)}"
            header.append(measure(value, named, f"[{at}]"))
    counts = Counter(line["n"] for line in summary.lines)
    n = max(counts, key=lambda count: (counts[count], count))
    head = f"{', '.join(map(title, values))} by {', '.join(columns)}, n = {n}"
    return Table(header, table, len(rows), n, head, summary.note)
