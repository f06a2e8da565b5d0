"""The command line: verbs only. Methods and their options are named in recipes or with --set.

Exit status: 0 done, 1 findings, 2 something the user can mend (one line), 3 a fault of vidoor.
"""

import os
import sys
from dataclasses import MISSING, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table
from rich.text import Text

from vidoor.errors import RecipeError, VidoorError, unknown
from vidoor.progress import console, say
from vidoor.report import tables

app = typer.Typer(
    name="vidoor",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Plant, measure and find backdoors in video-recognition models and their clips.",
)

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
    from vidoor.bench.grid import expand
    from vidoor.bench.run import run as run_one
    from vidoor.bench.run import summary
    from vidoor.recipe import read

    recipes = expand(read(path, overrides or ()))
    if out:
        recipes = [replace(r, runtime=replace(r.runtime, out=out)) for r in recipes]
    document = summary([run_one(recipe) for recipe in recipes])
    if as_json:
        _print_json(document)
    else:
        _print_summary(document)


def _print_summary(document: dict[str, Any]) -> None:
    runs, deviations = document["n"], document.get("sd", {})
    spread = f": mean ± sd over {runs} seeds" if runs > 1 else ""
    table = Table(title=Text(document["name"] + spread))
    table.add_column("what")
    table.add_column("value", justify="right")
    flagged = document["flagged"] or {}
    rows = [
        ("accuracy, clean model", document["clean_acc"], deviations.get("clean_acc"), 100, " %"),
        ("accuracy, poisoned model (ACC)", document["acc"], deviations.get("acc"), 100, " %"),
        ("attack success rate (ASR, strict)", document["asr"], deviations.get("asr"), 100, " %"),
        ("PSNR of triggered clips", document["psnr"], deviations.get("psnr"), 1, " dB"),
        ("poisoned clips found (TPR)", flagged.get("tpr"), None, 100, " %"),
        ("clean clips accused (FPR)", flagged.get("fpr"), None, 100, " %"),
        ("time", document["seconds"], None, 1, " s"),
    ]
    for what, value, deviation, scale, unit in rows:
        if value is not None:
            spread = "" if deviation is None else f" ± {deviation * scale:.1f}"
            table.add_row(what, f"{value * scale:.1f}{spread}{unit}")
    typer.echo(_rendered(table))
    typer.echo(f"report: {document['report']}")


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
    from vidoor.registry import GROUPS, methods
    from vidoor.victims.training import Training

    plural = {name if name == "data" else f"{name}s": name for name in GROUPS}
    wanted = group and plural.get(group, group)
    if wanted and wanted not in GROUPS:
        raise RecipeError(unknown("group", wanted, plural))
    listing = {
        title: {method: _about(cls) for method, cls in methods(name).items()}
        for title, name in plural.items()
        if wanted in (None, name)
    }
    if wanted is None:
        tables_ = {"poisoning": Poisoner, "training": Training, "runtime": Runtime}
        listing["settings"] = {name: _about(cls) for name, cls in tables_.items()}
    if json_:
        _print_json(listing)
        return
    for title, found in listing.items():
        table = Table(title=title, title_justify="left")
        for column in ("kind", "what it is", "options", "presets"):
            table.add_column(column, overflow="fold")
        for method, about in found.items():
            options = ", ".join(f"{k}={v}" for k, v in about["options"].items())
            cells = (method, about["summary"], options, ", ".join(about["presets"]))
            table.add_row(*map(Text, cells))
        typer.echo(_rendered(table) if found else f"{title}: none yet")


def _about(cls: type) -> dict[str, Any]:
    summary = (cls.__doc__ or "").strip().partition("\n")[0]
    options = {
        spec.name: "required" if not _has_default(spec) else _shown(spec) for spec in fields(cls)
    }
    return {"summary": summary, "options": options, "presets": dict(getattr(cls, "presets", {}))}


def _has_default(spec: Any) -> bool:
    return spec.default is not MISSING or spec.default_factory is not MISSING


def _shown(spec: Any) -> Any:
    value = spec.default
    return str(value) if isinstance(value, Path) else value


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
    code can read, with a manifest. Example: vidoor embed in.mp4 out.mkv --trigger dft --set rms=2
    """
    from vidoor.bench.embed import embed_file, embed_folder
    from vidoor.recipe import component, override

    method = component("trigger", override({"kind": trigger}, set_ or ()))
    if source.is_dir():
        geometry = (frames, *_size(size))
        document = embed_folder(
            source, destination, method,
            rate=rate, target=target, seed=seed, geometry=geometry, split=split,
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
    from vidoor.recipe import component, override

    method = component("trigger", override({"kind": trigger}, set_ or ()))
    document = inspect_clip(clip, method, picture or Path(f"{clip.stem}.png"))
    _print_json(document) if json_ else _print_flat(document)


@app.command()
def report(
    runs: Path,
    format_: Annotated[tables.Format, typer.Option("--format", help="Form of the table.")] = "md",
    json_: Json = False,
) -> None:
    """A table of all finished runs in a folder, mean ± sd over seeds; renews their pages.

    Example: vidoor report runs --format latex
    """
    from vidoor.report.page import write_page

    if not runs.is_dir():
        raise RecipeError(f"{runs}: no such folder; give a folder of runs or one run")
    for folder in [runs] if (runs / "result.json").exists() else sorted(runs.iterdir()):
        if (folder / "result.json").exists():
            say(f"page: {write_page(folder)}")
    rows = tables.flatten(tables.load(runs))
    typer.echo(tables.render(rows, "json" if json_ else format_))


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
        console.print("vidoor: interrupted; the same command continues", markup=False)
        sys.exit(130)
    except Exception:
        console.print_exception()
        console.print("vidoor: this is a fault of vidoor, please report it", markup=False)
        sys.exit(3)
    sys.exit(status if isinstance(status, int) else 0)
