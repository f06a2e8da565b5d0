"""What all verbs share: the application, options, and how documents are printed."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table
from typer.core import TyperGroup

from vidoor import __version__
from vidoor.errors import RecipeError, unknown
from vidoor.progress import console
from vidoor.wording import printable


class _Verbs(TyperGroup):
    """Names the valid verbs where one is not."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verbs = self.list_commands(ctx)
        if args[0] not in verbs and not args[0].startswith("-"):
            raise RecipeError(unknown("command", args[0], verbs))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="vidoor",
    cls=_Verbs,
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
    typer.Option("--set", metavar="KEY=VALUE", help="Override one option; can be repeated."),
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"vidoor {__version__}")
        raise typer.Exit


@app.callback()
def vidoor(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What is said before any verb."""


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    from vidoor.bench.store import dumps

    typer.echo(dumps(document))


def print_flat(document: dict[str, Any]) -> None:
    """A document as lines, for people."""
    for key, value in document.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        typer.echo(printable(f"{key}: {text}"))


def tell(text: str) -> None:
    """Lines on standard output; names in them may be anyone's."""
    typer.echo("\n".join(map(printable, text.split("\n"))))


def rendered(table: Table) -> str:
    """A table as text, fit for the terminal that there is."""
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
