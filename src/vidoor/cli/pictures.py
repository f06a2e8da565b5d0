"""Verbs that draw: figures."""

from pathlib import Path
from typing import Annotated

import typer

from vidoor.cli.shared import Json, Set, app, print_json, tell
from vidoor.document import read


@app.command()
def figures(
    recipe: Path,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    json_: Json = False,
    set_: Set = None,
) -> None:
    """Draw what triggers look like: frames before and after, and their difference; no training.

    Example: vidoor figures recipes/paper/pictures.toml --out pictures
    """
    document = read(recipe, set_ or ())
    from vidoor.bench.pictures import draw

    drawn = draw(document, out)
    if json_:
        print_json(drawn)
        return
    for figure in drawn["figures"]:
        tell(str(out / figure["file"]))
