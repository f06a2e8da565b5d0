"""What screens see: TPR and FPR on fresh clips, of two input detectors, a limit and a naive one.

    .venv/bin/python benchmarks/screening.py --out FILE [--data shapes|FOLDER] [--seeds 100 101]
        [--triggers dft dct dwt rt] [--rms 1.16] [--clips 600] [--size 16 48 48] [--rate 0.1]

Each line of FILE is one screen at one trigger and seed; lines that are in it already are not made
again. ``shapes`` are the embedded clips, a folder is a data set in the form of UCF-101 (all its
clips, both lists; those of one scene may lie on both sides). Two thirds of the clips are the
defender's, a part of them, ``rate``, poisoned: ``coherence`` looks for these, and what it does not
flag is what screens are fitted to as clean. The fresh clips are judged clean and triggered.
``limit`` is the matched filter with the true pattern, ``naive`` how much a clip changes from frame
to frame. Printed, and written beside FILE as ``.md``, are means over seeds: TPR, the least of them
and the measured FPR at the thresholds for 1 % and 5 %, AUROC, and milliseconds a clip, on one
thread.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coherence import clips, held, show

from vidoor import metrics
from vidoor.data.subset import pick
from vidoor.detectors import fitted
from vidoor.detectors.coherence import Coherence
from vidoor.detectors.in_clip import InClip
from vidoor.detectors.matched_filter import MatchedFilter
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.registry import lookup
from vidoor.types import ClipSet, Screen, Verdict

RATES = (0.01, 0.05)
OWN = 2 / 3
KEYS = ("data", "clips", "size", "trigger", "rms", "rate", "seed", "screen")
SCREENS = ("matched-filter", "in-clip", "limit", "naive")


@dataclass(frozen=True)
class Naive:
    """A screen that asks how much a clip changes from frame to frame."""

    threshold: float = 0.0

    def score(self, frames: torch.Tensor) -> torch.Tensor:
        """Mean square of the differences."""
        return torch.stack([clip.float().diff(dim=0).square().mean() for clip in frames])


def known(template: np.ndarray | None) -> Verdict:
    """A verdict that holds a template and nothing else."""
    return Verdict(
        ids=(),
        scores=(),
        threshold=0.0,
        calibration="known",
        alarm=template is not None,
        evidence={} if template is None else {"template": template},
    )


def screened(name: str, own: ClipSet, verdict: Verdict, trigger: Any) -> list[Screen | Naive]:
    """The screen at the thresholds of ``RATES``, fitted to the clips that the verdict leaves."""
    seed = trigger.seed
    flagged = (np.asarray(verdict.scores) > verdict.threshold) & verdict.alarm
    rest = pick(own, tuple(np.flatnonzero(~flagged).tolist()))
    if name == "naive":
        scores = Naive().score(torch.stack([rest.read(i) for i in range(len(rest))]))
        return [Naive(fitted.threshold_at(scores, fpr)) for fpr in RATES]
    if name == "in-clip":
        return [InClip(fpr=fpr, seed=seed).fit(None, rest) for fpr in RATES]
    if name == "limit":
        verdict = known(np.real(trigger.pattern(own.geometry).volume()))
    return [MatchedFilter(fpr=fpr, seed=seed).fit(None, rest, verdict=verdict) for fpr in RATES]


def measured(screens: list[Any], fresh: ClipSet, trigger: Any) -> dict[str, Any]:
    """Rates on fresh clips."""
    clean = torch.stack([fresh.read(i) for i in range(len(fresh))])
    triggered = torch.stack([trigger(clip) for clip in clean])
    start = time.perf_counter()
    scores = [screens[0].score(part).double().numpy() for part in (clean, triggered)]
    seconds = time.perf_counter() - start
    positive = np.arange(2 * len(clean)) >= len(clean)
    line: dict[str, Any] = {
        "fresh": len(clean),
        "auroc": metrics.auroc(np.concatenate(scores), positive),
        "ms": 1e3 * seconds / (2 * len(clean)),
    }
    for rate, screen in zip(RATES, screens, strict=True):
        for what, part in zip(("fpr", "tpr"), scores, strict=True):
            line[f"{what}_at_{100 * rate:.0f}"] = float((part > screen.threshold).mean())
    return line


def lines(given: argparse.Namespace, done: set[str]) -> Iterator[dict[str, Any]]:
    """What is missing, one after another."""
    for seed, name in ((seed, name) for seed in given.seeds for name in given.triggers):
        count = given.clips if given.data == "shapes" else 0
        place = (Path(given.data).name, count, given.size, name, given.rms, given.rate, seed)
        keys = {screen: dict(zip(KEYS, (*place, screen), strict=True)) for screen in given.screens}
        missing = {s: key for s, key in keys.items() if json.dumps(key) not in done}
        if not missing:
            continue
        source = held(clips(given.data, given.clips, seed, tuple(given.size)))
        order = tuple(np.random.default_rng([seed, 5]).permutation(len(source)).tolist())
        cut = round(OWN * len(order))
        own, fresh = pick(source, order[:cut]), pick(source, order[cut:])
        trigger = lookup("trigger", name)(rms=given.rms, seed=seed)
        plan = Poisoner(rate=given.rate, target=seed % len(own.classes)).plan(own, seed)
        suspects = held(apply(own, plan, trigger))
        verdict = Coherence(seed=seed).inspect(suspects)
        for screen, key in missing.items():
            yield key | measured(screened(screen, suspects, verdict, trigger), fresh, trigger)


def table(found: list[dict[str, Any]], out: Path) -> None:
    """Means over seeds, in Markdown."""
    arms: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in found:
        place = SCREENS.index(line["screen"])
        arms[line["data"], line["trigger"], line["rms"], place].append(line)
    shown = []
    for (data, name, rms, place), rows in sorted(arms.items()):
        at = {key: [row[key] for row in rows] for key in rows[0] if key not in KEYS}
        rates = [
            cell
            for percent in (1, 5)
            for cell in (
                f"{np.mean(at[f'tpr_at_{percent}']):.3f}",
                f"{min(at[f'tpr_at_{percent}']):.3f}",
                f"{np.mean(at[f'fpr_at_{percent}']):.3f}",
            )
        ]
        size = "×".join(map(str, rows[0]["size"]))
        arm = [f"{data} {size}", f"{name}, {rms:g}", SCREENS[place], str(len(rows))]
        shown.append([*arm, *rates, f"{np.mean(at['auroc']):.4f}", f"{np.mean(at['ms']):.2f}"])
    rates = " | ".join(f"#TPR at {p} % | #least | #FPR" for p in (1, 5))
    show(f"clips | trigger, RMS | screen | #seeds | {rates} | #AUROC | #ms", shown, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--size", nargs=3, type=int, default=[16, 48, 48], metavar=("T", "H", "W"))
    parser.add_argument("--triggers", nargs="*", default=["dft", "dct", "dwt", "rt"])
    parser.add_argument("--screens", nargs="*", default=SCREENS, choices=SCREENS)
    parser.add_argument("--rms", type=float, default=1.16)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seeds", nargs="*", type=int, default=[100])
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = given.out.read_text().splitlines() if given.out.exists() else []
    found = [json.loads(line) for line in known]
    done = {json.dumps({key: line[key] for key in KEYS}) for line in found}
    for line in lines(given, done):
        with given.out.open("a") as file:
            print(json.dumps(line), file=file, flush=True)
        found.append(line)
    table(found, given.out)


if __name__ == "__main__":
    main()
