"""Verbs on methods and clips: list, embed, inspect, bench."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from vidoor.cli.shared import Json, Set, app, print_flat, print_json, rendered
from vidoor.document import override
from vidoor.errors import RecipeError, unknown
from vidoor.measure import benchmarks
from vidoor.report import summary

FOR_SETS = (
    "kind", "split", "rate", "target", "seed", "frames", "size", "codec", "quality", "strict",
    "workers",
)  # fmt: skip
"""Options of ``embed`` that one clip does not take."""


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
        print_json(listing)
        return
    for title, found in listing.items():
        table = rendered(summary.listing(title, found))
        typer.echo(table if found else f"{title}: none yet")


@app.command()
def embed(
    source: Path,
    destination: Path,
    ctx: typer.Context,
    trigger: Annotated[str, typer.Option(help="Kind of trigger, see vidoor list triggers.")],
    set_: Set = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of data set; default: recognised (sets).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to poison, e.g. 01 (sets).")] = None,
    rate: Annotated[float, typer.Option(help="Poisoning rate (sets).")] = 0.2,
    target: Annotated[int, typer.Option(help="Target class index (sets).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the poisoning plan (sets).")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames per clip (sets).")] = 32,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of each frame (sets).")] = "224x224",
    codec: Annotated[
        Literal["ffv1", "h264", "mpeg4"], typer.Option(help="How clips are written (sets).")
    ] = "ffv1",
    quality: Annotated[int | None, typer.Option(help="Quality of a lossy codec (sets).")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Leave no clip out (sets).")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Clips at once; default: one for each core (sets).")
    ] = None,
    json_: Json = False,
) -> None:
    """Embed a trigger in one clip, or poison a data set; lossless FFV1 video unless told otherwise.

    A file keeps its length and size. A data set (folders of classes, UCF-101, HMDB-51, GSL, or a
    table of clips, see docs/data.md) becomes a poisoned one in its own layout that any training
    code can read, with a manifest. Other options of poisoning and data are set like those of the
    trigger, e.g. --set poisoning.labels=clean-label --set data.classes=10.
    Example: vidoor embed in.mp4 out.mkv --trigger dft --set rms=2
    """
    from vidoor.bench.embed import embed_file, embed_set
    from vidoor.bench.sources import data_set, is_clip
    from vidoor.options import build, component
    from vidoor.poisoning.poisoner import Poisoner

    flags = {"kind": trigger, "poisoning": {"rate": rate, "target": target}, "data": {}}
    options = override(flags, set_ or ())
    poisoner = build(Poisoner, options.pop("poisoning"), "poisoning")
    data = options.pop("data")
    method = component("trigger", options)
    if not isinstance(data, dict):
        raise RecipeError(f"data must be a table of options, e.g. data.strict=true, not {data!r}")
    if is_clip(source):
        _refuse_for_one(source, ctx, set_ or ())
        document = embed_file(source, destination, method)
    else:
        named = {} if split is None else {"split": split}
        geometry = {"frames": frames, "size": size_of(size)}
        document = embed_set(
            data_set(source, kind, {**geometry, **named, "strict": strict, **data}),
            destination, method, poisoner,
            seed=seed, codec=codec, quality=quality, workers=workers,
        )  # fmt: skip
    print_json(document) if json_ else print_flat(document)


def _refuse_for_one(clip: Path, ctx: typer.Context, sets: Sequence[str]) -> None:
    """RecipeError if what only data sets take was given for one clip."""
    sources = {name: ctx.get_parameter_source(name) for name in FOR_SETS}
    given = [f"--{name}" for name, one in sources.items() if one and one.name == "COMMANDLINE"]
    tables = override({}, sets)
    given += [f"{table}.{key}" for table in ("poisoning", "data") for key in tables.get(table, ())]
    if given:
        raise RecipeError(
            f"{clip} is one clip, which is written as lossless FFV1 as long and large as it is; "
            f"leave out {', '.join(given)}: for data sets"
        )


def size_of(text: str) -> tuple[int, int]:
    """What ``32x48`` means; RecipeError for what is not of that form."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise RecipeError(f"--size {text!r} is not HEIGHTxWIDTH, e.g. 112x112")
    found = int(height), int(width)
    if min(found) < 1:
        raise RecipeError(f"--size {text} has no pixels; give 1 or more of each")
    return found


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
    from vidoor.options import component

    method = component("trigger", override({"kind": trigger}, set_ or ()))
    document = inspect_clip(clip, method, picture or Path(f"{clip.stem}.png"))
    print_json(document) if json_ else print_flat(document)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help=benchmarks.listing())],
    clips: Annotated[
        Path | None, typer.Option(help="Folder of videos to measure in, read at 32×224×224.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Also write tables and record there, to be kept.")
    ] = None,
    json_: Json = False,
) -> None:
    """Measure what triggers cost, how visible they are, and what becomes of them.

    Example: vidoor bench survival --save results/survival
    """
    measured = benchmarks.measure(what, clips, save)
    print_json(measured.document) if json_ else typer.echo(benchmarks.text(measured).rstrip("\n"))
