"""What screens see: TPR and FPR on fresh clips, of two input detectors, a limit and a naive one.

    .venv/bin/python benchmarks/screening.py --out FILE [--data shapes|FOLDER] [--seeds 100 101]
        [--triggers dft dct dwt rt] [--rms 1.16] [--clips 600] [--size 16 48 48] [--rate 0.1]

Each line of FILE is one screen at one trigger and seed; lines that are in it already are not made
again. ``shapes`` are the embedded clips, a folder is a data set in the form of UCF-101 (all its
clips, both lists; those of one scene may lie on both sides). Two thirds of the clips are the
defender's, clean; for ``matched-filter`` a part of them, ``rate``, are poisoned for ``coherence``
to find. The fresh ones are judged clean and triggered. ``limit`` is the matched filter with the
true pattern, ``naive`` how much a clip changes from frame to frame. Printed are means over seeds:
TPR and measured FPR at the thresholds for 1 % and 5 %, AUROC, TPR as a share of the limit's, and
milliseconds a clip, on one thread.
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
from coherence import clips, held

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


def screened(name: str, own: ClipSet, trigger: Any, rate: float, seed: int) -> list[Screen | Naive]:
    """The screen at the thresholds of ``RATES``, fitted to clean clips."""
    if name == "naive":
        scores = Naive().score(torch.stack([own.read(i) for i in range(len(own))]))
        return [Naive(fitted.threshold_at(scores, fpr)) for fpr in RATES]
    if name == "in-clip":
        return [InClip(fpr=fpr, seed=seed).fit(None, own) for fpr in RATES]
    if name == "limit":
        verdict = known(np.real(trigger.pattern(own.geometry).volume()))
    else:
        plan = Poisoner(rate=rate, target=seed % len(own.classes)).plan(own, seed)
        verdict = Coherence(seed=seed).inspect(apply(own, plan, trigger))
    return [MatchedFilter(fpr=fpr, seed=seed).fit(None, own, verdict=verdict) for fpr in RATES]


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
    for seed in given.seeds:
        source: ClipSet | None = None
        for name, screen in ((t, s) for t in given.triggers for s in given.screens):
            count = given.clips if given.data == "shapes" else 0
            asked = given.size, name, given.rms, given.rate, seed, screen
            place = (Path(given.data).name, count, *asked)
            key = dict(zip(KEYS, place, strict=True))
            if json.dumps(key) in done:
                continue
            if source is None:
                source = held(clips(given.data, given.clips, seed, tuple(given.size)))
                order = tuple(np.random.default_rng([seed, 5]).permutation(len(source)).tolist())
                cut = round(OWN * len(order))
                own, fresh = pick(source, order[:cut]), pick(source, order[cut:])
            trigger = lookup("trigger", name)(rms=given.rms, seed=seed)
            fitted_ = screened(screen, own, trigger, given.rate, seed)
            yield key | measured(fitted_, fresh, trigger)


def table(found: list[dict[str, Any]]) -> None:
    """Means over seeds, beside the limit."""
    arms: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in found:
        arm = {**line, "size": "×".join(map(str, line["size"]))}
        arms[tuple(arm[key] for key in KEYS if key not in ("seed", "screen"))].append(line)
    for arm, rows in sorted(arms.items()):
        print(*arm)
        means = {
            screen: {
                key: float(np.mean([row[key] for row in rows if row["screen"] == screen]))
                for key in ("tpr_at_1", "fpr_at_1", "tpr_at_5", "fpr_at_5", "auroc", "ms")
            }
            for screen in SCREENS
            if any(row["screen"] == screen for row in rows)
        }
        for screen, mean in means.items():
            limit = means.get("limit", {}).get("tpr_at_5")
            share = f"  of the limit {mean['tpr_at_5'] / limit:.3f}" if limit else ""
            print(
                f"  {screen:14} 1 %: TPR {mean['tpr_at_1']:.3f} FPR {mean['fpr_at_1']:.3f}  "
                f"5 %: TPR {mean['tpr_at_5']:.3f} FPR {mean['fpr_at_5']:.3f}  "
                f"AUROC {mean['auroc']:.4f}  {mean['ms']:.2f} ms{share}"
            )


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
    table(found)


if __name__ == "__main__":
    main()
