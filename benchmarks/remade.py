"""The same recipe and seed on another kind of machine: how far apart are the victims?

    .venv/bin/python benchmarks/remade.py RUNS results/*-mini --out FILE

RUNS is a folder of runs, the others are kept results. Each line of FILE, in CSV, is a poisoned
victim that both have, told by the id of its run: on what either was made, its ACC and ASR. A victim
of several recipes is in it once. Printed, and written beside FILE as ``.md``, is how far apart they
are, in points, for each pair of machines, and how far the kept victims of seeds 0 and 1 are where
one machine made both: ACC, ASR, the ASR of those that half learnt the backdoor, and that of probes.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from coherence import show

from vidoor.report.tables import Record, load

Pair: TypeAlias = tuple[Record, Record]

HALF = (0.1, 0.9)
"""A victim with an ASR between these, in either run, has half learnt the backdoor."""

FAR = 0.1
"""What counts as far apart, as a share."""

TRIGGER = ("kind", "rms", "start", "components")
POISONING = ("rate", "cross_ratio", "codec")


def settings(record: Record) -> str:
    """What was run, but for the seed and for which recipe."""
    parts = ("data", "trigger", "poisoning", "victim", "training")
    return json.dumps([record["recipe"][part] for part in parts], sort_keys=True)


def machine(record: Record) -> str:
    """The kind of machine that a victim was trained on, as far as its record knows."""
    environment = record["environment"]
    return f"{environment['gpu'] or environment['cpu']}, torch {environment['torch']}"


def once(pairs: Iterable[Pair]) -> list[Pair]:
    """The first pair of each victim."""
    first: dict[tuple[str, int], Pair] = {}
    for pair in pairs:
        first.setdefault((settings(pair[0]), pair[0]["seed"]), pair)
    return list(first.values())


def other_seed(kept: Iterable[Record]) -> list[Pair]:
    """Victims of seed 0, and those of seed 1 from the same machine, where there are any."""
    found: dict[int, dict[tuple[str, ...], Record]] = {0: {}, 1: {}}
    for record in kept:
        if record["seed"] in found:
            key = (record["name"], record["arm"], settings(record), machine(record))
            found[record["seed"]][key] = record
    return [(record, found[1][key]) for key, record in found[0].items() if key in found[1]]


def line(kept: Record, made: Record) -> dict[str, Any]:
    """One victim on both machines."""
    trigger, poisoning = kept["trigger"], kept["recipe"]["poisoning"]
    return {
        "run": kept["run_id"],
        "recipe": kept["name"],
        "arm": kept["arm"],
        "victim": kept["victim"]["kind"],
        "classes": len(kept["data"]["classes"]),
        **{f"trigger.{name}": trigger.get(name) for name in TRIGGER},
        **{f"poisoning.{name}": poisoning.get(name) for name in POISONING},
        "seed": kept["seed"],
        "kept_on": machine(kept),
        "made_on": machine(made),
        "kept_acc": kept["acc"],
        "made_acc": made["acc"],
        "kept_asr": kept["asr"],
        "made_asr": made["asr"],
    }


def row(what: str, of: str, pairs: Iterable[tuple[float, float]]) -> list[str]:
    """How far apart numbers are: half of them, nine in ten, and all of them at most."""
    apart = np.array([abs(one - other) for one, other in pairs])
    if not apart.size:
        return [what, of, "0", "–", "–", "–", "–"]
    most = [f"{100 * each:.1f}" for each in np.quantile(apart, [0.5, 0.9, 1.0])]
    return [what, of, f"{apart.size}", *most, f"{np.sum(apart > FAR)}"]


def rows(what: str, pairs: Sequence[Pair]) -> list[list[str]]:
    """What is said of one group of pairs."""
    victims = once(pairs)
    asr = [(one["asr"], other["asr"]) for one, other in victims]
    half = [two for two in asr if any(HALF[0] <= each <= HALF[1] for each in two)]
    probes = [
        (probe["asr"], other["probes"][name]["asr"])
        for one, other in pairs
        for name, probe in one["probes"].items()
        if name in other["probes"]
    ]
    return [
        row(what, "ACC", [(one["acc"], other["acc"]) for one, other in victims]),
        row(what, "ASR", asr),
        row(what, "ASR, half learnt", half),
        row(what, "ASR of probes", probes),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("kept", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made = {record["run_id"]: record for record in load(given.runs)}
    kept = [record for folder in given.kept for record in load(folder)]
    both = [(one, made[one["run_id"]]) for one in kept if one["run_id"] in made]
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in both:
        if machine(pair[0]) != machine(pair[1]):
            groups[f"{machine(pair[0])} / {machine(pair[1])}"].append(pair)
    if not groups:
        raise SystemExit(f"{given.runs} has no run that is kept and was made on another machine")
    lines = [line(*pair) for pair in once(pair for group in groups.values() for pair in group)]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    groups["seed 0 / seed 1"] = other_seed(kept)
    heads = "what differs | of | #number | #median | #9 of 10 | #most | #beyond 10 points"
    show(heads, [each for what, pairs in groups.items() for each in rows(what, pairs)], given.out)


if __name__ == "__main__":
    main()
