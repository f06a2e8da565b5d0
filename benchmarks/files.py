"""Clips that `vidoor embed` wrote, audited by `vidoor audit`: what is listed, and the exit status.

    .venv/bin/python benchmarks/files.py CLIPS --out FILE [--triggers dft] [--codecs ffv1 h264]
        [--seeds 300 301] [--rate 0.2] [--frames 16] [--size 56x80]

CLIPS is a data set of one split, in the form of UCF-101. Each line of FILE is one set, poisoned in
a temporary folder, and its audit, both by the command itself; lines that are in it already are not
made again. The trigger ``clean`` is CLIPS as they are. Spectral triggers have an RMS of 1.16 grey
levels, the paper's DFT, the others the paper's options; H.264 is at CRF 23. Printed are TPR and FPR
of the clips in ``suspicious.csv``, and the exit status.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from coherence import SPECTRAL, trigger

from vidoor.recipe import table

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
    for line in found.values():
        share = f"{line['found']} of {line['poisoned']} found, {line['false']} false"
        print(*(line[key] for key in KEYS), share, "exit", line["exit"])


if __name__ == "__main__":
    main()
