"""The command line: verbs only. Methods and their options are named in recipes or with --set.

Exit status: 0 done, 1 findings, 2 something the user can mend (one line), 3 a fault of vidoor.
"""

import json
import os
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table

from vidoor.bench import command
from vidoor.bench.status import survey, sweeps
from vidoor.document import override, read
from vidoor.errors import RecipeError, VidoorError, unknown
from vidoor.progress import console, say
from vidoor.report import saved, summary, tables

app = typer.Typer(
    name="vidoor",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Plant, measure and find backdoors in video-recognition models and their clips.",
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, logs on stderr.")
]
Out: TypeAlias = Annotated[
    Path | None, typer.Option(help="Folder for results; default: the recipe's, else runs/.")
]
Set: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one option, e.g. trigger.rms=2.0."),
]


@app.command()
def demo(json_: Json = False, out: Out = None, set_: Set = None) -> None:
    """Backdoor a small video model, see that it looks healthy, and find the poisoned clips.

    Takes about two minutes on two CPU cores. Example: vidoor demo --json
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
    axes = sorted({*document.get("grid", {})} - {"seeds"})
    if axes:
        raise RecipeError(
            f"{path} has a [grid] of more than seeds ({', '.join(axes)}); give it to vidoor sweep"
        )
    folders, failed = command.perform(document, out)
    if not failed:
        found = summary.summary(folders)
        if as_json:
            _print_json(found)
        else:
            typer.echo(_rendered(summary.headline(found)))
            typer.echo(f"report: {found['report']}")
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
        Path | None, typer.Option(help="Also write recipe, records and table there, to be kept.")
    ] = None,
    json_: Json = False,
    out: Out = None,
    set_: Set = None,
) -> None:
    """Run every setting of a recipe's [grid] and print the table, mean ± sd over seeds.

    The same command again goes on from where it was; started twice it shares the work.
    Example: vidoor sweep recipe.toml --out runs --dry-run
    """
    chosen = {"runtime.executor": executor, "runtime.address": address}
    sets = [f"{key}={value!r}" for key, value in chosen.items() if value is not None]
    document = read(recipe, [*(set_ or ()), *sets])
    layout = saved.query(document)
    if dry_run:
        survey = command.foresee(document, out)
        _print_json(survey) if json_ else typer.echo(summary.states(survey, every=True))
        return
    start = time.perf_counter()
    folders, failed = command.perform(document, out)
    rows = tables.flatten(map(tables.read, folders))
    if save and not failed:
        saved.save(save, document, folders)
    if json_:
        failures = [
            {"run": f.cell.label, "stage": f.stage, "problem": f.outcome.problem} for f in failed
        ]
        _print_json({
            "name": document.get("name", "run"),
            "complete": len(folders),
            "failed": failures,
            "seconds": time.perf_counter() - start,
            "table": json.loads(tables.render(rows, "json", layout)) if rows else [],
            "runs": list(map(str, folders)),
        })  # fmt: skip
    elif rows:
        typer.echo(tables.render(rows, "md", layout).rstrip("\n"))
    _leave(failed)


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
        _print_json(surveys)
    else:
        told = [summary.states(survey, every=False) for survey in surveys]
        typer.echo("\n\n".join(told) or f"{runs}: no sweep was started here")


@app.command("list")
def list_(
    group: Annotated[str | None, typer.Argument(help="One group, e.g. triggers.")] = None,
    json_: Json = False,
) -> None:
    """The methods that recipes can name, with their options and presets.

    Example: vidoor list triggers
    """
    from vidoor.poisoning.poisoner import Poisoner
    from vidoor.recipe import Runtime
    from vidoor.registry import GROUPS, about, methods
    from vidoor.victims.training import Training

    plural = {name if name == "data" else f"{name}s": name for name in GROUPS}
    wanted = group and plural.get(group, group)
    if wanted and wanted not in GROUPS:
        raise RecipeError(unknown("group", wanted, plural))
    listing = {
        title: {method: about(cls) for method, cls in methods(name).items()}
        for title, name in plural.items()
        if wanted in (None, name)
    }
    if wanted is None:
        tables_ = {"poisoning": Poisoner, "training": Training, "runtime": Runtime}
        listing["settings"] = {name: about(cls) for name, cls in tables_.items()}
    if json_:
        _print_json(listing)
        return
    for title, found in listing.items():
        table = _rendered(summary.listing(title, found))
        typer.echo(table if found else f"{title}: none yet")


@app.command()
def embed(
    source: Path,
    destination: Path,
    trigger: Annotated[str, typer.Option(help="Kind of trigger, see vidoor list triggers.")],
    set_: Set = None,
    rate: Annotated[float, typer.Option(help="Poisoning rate (folders).")] = 0.2,
    target: Annotated[int, typer.Option(help="Target class index (folders).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the poisoning plan (folders).")] = 0,
    frames: Annotated[int, typer.Option(help="Frames per clip (folders).")] = 32,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of each frame (folders).")] = "224x224",
    split: Annotated[str | None, typer.Option(help="Split to poison, e.g. 01 (folders).")] = None,
    json_: Json = False,
) -> None:
    """Embed a trigger in one clip, or poison a folder of clips; writes lossless FFV1 video.

    A file keeps its length and size. A folder of classes becomes a poisoned set that any training
    code can read, with a manifest; other options of recipes' [poisoning] are set like those of the
    trigger, e.g. --set poisoning.labels=clean-label.
    Example: vidoor embed in.mp4 out.mkv --trigger dft --set rms=2
    """
    from vidoor.bench.embed import embed_file, embed_folder
    from vidoor.poisoning.poisoner import Poisoner
    from vidoor.recipe import build, component

    flags = {"kind": trigger, "poisoning": {"rate": rate, "target": target}}
    options = override(flags, set_ or ())
    poisoner = build(Poisoner, options.pop("poisoning"), "poisoning")
    method = component("trigger", options)
    if source.is_dir():
        geometry = (frames, *_size(size))
        document = embed_folder(
            source, destination, method,
            seed=seed, geometry=geometry, split=split, **vars(poisoner),
        )  # fmt: skip
    else:
        document = embed_file(source, destination, method)
    _print_json(document) if json_ else _print_flat(document)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise RecipeError(f"--size {text!r} is not HEIGHTxWIDTH, e.g. 112x112")
    return int(height), int(width)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="What to measure: embed.")], json_: Json = False
) -> None:
    """Measure speed as ratios, to the naive way and to the physical limit.

    Example: vidoor bench embed --json
    """
    from vidoor.bench.speed import BENCHMARKS

    if what not in BENCHMARKS:
        raise RecipeError(unknown("benchmark", what, BENCHMARKS))
    document = BENCHMARKS[what]()
    _print_json(document) if json_ else _print_flat(document)


@app.command()
def inspect(
    clip: Path,
    trigger: Annotated[str, typer.Option(help="Kind of trigger, see vidoor list triggers.")],
    set_: Set = None,
    picture: Annotated[Path | None, typer.Option(help="PNG to write; default: CLIP.png.")] = None,
    json_: Json = False,
) -> None:
    """Show what a trigger does to one clip: PSNR, SSIM, and a picture of before and after.

    Example: vidoor inspect clip.mp4 --trigger dft --set delta=50000
    """
    from vidoor.bench.embed import inspect_clip
    from vidoor.recipe import component

    method = component("trigger", override({"kind": trigger}, set_ or ()))
    document = inspect_clip(clip, method, picture or Path(f"{clip.stem}.png"))
    _print_json(document) if json_ else _print_flat(document)


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
    json_: Json = False,
) -> None:
    """A table of all finished runs in a folder, mean ± sd over seeds; renews their pages.

    Any field of a recipe or a record can be a row or a column; give each option as often as needed.
    Example: vidoor report runs --rows trigger.kind --columns poisoning.rate --values asr
    """
    from vidoor.report.page import write_page

    if not runs.is_dir():
        raise RecipeError(f"{runs}: no such folder; give a folder of runs or one run")
    query = tables.Query(
        rows=rows or (), columns=columns or (), values=values or (), where=where or ()
    )
    text = tables.render(tables.flatten(tables.load(runs)), "json" if json_ else format_, query)
    for folder in [runs] if (runs / "result.json").exists() else sorted(runs.iterdir()):
        if (folder / "result.json").exists():
            say(f"page: {write_page(folder)}")
    typer.echo(text.rstrip("\n"))


def _print_json(document: Any) -> None:
    from vidoor.bench.store import dumps

    typer.echo(dumps(document))


def _print_flat(document: dict[str, Any]) -> None:
    for key, value in document.items():
        typer.echo(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")


def _rendered(table: Table) -> str:
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")


def main() -> None:
    """Entry point: run a command and turn every outcome into an exit status."""
    # Threads that spin while they wait cost an order of magnitude where cores are shared. OpenMP
    # reads this when torch is loaded, which no import above does.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        status = app(standalone_mode=False)
    except (VidoorError, typer.TyperException) as error:
        text = getattr(error, "format_message", error.__str__)()
        if text:  # none where the help was shown
            say(f"vidoor: {' '.join(text.split())}")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except Exception:
        console.print_exception()
        console.print("vidoor: this is a fault of vidoor, please report it", markup=False)
        sys.exit(3)
    if status == INTERRUPTED:  # typer may have met the interrupt before us
        say("vidoor: interrupted; the same command continues")
    sys.exit(status if isinstance(status, int) else 0)
