"""A victim's weights after training on clean embedded clips: what others begin with where no
published checkpoint can be had, as the paper's victims begin with those of Kinetics-400.

    .venv/bin/python benchmarks/pretrain.py --victim slowfast --out FILE.safetensors
                                            [--clips 3000] [--size 112] [--epochs 12] [--seed 1000]

Clips are ``shapes`` of 24 classes and 32 frames, of a seed that no recipe has. Trained in bfloat16,
on a GPU where there is one; beside FILE goes what was measured after each epoch, as ``.json``.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from coherence import held

from vidoor import metrics
from vidoor.data.shapes import Shapes
from vidoor.options import component
from vidoor.victims.training import Training, fit, predict
from vidoor.victims.victim import Victim, build, save

CLASSES, FRAMES, TEST = 24, 32, 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--victim", default="slowfast")
    parser.add_argument("--clips", type=int, default=3000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1000)
    given = parser.parse_args()
    splits = Shapes(
        train=given.clips,
        test=TEST,
        frames=FRAMES,
        size=(given.size, given.size),
        classes=CLASSES,
    ).open(given.seed)
    splits.train.read(0)  # compiles, before threads do
    train, test = (held(clips, os.cpu_count() or 1) for clips in (splits.train, splits.test))
    config = Training(
        epochs=given.epochs, batch_size=32, lr=1e-3, schedule="one-cycle", precision="bf16"
    )

    def measure(victim: Victim) -> dict[str, float]:
        return {"acc": metrics.accuracy(predict(victim, test), np.asarray(test.labels))}

    victim = build(component("victim", {"kind": given.victim}), CLASSES, given.seed)
    victim, history = fit(
        victim, train, config, seed=given.seed, name=given.victim, measure=measure
    )
    save(victim, given.out)
    told = {**vars(given), "out": given.out.name, "history": history}
    given.out.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
