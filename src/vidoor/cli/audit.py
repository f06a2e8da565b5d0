"""The verb of the auditor."""

from pathlib import Path
from typing import Annotated, Any

import typer

from vidoor.cli.shared import Json, Set, app, print_json
from vidoor.cli.tools import size_of
from vidoor.wording import printable

SHOWN = 10
"""Suspicious clips, and things seen, that are named on a terminal; the files have all."""


@app.command()
def audit(
    clips: Path,
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint to judge as well; it is read, never run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for verdict and page; default: audit-NAME.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Kind of data set, or unlabelled; default: recognised."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip; default: as the clips are.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of a frame; default: as the clips are.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="End then, with what there is.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the detectors.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Leave no clip out.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Ray workers that go through the clips; 1: none is started.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to join; default: one is started here.")
    ] = None,
    json_: Json = False,
    set_: Set = None,
) -> None:
    """Is there a backdoor in these clips, or in this model? Which clips, and what is the pattern?

    CLIPS is a folder of class folders or of clips without labels, a UCF-101, HMDB-51 or GSL tree,
    or a table of clips. Leaves with 0 if all checks were made and nothing was found, with 1 if
    something was found, and with 2 if the budget ended first or CLIPS cannot be audited. The same
    command again goes on where it was. Options are set as in recipes, e.g. --set
    detector.coherence.fpr=1e-4 --set data.split=02 --set victim.kind=r2plus1d.
    Example: vidoor audit clips --model weights.safetensors --budget 30
    """
    from vidoor.audit.command import Request
    from vidoor.audit.command import audit as perform
    from vidoor.audit.record import document

    record = perform(
        Request(
            clips=clips, model=model, out=out, kind=kind, frames=frames,
            size=None if size is None else size_of(size),
            minutes=budget, strict=strict, seed=seed, workers=workers, address=address,
            overrides=set_ or (),
        )
    )  # fmt: skip
    found = document(record)
    if json_:
        print_json(found)
    else:
        typer.echo("\n".join(map(printable, _lines(found))))
    raise typer.Exit(record.verdict.exit)


def _lines(found: dict[str, Any]) -> list[str]:
    """The record for people: the verdict, the clips, what else was seen, what it cost, where."""
    suspects, clips = found["suspicious"], found["clips"]
    lines = [found["verdict"]["text"]]
    lines += [
        f"{one['rank']:>4}  {one['clip']}  {'; '.join(one['reasons'])}" for one in suspects[:SHOWN]
    ]
    if len(suspects) > SHOWN:
        lines.append(f"      and {len(suspects) - SHOWN:,} more clips")
    seen = found["observations"]
    lines += [f"seen: {one['text']}" for one in seen[:SHOWN]]
    if len(seen) > SHOWN:
        lines.append(f"      and {len(seen) - SHOWN:,} more things that are no trigger")
    lines += [f"hint: {one['text']}; {one['weakness']}" for one in found["hints"]]
    left_out = len(clips["quarantined"])
    lines.append(
        f"judged: {clips['judged']:,} of {clips['listed']:,} clips, {left_out:,} left out; "
        f"cost: {found['seconds']['command']:.1f} s, checks {found['seconds']['checks']:.1f} s"
    )
    return [*lines, f"page: {Path(found['folder'], found['files']['page'])}"]
