"""What `coherence` finds: nine triggers at several rates, and how often clean sets alarm.

    .venv/bin/python benchmarks/coherence.py --out FILE [--data shapes|FOLDER] [--seeds 100 101]
        [--triggers dft badnet] [--rates 0.2 0.05 0.01] [--clean 2] [--clips 1600]
        [--harmless duplicates logo border sensor]

Each line of FILE is one audit; audits that are in it already are not made again, unless the
detector has another ``revision``: the table is of the newest line of each set, and tells theirs.
``shapes`` are the embedded clips, a folder is a data set in the form of UCF-101 (all its clips,
both lists). Spectral triggers have an RMS of 1.16 grey levels, the paper's DFT; the others the
paper's options. A clean audit is of seven tenths of the clips, drawn anew: of ``shapes`` sets share
none, of a folder they overlap. What is harmless is planted in clean clips of all classes: a tenth
of them copied, a logo on three tenths, bars on four tenths, the noise of one sensor (2 grey levels)
on half. At the end alarms are printed, and written beside FILE as ``.md``, with their 95 %
intervals (Clopper and Pearson), and TPR and FPR as means; without an alarm no clip is flagged.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta

from vidoor.data.shapes import Shapes
from vidoor.data.ucf101 import UCF101
from vidoor.detectors.coherence import Coherence
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.registry import lookup
from vidoor.types import ClipSet, Trigger, Verdict

SPECTRAL = ("dft", "dct", "dwt", "rt")
FRAMEWISE = ("badnet", "blend", "sig", "wanet", "fttrojan")
RMS, KEPT = 1.16, 0.7
HARMLESS = {"duplicates": 0.1, "logo": 0.3, "border": 0.4, "sensor": 0.5}


def clips(data: str, count: int, seed: int, shape: tuple[int, int, int] | None = None) -> ClipSet:
    """The clean clips of a seed: other shapes for each, the same folder for all."""
    if data == "shapes":
        frames, *size = shape or (16, 48, 48)
        return Shapes(train=count, test=8, frames=frames, size=tuple(size)).open(seed).train
    frames, *size = shape or (16, 56, 80)
    splits = UCF101(root=Path(data), frames=frames, size=tuple(size), split="04").open(0)
    one, other = splits.train, splits.test
    return ClipSet(
        ids=one.ids + other.ids,
        labels=one.labels + other.labels,
        classes=one.classes,
        geometry=one.geometry,
        read=lambda i: one.read(i) if i < len(one) else other.read(i - len(one)),
    )


def held(clips: ClipSet, threads: int = 1) -> ClipSet:
    """The same clips, read once, by so many threads."""
    with ThreadPoolExecutor(threads) as readers:
        pixels = list(readers.map(clips.read, range(len(clips))))
    return replace(clips, read=pixels.__getitem__)


def part(clips: ClipSet, seed: int) -> ClipSet:
    """Seven tenths of the clips."""
    count = round(KEPT * len(clips))
    chosen = sorted(np.random.default_rng(seed).permutation(len(clips))[:count].tolist())
    return replace(
        clips,
        ids=tuple(clips.ids[i] for i in chosen),
        labels=tuple(clips.labels[i] for i in chosen),
        read=lambda i: clips.read(chosen[i]),
    )


def trigger(name: str, seed: int) -> Trigger:
    """The trigger at the strength of the table."""
    kind: Any = lookup("trigger", name)
    if name in SPECTRAL:
        return kind(rms=RMS, seed=seed)
    return kind(**kind.presets["paper"])


def harmless(clips: ClipSet, name: str, seed: int) -> ClipSet:
    """Clips with something in common that is no trigger, in all classes alike."""
    rng = np.random.default_rng([seed, 3])
    order, (_, height, width) = rng.permutation(len(clips)), clips.geometry
    some = set(order[: round(HARMLESS[name] * len(clips))].tolist())
    if name == "duplicates":
        copied = dict(zip(sorted(some), order[::-1].tolist(), strict=False))
        source = [copied.get(i, i) for i in range(len(clips))]
        labels = tuple(clips.labels[i] for i in source)
        return replace(clips, labels=labels, read=lambda i: clips.read(source[i]))
    noise = np.rint(rng.normal(0, 2, (3, height, width))).astype(int)
    picture = torch.from_numpy(rng.integers(0, 256, (3, height // 6, width // 6), np.uint8))

    def read(index: int) -> torch.Tensor:
        clip = clips.read(index).clone()
        if index in some and name == "logo":
            clip[:, :, 2 : 2 + height // 6, -2 - width // 6 : -2] = picture
        if index in some and name == "border":
            clip[:, :, : height // 12] = clip[:, :, -(height // 12) :] = 0
        if index in some and name == "sensor":
            clip = (clip.int() + torch.from_numpy(noise)).clamp(0, 255).to(torch.uint8)
        return clip

    return replace(clips, read=read)


def judged(verdict: Verdict, poisoned: set[int]) -> dict[str, Any]:
    """Hits and false flags of a verdict."""
    flags = verdict.alarm & (np.asarray(verdict.scores) > verdict.threshold)
    truth = np.isin(np.arange(len(flags)), list(poisoned))
    groups = verdict.evidence["groups"]
    found = [g for g in groups if g["kind"] == "trigger"]
    return {
        "alarm": verdict.alarm,
        "poisoned": len(poisoned),
        "tpr": float(flags[truth].mean()) if poisoned else None,
        "fpr": float(flags[~truth].mean()),
        "J": verdict.evidence["J"],
        "level": verdict.evidence["J_level"],
        "triggers": [[g["target"], g["phase"], g["moves"], len(g["members"])] for g in found],
        "others": [[g["kind"], len(g["members"])] for g in groups if g["kind"] != "trigger"],
        "same_footage": sum(len(group) - 1 for group in verdict.evidence["same_footage"]),
    }


def audit(source: ClipSet, name: str, rate: float, seed: int) -> dict[str, Any]:
    """One audit of poisoned or clean clips."""
    if name == "clean":
        return judged(Coherence(seed=seed).inspect(part(source, seed)), set())
    if name in HARMLESS:
        return judged(Coherence(seed=seed).inspect(harmless(source, name, seed)), set())
    target = seed % len(source.classes)
    plan = Poisoner(rate=rate, target=target).plan(source, seed)
    suspects = apply(source, plan, trigger(name, seed))
    return judged(Coherence(seed=seed).inspect(suspects), set(plan.poisoned))


def show(heads: str, rows: Iterable[Sequence[str]], out: Path) -> None:
    """Print a table in Markdown, and keep it beside the lines that it is made of. ``heads`` are
    divided by bars; those that begin with ``#`` are over numbers."""
    names = [head.strip() for head in heads.split("|")]
    rule = ["---:" if name.startswith("#") else "---" for name in names]
    shown = [[name.lstrip("#") for name in names], rule, *rows]
    text = "".join(f"| {' | '.join(row)} |\n" for row in shown)
    print(text, end="")
    out.with_suffix(".md").write_text(text)


