"""Two training steps of every victim that `recipes/paper/*-full.toml` ask for, at full geometry.

    .venv/bin/python benchmarks/full_size.py --out FILE [--recipes table1-full ...] [--steps 2]

The published data sets are there in miniature, in their official layouts (those of the tests): a
victim is trained on a few of their clips, one of them poisoned and the others of the target class,
one clip a step, in the recipe's geometry, and then judges a triggered test clip. Each line of FILE
is one victim that sees so many frames of one data set, with the recipes that ask for it, whatever
else these vary; what is in it already is not tried again. Weights are fresh, as published ones have
to be fetched. Printed, and written beside FILE as ``.md``, are the loss of the steps, seconds a
step and peak memory.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from coherence import held, show

from vidoor import document
from vidoor.bench.grid import expand
from vidoor.data.subset import pick
from vidoor.meter import metered
from vidoor.poisoning.poisoner import apply, triggered
from vidoor.recipe import Recipe, parse
from vidoor.victims.training import fit, predict
from vidoor.victims.victim import build

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import trees  # noqa: E402 - the tests' miniatures

KEYS = ("data", "victim", "frames")

Key: TypeAlias = tuple[str, str, int]


def asked(paths: Sequence[Path]) -> dict[Key, tuple[Recipe, list[str]]]:
    """What is to be trained: a setting for each, its weights fresh, and the recipes with such."""
    found: dict[Key, tuple[Recipe, list[str]]] = {}
    for path in paths:
        for setting in expand(document.read(path)):
            plain = json.loads(json.dumps(setting.document))
            plain["victim"].pop("weights", None)
            if plain["data"]["kind"] == "gsl":
                plain["data"]["classes"] = 0  # the miniature has six
            recipe = parse(plain)
            seen = recipe.training.frames or plain["data"]["frames"]
            key = (plain["data"]["kind"], plain["victim"]["kind"], seen)
            names = found.setdefault(key, (recipe, []))[1]
            if path.stem not in names:
                names.append(path.stem)
    return found


def trained(recipe: Recipe, steps: int) -> dict[str, Any]:
    """What ``steps`` steps of one clip each come to, and whether a triggered clip can be judged."""
    splits = recipe.data.open(recipe.seed)
    attack = replace(recipe.poisoning, rate=1.0)  # a class has few clips there
    plan = attack.plan(splits.train, recipe.seed)
    poisoned = apply(splits.train, plan, recipe.trigger)
    clean = [i for i in range(len(poisoned)) if i not in plan.poisoned]
    clips = held(pick(poisoned, (next(iter(plan.poisoned)), *clean[: steps - 1])))
    shown = held(pick(triggered(splits.test, recipe.trigger), (0,)))
    config = replace(recipe.training, epochs=1, batch_size=1)
    victim = build(recipe.victim, len(splits.train.classes), recipe.seed, recipe.training.frames)
    with metered() as meter:
        start = time.perf_counter()
        victim, history = fit(victim, clips, config, seed=recipe.seed, name="two steps")
        seconds = (time.perf_counter() - start) / len(clips)
        predict(victim, shown, config.views)
    return {
        "geometry": list(clips.geometry),
        "loss": history[-1]["loss"],
        "seconds": seconds,
        "memory": meter.cost.memory,
    }


def summary(lines: list[dict[str, Any]], out: Path) -> None:
    """One row for each line."""
    rows = [
        [
            *(line["data"], line["victim"], "×".join(map(str, line["geometry"]))),
            *(str(line["frames"]), ", ".join(line["recipes"])),
            *(f"{line['loss']:.2f}", f"{line['seconds']:.1f}"),
            f"{line['memory'] / 2**20:,.0f}",
        ]
        for line in lines
    ]
    heads = "data | victim | clips | #frames seen | recipes | #loss | #s a step | #MiB at most"
    show(heads, rows, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="*", help="names; none: all")
    parser.add_argument("--steps", type=int, default=2)
    given = parser.parse_args()
    out = given.out.absolute()
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {tuple(line[key] for key in KEYS) for line in done}
    every = sorted((ROOT / "recipes" / "paper").glob("*-full.toml"))
    paths = [path for path in every if path.stem in (given.recipes or [path.stem])]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # recipes name their data sets below data/
        trees.ucf101(Path("data", "ucf101"), trees.film)
        trees.hmdb51(Path("data", "hmdb51"), trees.film)
        trees.gsl(Path("data", "gsl"), trees.stills, suffix="")
        for key, (recipe, names) in asked(paths).items():
            if key not in known:
                told = dict(zip(KEYS, key, strict=True)) | {"recipes": names}
                done.append(told | trained(recipe, given.steps))
                with out.open("a") as file:
                    print(json.dumps(done[-1]), file=file, flush=True)
        os.chdir(ROOT)
    summary(done, out)


if __name__ == "__main__":
    main()
