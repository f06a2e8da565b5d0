"""Trigger inversion on small trained victims: passes of races and of full schedules, and verdicts.

    .venv/bin/python benchmarks/inversion.py [--clean 10] [--attacked 3] [--json] [METHOD ...]

Methods: nc, "nc log", "nc paper", tabor, pt-red, volume-inversion (all of them unless some are
named). Victims are trained here, one after another, on one thread: clean ones of seeds 0, 1, … and
ones with a BadNet patch. How often a clean victim has an alarm is ``false_alarms``; how often a
race ends with another verdict than the full schedule is 1 − ``same``.
"""

import argparse
import json

import torch

from vidoor.measure.inversion import METHODS, inversion

SHOWN = ("victim", "seed", "acc", "method", "ratio", "full_score", "raced_score", "same", "right")


def text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--clean", type=int, default=10)
    parser.add_argument("--attacked", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    unknown = set(given.methods) - set(METHODS)
    if unknown:
        parser.error(f"no such method: {', '.join(unknown)}; valid: {', '.join(METHODS)}")
    torch.set_num_threads(1)
    document = inversion(given.clean, given.attacked, given.methods or tuple(METHODS))
    if given.json:
        print(json.dumps(document))
        return
    for row in document["rows"]:
        print("  ".join(f"{name} {text(row[name])}" for name in SHOWN))
    for name, summary in document["summary"].items():
        print(name, "  ".join(f"{key} {text(value)}" for key, value in summary.items()))


if __name__ == "__main__":
    main()
