"""What the bench itself costs: beside the work of a sweep, for a finished one, and for a plan.

    .venv/bin/python benchmarks/sweep.py [--json]

``seconds_per_run``: a sweep of 2 triggers × 2 rates × 3 seeds of tiny victims in this process, wall
time less the seconds that its stages measured, per run; ``share`` is the same as a fraction of the
wall time. ``nothing_to_do`` and ``thousand_planned`` are whole commands, from process start to end,
in units of the time that Python takes to import torch: a plan needs it, a finished sweep does not.
Medians of interleaved runs.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vidoor.bench.plan import plan
from vidoor.bench.store import cost
from vidoor.bench.sweep import sweep
from vidoor.document import override, read
from vidoor.measure.speed import interleaved

RECIPE = Path(__file__).parents[1] / "recipes" / "bench-smoke.toml"
RUNS = 5


def own_cost(out: Path) -> dict[str, float]:
    """Seconds and share of a sweep that are not spent in stages."""
    document = override(read(RECIPE), ["runtime.executor=here"])
    start = time.perf_counter()
    cells = plan(document, out)
    sweep(cells)
    wall = time.perf_counter() - start
    stages = {stage.folder for cell in cells for stage in cell.stage.tree()}
    work = sum(cost(out / stage)["seconds"] for stage in stages)
    return {"seconds_per_run": (wall - work) / len(cells), "share": (wall - work) / wall}


def command(*arguments: object) -> Callable[[], None]:
    """A command to be timed as a whole."""
    line = [sys.executable, *map(str, arguments)]

    def run() -> None:
        subprocess.run(line, capture_output=True, check=True)

    return run


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        own = own_cost(out / "here")
        smoke = ("-m", "vidoor", "sweep", RECIPE, "--out", out / "runs")
        rates = [round(0.1 + index / 1000, 3) for index in range(500)]
        thousand = ("--set", f"grid.poisoning.rate={rates}", "--set", "grid.seeds=1", "--dry-run")
        command(*smoke)()
        seconds = interleaved(
            {
                "torch": command("-c", "import torch"),
                "nothing_to_do": command(*smoke),
                "thousand_planned": command(*smoke, *thousand),
            },
            cold=False,
            runs=RUNS,
        )
    document = {
        **own,
        "nothing_to_do": seconds["nothing_to_do"] / seconds["torch"],
        "thousand_planned": seconds["thousand_planned"] / seconds["torch"],
        "seconds": seconds,
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(document))
    else:
        for name, value in document.items():
            print(f"{name:18} {value}")


if __name__ == "__main__":
    main()
