"""Verbs on methods and clips: list, embed, inspect, bench."""

from pathlib import Path
from typing import Annotated

import typer

from vidoor.cli.shared import Json, Set, app, print_flat, print_json, rendered
from vidoor.document import override
from vidoor.errors import RecipeError, unknown
from vidoor.report import summary


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
    code can read, with a manifest; other options of poisoning are set like those of the
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
    print_json(document) if json_ else print_flat(document)


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
    from vidoor.recipe import component

    method = component("trigger", override({"kind": trigger}, set_ or ()))
    document = inspect_clip(clip, method, picture or Path(f"{clip.stem}.png"))
    print_json(document) if json_ else print_flat(document)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="What to measure: embed or survival.")],
    json_: Json = False,
) -> None:
    """Measure what triggers cost and what becomes of them.

    embed: speed as ratios, to the naive way and to the physical limit. survival: what H.264 and
    MPEG-4 leave of each trigger. Example: vidoor bench embed --json
    """
    from vidoor.bench import speed, survival
    from vidoor.report.layout import WRITERS

    benchmarks = {"embed": speed.embed, "survival": survival.benchmark}
    if what not in benchmarks:
        raise RecipeError(unknown("benchmark", what, benchmarks))
    document = benchmarks[what]()
    if json_:
        print_json(document)
    elif what == "survival":
        for value in ("gain", "correlation"):
            typer.echo(WRITERS["md"](survival.table(document["rows"], value)))
    else:
        print_flat(document)
