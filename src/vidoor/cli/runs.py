"""Verbs on recipes and runs: demo, run, sweep, status, report."""

import json
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from vidoor.bench import command
from vidoor.bench.status import survey, sweeps
from vidoor.cli.shared import Json, Out, Set, app, print_json, rendered, tell
from vidoor.document import read
from vidoor.errors import RecipeError
from vidoor.progress import console, say
from vidoor.report import lines, saved, summary, tables
from vidoor.report.record import PAGE, RESULT


@app.command()
def demo(json_: Json = False, out: Out = None, set_: Set = None) -> None:
    """Backdoor a small video model, see that it looks healthy, and find the poisoned clips.

    Takes about three minutes on two CPU cores. Example: vidoor demo --json
    """
    _run(Path(str(files("vidoor") / "recipes" / "demo.toml")), set_, out, json_)


@app.command()
def run(recipe: Path, json_: Json = False, out: Out = None, set_: Set = None) -> None:
    """Run a recipe; the same command again continues it, or does nothing once it is complete.

    Example: vidoor run recipe.toml --set trigger.rms=2.0 --json
    """
    _run(recipe, set_, out, json_)


def _run(path: Path, overrides: list[str] | None, out: Path | None, as_json: bool) -> None:
    document = read(path, overrides or ())
    grid = document.get("grid", {})
    axes = sorted({*grid} - {"seeds"}) if isinstance(grid, dict) else []
    if axes:
        raise RecipeError(
            f"{path} has a [grid] of more than seeds ({', '.join(axes)}); give it to vidoor sweep"
        )
    folders, failed = command.perform(document, out)
    if not failed:
        found = summary.summary(folders)
        if as_json:
            print_json(found)
        else:
            typer.echo(rendered(summary.headline(found)))
            tell(f"report: {found['report']}")
    _leave(failed)


@app.command()
def sweep(
    recipe: Path,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what it would cost.")
    ] = False,
    executor: Annotated[
        str | None, typer.Option(help="local, ray, slurm or here; sets runtime.executor.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; sets runtime.address.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Also write recipe, records and table there, to be kept; runs that are kept there "
            "already are not made again."
        ),
    ] = None,
    json_: Json = False,
    out: Out = None,
    set_: Set = None,
) -> None:
    """Run every setting of a recipe's grid and print the table, mean ± sd over seeds.

    The same command again goes on from where it was; started twice it shares the work.
    Example: vidoor sweep recipe.toml --out runs --dry-run
    """
    chosen = {"runtime.executor": executor, "runtime.address": address}
    sets = [f"{key}={value!r}" for key, value in chosen.items() if value is not None]
    document = read(recipe, [*(set_ or ()), *sets])
    layout = saved.query(document)
    lines.figures(document)
    if save:
        saved.check(save, document)
    if dry_run:
        survey = command.foresee(document, out, save)
        print_json(survey) if json_ else tell(summary.states(survey, every=True))
        return
    start = time.perf_counter()
    folders, failed = command.perform(document, out, save)
    try:
        if save and not failed:
            saved.save(save, document, folders)
        rows = tables.flatten(map(tables.read, folders))
        if json_:
            seconds = time.perf_counter() - start
            print_json(_outcome(document, folders, failed, rows) | {"seconds": seconds})
        elif rows:
            tell(tables.render(rows, "md", layout).rstrip("\n"))
    finally:
        _leave(failed)


def _outcome(
    document: dict[str, Any], folders: list[Path], failed: list[Any], rows: list[Any]
) -> dict[str, Any]:
    """What a sweep came to, for programs."""
    table = tables.render(rows, "json", saved.query(document)) if rows else "[]"
    return {
        "name": document.get("name", "run"),
        "complete": len(folders),
        "failed": [
            {"run": f.cell.label, "stage": f.stage, "problem": f.outcome.problem} for f in failed
        ],
        "table": json.loads(table),
        "runs": list(map(str, folders)),
    }


def _leave(failed: list[Any]) -> None:
    """Say once more what failed, and leave with the status that says whose fault it is."""
    if not failed:
        return
    for failure in failed:
        say(
            f"vidoor: {failure.cell.label or 'the run'}: {failure.stage}: {failure.outcome.problem}"
        )
    faults = [failure.outcome.details for failure in failed if failure.outcome.details]
    if faults:
        console.print(faults[0], markup=False)
    raise typer.Exit(3 if faults else 2)


@app.command()
def status(runs: Path, json_: Json = False) -> None:
    """How far the sweeps in a folder are, while they run or after; changes nothing.

    Example: vidoor status runs
    """
    surveys = [survey(asked, runs) for asked in sweeps(runs)]
    if json_:
        print_json(surveys)
    else:
        told = [summary.states(survey, every=False) for survey in surveys]
        tell("\n\n".join(told) or f"{runs}: no sweep was started here")


@app.command()
def report(
    runs: Path,
    format_: Annotated[tables.Format, typer.Option("--format", help="Form of the table.")] = "md",
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="What the lines are, e.g. arm."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="What the columns are.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="What the cells show, e.g. asr.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Only these runs.")
    ] = None,
    each: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="detectors, mitigations, probes or epochs: a run for each of them."
        ),
    ] = None,
    paper: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE",
            help="What the paper has beside ours: table1, table2, table3 or table5, and "
            "FIELD=VALUE for what is settled of it, e.g. data.kind=ucf101.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """A table of all finished runs in a folder, mean ± sd over seeds; draws missing pages.

    The folder is that of the runs, of one run, or of what sweep --save kept.

    Any field of a recipe or a record can be a row or a column; give each option as often as needed.
    Example: vidoor report runs --rows trigger.kind --columns poisoning.rate --values asr
    """
    from vidoor.report.page import write_page

    if not runs.is_dir():
        raise RecipeError(f"{runs}: no such folder; give a folder of runs or one run")
    if json_ and format_ not in ("md", "json"):
        raise RecipeError(f"--json and --format {format_} are two forms of one table; give one")
    query = tables.Query(
        rows=rows or (),
        columns=columns or (),
        values=values or (),
        where=where or (),
        each=each or (),
        paper=paper or (),
    )
    text = tables.render(tables.flatten(tables.load(runs)), "json" if json_ else format_, query)
    tell(text.rstrip("\n"))
    for folder in [runs] if (runs / RESULT).exists() else sorted(runs.iterdir()):
        if (folder / RESULT).exists() and not (folder / PAGE).exists():
            say(f"page: {write_page(folder)}")
