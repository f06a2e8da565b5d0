"""Line charts of a sweep, as its recipe asks for them, with what the paper says beside::

    [figure.fig3a]                    # becomes fig3a.svg and fig3a.png beside the table
    kind = "lines"
    title = "ASR by poisoning ratio"
    x = "poisoning.rate"
    y = "asr"
    lines = ["victim.kind"]           # each combination of their values is a line
    log = true                        # the x axis
    paper = "fig3a"                   # a figure of the paper; see ``published``

``where`` and ``each`` are those of a table, see ``pivot.Query``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidoor.errors import RecipeError, VidoorError, unknown
from vidoor.options import as_table, build
from vidoor.report import published
from vidoor.report.layout import UNITS, Mean, text, title
from vidoor.report.pivot import Query, summarise
from vidoor.report.plot import Line, Pair, Plot
from vidoor.report.record import is_number
from vidoor.report.runs import Run, short


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What a chart shows; fields are those of tables."""

    title: str = ""
    x: str = ""
    y: str = ""
    lines: Sequence[str] = ()
    where: Sequence[str] = ()
    each: Sequence[str] = ()
    log: bool = False
    paper: str = ""


def figures(recipe: Mapping[str, Any]) -> dict[str, Figure]:
    """The line charts that the ``[figure]`` tables of a recipe document ask for, by name.

    RecipeError, one line, if one says it ill.
    """
    tables = as_table(recipe.get("figure", {}), "figure")
    return {name: _figure(name, options) for name, options in tables.items()}


def _figure(name: str, options: Any) -> Figure:
    where = f"figure.{name}"
    values = dict(as_table(options, where))
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise RecipeError(f"[{where}]: {name!r} cannot be the name of a file; give another")
    if (kind := values.pop("kind", None)) != "lines":
        raise RecipeError(f"[{where}] of a sweep has the kind 'lines', not {kind!r}")
    figure: Figure = build(Figure, values, where)
    if not (figure.x and figure.y):
        raise RecipeError(f"[{where}] needs x and y, the fields that it shows")
    if figure.paper and figure.paper not in published.FIGURES:
        raise RecipeError(f"[{where}] has an {unknown('paper', figure.paper, published.FIGURES)}")
    return figure


def plot(runs: Sequence[Run], figure: Figure) -> Plot:
    """The chart of the runs: means over seeds, with what the paper prints where it does.

    VidoorError if a field is unknown, x is no number, or there is nothing to draw.
    """
    query = Query(
        rows=(*figure.lines, figure.x), values=(figure.y,), where=figure.where, each=figure.each
    )
    told = summarise(runs, query)
    drawn = published.FIGURES.get(figure.paper)
    unit = UNITS.get(figure.y.split(".")[-1])
    scale = unit.scale if unit else 1.0
    lines = list(_lines(told, figure, drawn, scale))
    if not lines:
        raise VidoorError(f"no run has both {figure.x} and {figure.y}; nothing can be drawn")
    heights = [y for line in lines for _, y, _ in line.points]
    heights += [y for line in lines for _, y in line.published]
    low, high = (0.0, 100.0) if scale == 100 else (min(heights), max(heights))
    seeds = sorted({line["n"] for line in told})
    count = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    over = "One seed." if count == "1" else f"Mean and sd over {count} seeds."
    claim = f" The paper: {drawn.claim}" if drawn else ""
    return Plot(
        figure.title,
        f"{title(figure.x)}{', log scale' if figure.log else ''}",
        title(figure.y),
        lines,
        (low, high if high > low else low + 1),
        figure.log,
        over + claim,
    )


def _lines(
    told: Sequence[Run], figure: Figure, drawn: published.Drawn | None, scale: float
) -> Iterator[Line]:
    """The lines, in the order in which they first appear."""
    names, x, y = list(map(short, figure.lines)), short(figure.x), short(figure.y)
    groups: dict[tuple[str, ...], list[tuple[float, float, float | None]]] = {}
    for run in told:
        at, value = run[x], run[y]
        if at is None or value is None:
            continue
        if not is_number(at) or (figure.log and at <= 0):
            wanted = "a number > 0, on a log scale" if figure.log else "a number"
            raise VidoorError(f"{x} = {at!a:.40} cannot be an x, which is {wanted}")
        mean, sd = (value.mean, value.sd) if isinstance(value, Mean) else (value, None)
        point = (float(at), scale * mean, None if sd is None else scale * sd)
        groups.setdefault(tuple(text(run[name]) for name in names), []).append(point)
    for key, points in groups.items():
        victim = dict(zip(names, key, strict=True)).get("victim.kind", "")
        known = drawn.points.get(victim, ()) if drawn else ()
        beside: list[Pair] = [(x, scale * y) for x, y in known]
        yield Line(" · ".join(key) or title(y), sorted(points, key=lambda p: p[0]), beside)
