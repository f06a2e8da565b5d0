"""Clips that `vidoor embed` wrote, audited by `vidoor audit`: what is listed, and the exit status.

    .venv/bin/python benchmarks/files.py CLIPS --out FILE [--triggers dft] [--codecs ffv1 h264]
        [--seeds 300 301] [--rate 0.2] [--frames 16] [--size 56x80]

CLIPS is a data set of one split, in the form of UCF-101. Each line of FILE is one set, poisoned in
a temporary folder, and its audit, both by the command itself; lines that are in it already are not
made again. The trigger ``clean`` is CLIPS as they are. Spectral triggers have an RMS of 1.16 grey
levels, the paper's DFT, the others the paper's options; H.264 is at CRF 23. Printed, and written
beside FILE as ``.md``, are sums over the sets: exit statuses, poisoned clips that
``suspicious.csv`` lists, and others that it lists.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from coherence import SPECTRAL, show, trigger

from vidoor.options import table

KEYS = ("trigger", "codec", "rate", "seed")


def command(*words: object) -> int:
    """Exit status of a command of vidoor."""
    program = [sys.executable, "-m", "vidoor", *map(str, words)]
    return subprocess.run(program, check=False, stdout=subprocess.DEVNULL).returncode


def poison(given: argparse.Namespace, folder: Path, name: str, codec: str, seed: int) -> set[str]:
    """Write the poisoned set; the files of the poisoned clips."""
    options = table(trigger(name, seed))
    options.pop("kind")
    written = [f"{key}={json.dumps(value)}" for key, value in options.items()]
    shape = ("--frames", given.frames, "--size", given.size, "--rate", given.rate)
    form = ("--codec", codec, *(("--quality", 23) if codec == "h264" else ()), *shape)
    told = [word for each in written for word in ("--set", each)]
    if command("embed", given.clips, folder, "--trigger", name, "--seed", seed, *form, *told):
        raise SystemExit(f"embedding {name} failed")
    lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return {line["file"] for line in lines if line["trigger"] and line["split"] == "train"}


def audited(given: argparse.Namespace, name: str, codec: str, seed: int) -> dict[str, Any]:
    """What an audit of the files says."""
    with tempfile.TemporaryDirectory() as scratch:
        clips, out = Path(scratch) / "clips", Path(scratch) / "audit"
        poisoned = poison(given, clips, name, codec, seed) if name != "clean" else set()
        source = clips if poisoned else given.clips
        shape = ("--frames", given.frames, "--size", given.size)
        status = command("audit", source, "--out", out, "--seed", seed, *shape)
        if status == 2:
            raise SystemExit(f"auditing {name} failed")
        with (out / "suspicious.csv").open(newline="") as file:
            listed = {row["path"] for row in csv.DictReader(file)}
        judged = json.loads((out / "audit.json").read_text())["clips"]["judged"]
    return {
        "exit": status,
        "clips": judged,
        "poisoned": len(poisoned),
        "found": len(listed & poisoned),
        "false": len(listed - poisoned),
    }


def summary(lines: list[dict[str, Any]], out: Path) -> None:
    """Sums over seeds, in Markdown."""
    arms: dict[tuple[str, str, float], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        arms[line["trigger"], line["codec"], line["rate"]].append(line)
    shown = []
    for (name, codec, rate), rows in arms.items():
        total = {key: sum(row[key] for row in rows) for key in ("poisoned", "found", "false")}
        exits = ", ".join(str(row["exit"]) for row in rows)
        poisoned, found, false = total.values()
        clean = sum(row["clips"] for row in rows) - poisoned
        hits = f"{found} of {poisoned}" if poisoned else "–"
        how = f"{100 * rate:g} %" if rate else "–"
        shown.append([name, codec or "as they are", how, exits, hits, f"{false} of {clean:,}"])
    show("trigger | files | #rate | exit | #poisoned, listed | #others, listed", shown, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--triggers", nargs="*", default=[*SPECTRAL, "clean"])
    parser.add_argument("--codecs", nargs="*", default=["ffv1", "h264"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[300])
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", default="56x80")
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    found = {tuple(line[key] for key in KEYS): line for line in map(json.loads, lines)}
    for seed in given.seeds:
        for name in given.triggers:
            for codec in given.codecs if name != "clean" else [""]:
                key = (name, codec, given.rate if codec else 0.0, seed)
                if key not in found:
                    found[key] = dict(zip(KEYS, key, strict=True))
                    found[key] |= audited(given, name, codec, seed)
                    with given.out.open("a") as file:
                        print(json.dumps(found[key]), file=file, flush=True)
    summary(list(found.values()), given.out)


if __name__ == "__main__":
    main()
