"""What commands ask of the bench. What is heavy is loaded only where there is work to do."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidoor.bench.status import recall, remember, survey
from vidoor.document import Document, override
from vidoor.errors import RecipeError
from vidoor.progress import say

if TYPE_CHECKING:
    from vidoor.bench.board import Failure


def perform(
    document: Document, out: Path | None, result: Path | None = None
) -> tuple[list[Path], list["Failure"]]:
    """The folders of the runs that a document asks for, once they are complete; and failures.

    ``out`` replaces the recipe's own output folder; runs that ``result`` has are taken from there.
    """
    place = (out or _out(document)).absolute()
    known = recall(document, place)
    if known is not None:
        say(f"complete already: {len(known['cells'])} runs in {place}")
        return [place / cell["run"] for cell in known["cells"]], []
    from vidoor.bench import kept, trained
    from vidoor.bench.plan import asked, plan
    from vidoor.bench.sweep import sweep
    from vidoor.victims.company import company
    from vidoor.victims.training import launched

    if launched() > 1:
        document = override(document, ["runtime.executor=here"])
    cells = plan(document, place)
    with company(cells[0].recipe.runtime.device, trained.join) as working:
        if not working:
            sys.exit(0)
        remember(document, place, asked(cells))
        if result is not None:
            kept.adopt(result, cells, place)
        swept = sweep(cells)
    return list(swept.folders), list(swept.failures)


def foresee(document: Document, out: Path | None, result: Path | None = None) -> dict[str, Any]:
    """What a document asks for, what of it is there or in ``result``, and what the rest will
    cost."""
    from vidoor.bench import kept
    from vidoor.bench.plan import asked, plan

    place = (out or _out(document)).absolute()
    cells = plan(document, place)
    there = kept.known(result, [cell.stage.folder for cell in cells]) if result else set()
    return survey(asked(cells), place, there)


def _out(document: Document) -> Path:
    runtime = document.get("runtime", {})
    out = runtime.get("out", "runs") if isinstance(runtime, dict) else "runs"
    if not isinstance(out, str) or not out:
        raise RecipeError(f"runtime.out must be the name of a folder, not {out!r}")
    return Path(out).expanduser()
