"""What ``vidoor bench`` can measure, and how a measurement is kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from vidoor.bench import store
from vidoor.errors import RecipeError, VidoorError, unknown
from vidoor.files import write_text
from vidoor.report import saved
from vidoor.report.layout import WRITERS, Column, Table
from vidoor.report.record import RECORDS


class Benchmark(NamedTuple):
    """A function of a module of ``vidoor.measure``, loaded only when it is asked for.

    It returns a document for programs, and takes ``clips``, a folder of videos, if it can be
    measured on a user's own. ``tables(document)`` in its module says it to people; without that,
    its numbers are listed. Under ``rows`` the document may have flat rows: these are the CSV.
    """

    module: str
    function: str
    about: str


BENCHMARKS = {
    "embed": Benchmark(
        "speed", "embed", "speed of the triggers, as ratios to the naive way and to a copy"
    ),
    "survival": Benchmark(
        "survival", "benchmark", "what H.264 and MPEG-4 leave of each trigger (takes --clips)"
    ),
    "decode": Benchmark(
        "decode", "decode", "speed of reading clips, as ratios to bare PyAV and to the cache"
    ),
    "train": Benchmark(
        "training", "train", "what a training step costs beside a bare PyTorch loop"
    ),
    "detectors": Benchmark(
        "detection", "detectors", "passes that detectors take beside those cannot avoid (minutes)"
    ),
    "audit": Benchmark(
        "audit", "audit", "what an audit of clips costs beside reading them (minutes)"
    ),
    "imperceptibility": Benchmark(
        "visible", "benchmark", "how visible each trigger is, Tables 4 and 6 (takes --clips)"
    ),
}


class Measured(NamedTuple):
    """What a benchmark found."""

    name: str
    document: dict[str, Any]
    tables: Sequence[Table]
    clips: Path | None = None


def listing() -> str:
    """What can be measured, for the help of the command."""
    return "\n".join(f"{name}: {each.about}." for name, each in BENCHMARKS.items())


def measure(name: str, clips: Path | None = None, kept: Path | None = None) -> Measured:
    """Run a benchmark; the result is also written to the folder ``kept``, see ``save``.

    RecipeError if there is none of this name, or if it takes no clips.
    """
    if name not in BENCHMARKS:
        raise RecipeError(unknown("benchmark", name, BENCHMARKS))
    module = import_module(f"vidoor.measure.{BENCHMARKS[name].module}")
    run: Callable[..., dict[str, Any]] = getattr(module, BENCHMARKS[name].function)
    given = {} if clips is None else {"clips": clips}
    if given and "clips" not in signature(run).parameters:
        raise RecipeError(f"the benchmark {name} takes no clips; leave out --clips")
    if kept:
        saved.check(kept)
    document = run(**given)
    tables = getattr(module, "tables", None)
    shown = tables(document) if tables else [_listed(document)]
    measured = Measured(name, document, shown, clips)
    if kept:
        save(kept, measured)
    return measured


def text(measured: Measured) -> str:
    """Its tables in Markdown."""
    return "\n".join(map(WRITERS["md"], measured.tables))


def save(folder: Path, measured: Measured) -> None:
    """Write README.md, table.md, table.csv and records/<benchmark>.json.

    The same may be saved again. VidoorError if the folder holds anything that is no part of a
    result, or cannot be written to.
    """
    from vidoor.bench.environment import environment

    saved.check(folder)
    record = {"benchmark": measured.name, **measured.document, "environment": environment("cpu")}
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
        store.write_json(folder / RECORDS / f"{measured.name}.json", record)
        write_text(folder / "table.csv", WRITERS["csv"](_raw(measured.document)))
        write_text(folder / "table.md", text(measured))
        write_text(folder / "README.md", _readme(measured, record["environment"]))
    except OSError as error:
        raise VidoorError(f"{folder} cannot be written ({error.strerror or error})") from error


def _readme(measured: Measured, environment: Mapping[str, Any]) -> str:
    rows = measured.document.get("rows", [{}])
    own = "" if measured.clips is None else " --clips CLIPS"
    where = environment["gpu"] or environment["cpu"]
    versions = ", ".join(f"{name} {environment[name]}" for name in ("vidoor", "torch"))
    count = f"{rows[0]['clips']} clips, on " if "clips" in rows[0] else "On "
    about = BENCHMARKS[measured.name].about.partition(" (")[0]
    parts = (
        f"# {measured.name}",
        f"{about[0].upper()}{about[1:]}.",
        f"    vidoor bench {measured.name}{own} --save RESULT",
        text(measured).rstrip("\n"),
        f"{count}{where} ({versions}).",
    )
    return "\n\n".join(parts) + "\n"


def _raw(document: Mapping[str, Any]) -> Table:
    """The document's rows as they are, for programs."""
    rows = document.get("rows")
    if not rows:
        return _listed(document)
    names = dict.fromkeys(name for row in rows for name in row)  # some rows have more to tell
    lines = [[row.get(name) for name in names] for row in rows]
    return Table([Column(name, name) for name in names], lines, 1)


def _listed(document: Mapping[str, Any]) -> Table:
    """All numbers of a document, a line each."""
    lines = list(_leaves(document))
    return Table([Column("quantity", "quantity"), Column("value", "value")], lines, 1, 1)


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[list[Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield [f"{prefix}{key}", value]