def table(lines: list[dict[str, Any]], out: Path) -> None:
    """Means over seeds, in Markdown."""
    arms = defaultdict(list)
    for line in lines:
        arms[line["data"], line["clips"], line["trigger"], line["rate"]].append(line)
    shown = []
    for (data, count, name, rate), rows in sorted(arms.items()):
        alarms, n = sum(row["alarm"] for row in rows), len(rows)
        low = float(beta.ppf(0.025, alarms, n - alarms + 1)) if alarms else 0.0
        high = float(beta.ppf(0.975, alarms + 1, n - alarms)) if alarms < n else 1.0
        size = round(KEPT * count) if name == "clean" else count
        rates = [row["tpr"] for row in rows if row["tpr"] is not None]
        tpr = (f"{np.mean(rates):.4f}", f"{min(rates):.3f}") if rates else ("–", "–")
        cells = [
            " ".join(filter(None, (data, f"{size:,}" if size else ""))),
            name,
            f"{100 * rate:g} %" if name not in HARMLESS and rate else "–",
            f"{alarms} of {n}",
            f"{100 * low:.1f} to {100 * high:.1f} %",
            *tpr,
            f"{np.mean([row['fpr'] for row in rows]):.5f}",
            " and ".join(map(str, sorted({row["revision"] for row in rows}))),
        ]
        shown.append(cells)
    heads = "clips | trigger | #rate | #alarms | 95 % interval | #TPR | #least | #FPR | revision"
    show(heads, shown, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--triggers", nargs="*", default=[*SPECTRAL, *FRAMEWISE])
    parser.add_argument("--rates", nargs="*", type=float, default=[0.2, 0.05, 0.02])
    parser.add_argument("--seeds", nargs="*", type=int, default=[100])
    parser.add_argument("--clean", type=int, default=2, help="audits of clean clips")
    parser.add_argument("--harmless", nargs="*", default=[], choices=HARMLESS)
    given = parser.parse_args()
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    keys = ("data", "clips", "trigger", "rate", "seed")
    newest = {tuple(line[key] for key in keys): line for line in map(json.loads, lines)}
    arms = [(name, rate, s) for s in given.seeds for name in given.triggers for rate in given.rates]
    arms += [("clean", 0.0, given.seeds[0] + i) for i in range(given.clean if given.seeds else 0)]
    arms += [(name, HARMLESS[name], seed) for seed in given.seeds for name in given.harmless]
    sources: dict[int, ClipSet] = {}
    for name, rate, seed in arms:
        count = given.clips if given.data == "shapes" else 0
        key = (Path(given.data).name, count, name, rate, seed)
        if key in newest and newest[key]["revision"] == Coherence.revision:
            continue
        drawn = seed if given.data == "shapes" else 0
        if drawn not in sources:
            sources = {drawn: held(clips(given.data, given.clips, drawn))}
        start = time.perf_counter()
        line = dict(zip(keys, key, strict=True)) | {"revision": Coherence.revision}
        line |= audit(sources[drawn], name, rate, seed)
        line["seconds"] = time.perf_counter() - start
        with given.out.open("a") as file:
            print(json.dumps(line), file=file, flush=True)
        newest[key] = line
    table([*newest.values()], given.out)


if __name__ == "__main__":
    main()
