"""The same recipe and seed on another kind of machine: how far apart are the victims?

    .venv/bin/python benchmarks/remade.py RUNS results/*-mini --out FILE

RUNS is a folder of runs, the others are kept results. Each line of FILE, in CSV, is a poisoned
victim that both have, told by the id of its run: on what either was made, its ACC and ASR. A victim
of several recipes is in it once. Printed, and written beside FILE as ``.md``, is how far apart they
are, in points, and, for comparison, how far the kept runs of seeds 0 and 1 are; of all victims, and
of those that have half learnt the backdoor, with an ASR of 10 to 90 % in either run.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeAlias

from coherence import show

from vidoor.report.tables import Record, load

Pair: TypeAlias = tuple[Record, Record]
BETWEEN = (0.1, 0.9)
MOVED = 0.1


def settings(record: Record) -> str:
    """What was run, but for the seed and for which recipe."""
    parts = ("data", "trigger", "poisoning", "victim", "training")
    return json.dumps([record["recipe"][part] for part in parts], sort_keys=True)


def once(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs without those of victims that were there before."""
    return list({pair[0]["victim"]["weights_sha256"]: pair for pair in reversed(pairs)}.values())


def machine(record: Record) -> str:
    """The kind of machine that a record comes from."""
    environment = record["environment"]
    return str(environment["gpu"] or environment["cpu"])


def line(kept: Record, made: Record) -> dict[str, Any]:
    """One victim on both machines."""
    return {
        "run": kept["run_id"],
        "recipe": kept["name"],
        "arm": kept["arm"],
        "victim": kept["victim"]["kind"],
        "classes": len(kept["data"]["classes"]),
        "trigger": kept["trigger"]["kind"],
        "rate": kept["recipe"]["poisoning"]["rate"],
        "seed": kept["seed"],
        "kept_on": machine(kept),
        "made_on": machine(made),
        "kept_acc": kept["acc"],
        "made_acc": made["acc"],
        "kept_asr": kept["asr"],
        "made_asr": made["asr"],
    }


def row(what: str, measure: str, pairs: Sequence[Pair], name: str) -> list[str]:
    """How far a measure moved, in points: of half of the pairs, of nine in ten, of all at most."""
    apart = sorted(abs(one[name] - other[name]) for one, other in pairs)
    figures = (median(apart), quantiles(apart, n=10, method="inclusive")[-1], apart[-1])
    far = f"{sum(distance > MOVED for distance in apart)}"
    return [what, measure, f"{len(pairs)}", *(f"{100 * each:.1f}" for each in figures), far]


def summary(groups: dict[str, list[Pair]], out: Path) -> None:
    """How far apart the pairs of each group are, in Markdown."""
    rows = []
    for what, pairs in groups.items():
        partly = [pair for pair in pairs if any(BETWEEN[0] <= r["asr"] <= BETWEEN[1] for r in pair)]
        rows += [row(what, "ACC", pairs, "acc"), row(what, "ASR", pairs, "asr")]
        rows += [row(what, "ASR, half learnt", partly, "asr")]
    heads = "what differs | of | #victims | #median | #9 of 10 | #most | #beyond 10 points"
    show(heads, rows, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("kept", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    made = {record["run_id"]: record for record in load(given.runs)}
    kept = [record for folder in given.kept for record in load(folder)]
    pairs = once([(one, made[one["run_id"]]) for one in kept if one["run_id"] in made])
    pairs = [pair for pair in pairs if machine(pair[0]) != machine(pair[1])]
    if not pairs:
        raise SystemExit(f"{given.runs} has no run that is kept and was made on another machine")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(line(*pairs[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(line(*pair) for pair in pairs)
    second = {settings(record): record for record in kept if record["seed"] == 1}
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[f"{machine(pair[0])} / {machine(pair[1])}"].append(pair)
    firsts = [pair[0] for pair in pairs if pair[0]["seed"] == 0]
    groups["seed 0 / seed 1"] = [(r, second[settings(r)]) for r in firsts if settings(r) in second]
    summary(groups, given.out)


if __name__ == "__main__":
    main()
