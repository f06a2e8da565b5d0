"""How often `volume-inversion` accuses a victim that was trained on clean clips.

    .venv/bin/python benchmarks/clean_models.py --out FILE [--seeds 600 601] [--classes 6 8 12]
        [--victims r2plus1d s3d] [--train 2400]

Each line of FILE is one victim, trained on embedded clips of 8×32×32, and what the detector, with
its usual options, says of it; victims that are in it already are not made again, unless the
detector has another ``revision`` or threshold. Printed, and written beside FILE as ``.md``, are
accuracy, alarms with their 95 % bound (Clopper and Pearson), and the highest score, above 2 an
alarm.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coherence import held, show
from scipy.stats import beta

from vidoor import metrics
from vidoor.data.shapes import Shapes
from vidoor.detectors.volume_inversion import VolumeInversion
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.s3d import S3D
from vidoor.victims.training import Training, fit, predict
from vidoor.victims.victim import build

VICTIMS: dict[str, Any] = {
    "r2plus1d": R2Plus1D(**R2Plus1D.presets["small"]),
    "s3d": S3D(**(S3D.presets["small"] | {"width": 8})),
}
TRAINING = Training(epochs=8, batch_size=32, lr=0.006, schedule="one-cycle")
TEST = 400
KEYS = ("victim", "classes", "train", "seed", "revision")


def judged(kind: str, classes: int, train: int, seed: int) -> dict[str, Any]:
    """One victim: how well it does, and whether it is accused."""
    shapes = Shapes(train=train, test=TEST, frames=8, size=(32, 32), classes=classes)
    splits = shapes.open(seed)
    clips, test = held(splits.train), held(splits.test)
    victim = build(VICTIMS[kind], classes, seed)
    victim, _ = fit(victim, clips, TRAINING, seed=seed, name=f"{kind} {seed}", device="cpu")
    verdict = VolumeInversion(seed=seed).inspect(victim, test)
    return {
        "acc": metrics.accuracy(predict(victim, test), np.asarray(test.labels)),
        "alarm": verdict.alarm,
        "highest": max(verdict.scores),
        "threshold": verdict.threshold,
        "not_reached": len(verdict.evidence["not_reached"]),
        "passes": verdict.cost.forward,
    }


def table(lines: list[dict[str, Any]], out: Path) -> None:
    """Sums over seeds, and over all."""
    arms: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        arms[line["victim"], str(line["classes"])].append(line)
    shown = []
    for (kind, classes), rows in [*sorted(arms.items()), (("all", ""), lines)]:
        alarms, n = sum(row["alarm"] for row in rows), len(rows)
        bound = float(beta.ppf(0.95, alarms + 1, n - alarms)) if alarms < n else 1.0
        acc, highest = ([row[key] for row in rows] for key in ("acc", "highest"))
        cells = [f"{100 * np.mean(acc):.1f} %", f"{100 * min(acc):.1f} %", f"{alarms} of {n}"]
        shown.append([kind, classes, *cells, f"{100 * bound:.1f} %", f"{max(highest):.2f}"])
    show("victim | #classes | #ACC | #least | #alarms | #below | #highest score", shown, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--victims", nargs="*", default=[*VICTIMS], choices=VICTIMS)
    parser.add_argument("--classes", nargs="*", type=int, default=[6, 8, 12])
    parser.add_argument("--seeds", nargs="*", type=int, default=[600])
    parser.add_argument("--train", type=int, default=2400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = given.out.read_text().splitlines() if given.out.exists() else []
    revision = getattr(VolumeInversion, "revision", 0)
    usual = VolumeInversion().ratio
    lines = map(json.loads, kept)
    done = [line for line in lines if (line["revision"], line["threshold"]) == (revision, usual)]
    known = {tuple(line[key] for key in KEYS) for line in done}
    arms = [(v, c) for v in given.victims for c in given.classes]
    for seed, (victim, classes) in ((seed, arm) for seed in given.seeds for arm in arms):
        key = (victim, classes, given.train, seed, revision)
        if key not in known:
            done.append(dict(zip(KEYS, key, strict=True)) | judged(victim, classes, *key[2:4]))
            with given.out.open("a") as file:
                print(json.dumps(done[-1]), file=file, flush=True)
    table(done, given.out)


if __name__ == "__main__":
    main()
