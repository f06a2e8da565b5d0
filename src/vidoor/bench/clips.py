"""The stages ``data`` and ``poison``: clips read once, and what an attacker does to them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidoor import metrics
from vidoor.bench import store
from vidoor.bench.work import Work
from vidoor.data import cache, quarantine
from vidoor.data.clipcache import Cache, usual
from vidoor.data.guard import Limits
from vidoor.document import digest
from vidoor.errors import DataError
from vidoor.options import identity
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import PoisonPlan, apply, triggered
from vidoor.progress import say
from vidoor.report.tables import read_json
from vidoor.types import ClipSet, Quarantined, Splits

CLIPS, ATTACK, FRAMES = "clips.json", "attack.json", "frames.npz"
PUBLISHED = "published.npy"
SPLITS = ("train", "test")

IMPERCEPTIBILITY_CLIPS = 100
"""Test clips, evenly spaced, that PSNR and SSIM are averaged over."""

SAMPLE_CLIPS = 4
"""Test clips whose frames are kept for the report."""


@dataclass(frozen=True, slots=True)
class Clean:
    """The clips of a data set that can be read."""

    train: ClipSet
    test: ClipSet
    quarantined: tuple[Quarantined, ...]


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attacker makes of them: a poisoned training set and triggered test clips."""

    poisoned: ClipSet
    plan: PoisonPlan
    triggered: ClipSet


def read(work: Work) -> None:
    """Stage ``data``: decode every clip once."""
    splits: Splits = work["data"].open(work["split"])
    left_out: list[Quarantined] = []
    found: dict[str, Any] = {}
    limits = Limits(seconds=work.runtime.clip_seconds, memory=work.runtime.clip_memory)
    for name in SPLITS:
        clips = getattr(splits, name)
        rows, lost = cache.store(
            clips, _file(work.folder, name), f"{name} clips", limits=limits, cache=_cache(work)
        )
        found[name] = {"ids": clips.ids, "labels": clips.labels, "kept": rows}
        left_out += lost
    if getattr(work["data"], "strict", False):
        quarantine.refuse_quarantined(left_out, len(splits.train) + len(splits.test))
    for line in (quarantine.faults(splits.reported), quarantine.left_out(left_out)):
        if line:
            say(line)
    if identity(work["data"]) != work["content"]:
        raise DataError("the clips changed while they were read; give the same command again")
    quarantined = [asdict(clip) for clip in (*splits.reported, *left_out)]
    store.write_json(work.folder / CLIPS, {**found, "quarantined": quarantined})


def clean(work: Work) -> Clean:
    """The clips that stage ``data`` has read."""
    folder = work.needs["data"]
    splits: Splits = work["data"].open(work["split"])
    found = read_json(folder / CLIPS)
    for name in SPLITS:
        clips = getattr(splits, name)
        if [list(clips.ids), list(clips.labels)] != [found[name]["ids"], found[name]["labels"]]:
            raise DataError(f"the {name} clips changed since they were read; run the recipe again")
    train, test = (
        cache.stored(
            getattr(splits, name),
            _file(folder, name),
            tuple(found[name]["kept"]),
            cache=_cache(work),
        )
        for name in SPLITS
    )
    return Clean(train, test, tuple(Quarantined(**clip) for clip in found["quarantined"]))


def _file(folder: Path, name: str) -> Path:
    """Where the clips of a split are held."""
    return folder / f"{name}.npy"


def _cache(work: Work) -> Cache | None:
    """The clip cache, for sets that are too large to be held in a stage's folder."""
    root = work.runtime.cache or usual()
    return None if root is None else Cache(root, int(work.runtime.cache_limit * 2**30))


def poison(work: Work) -> None:
    """Stage ``poison``: the manifest of the poisoned set, and how visible the trigger is."""
    clips = clean(work)
    attack = attacked(work, clips)
    if work["poisoning"].publication is not None:
        _, lost = cache.store(attack.poisoned, work.folder / PUBLISHED, "poisoned clips")
        quarantine.refuse_quarantined(lost, len(attack.poisoned))
        attack = attacked(work, clips)
    name = digest(identity(work["trigger"]))
    lines = manifest.lines(clips.train, attack.poisoned, attack.plan, name)
    manifest.save(lines, work.folder / manifest.MANIFEST)
    about = {
        "trigger": described(work["trigger"], clips.train),
        **_imperceptibility(clips.test, attack.triggered),
    }
    store.write_json(work.folder / ATTACK, about)
    store.write_arrays(work.folder / FRAMES, _frames(work, clips.test, attack.triggered))


def attacked(work: Work, clips: Clean) -> Attacked:
    """The attack on the clips. Its sets are lazy views: embedding costs less than another copy. A
    codec costs more, so what it makes of the training clips is held where there is room."""
    plan, publish = work["poisoning"].plan(clips.train, work["seed"]), work["poisoning"].publication
    poisoned = apply(clips.train, plan, work["trigger"])
    shown = triggered(clips.test, work["trigger"])
    if publish is None:
        return Attacked(poisoned, plan, shown)
    file = work.needs.get("poison", work.folder) / PUBLISHED
    published = cache.stored(publish(poisoned), file, tuple(range(len(poisoned))))
    return Attacked(published, plan, publish(shown))


def described(trigger: Any, clips: ClipSet) -> Mapping[str, Any]:
    """What a trigger tells of itself on such clips."""
    describe = getattr(trigger, "describe", None)
    return {} if describe is None else describe(clips.geometry)


def _imperceptibility(test: ClipSet, attacked: ClipSet) -> dict[str, float]:
    found = []
    for index in _evenly(len(test), IMPERCEPTIBILITY_CLIPS):
        pair = test.read(index).numpy(), attacked.read(index).numpy()
        found.append((metrics.psnr(*pair), metrics.ssim(*pair)))
    psnr, ssim = zip(*found, strict=True)
    return {"psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim))}


def _evenly(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` indices, evenly spaced over ``count``."""
    spread = np.linspace(0, count - 1, min(count, wanted)).astype(int)
    return [int(index) for index in np.unique(spread)]


def _frames(work: Work, test: ClipSet, attacked: ClipSet) -> dict[str, np.ndarray]:
    """Sample clips before and after, and the trigger's pattern where it has one."""
    moved = np.flatnonzero(work["poisoning"].goal(test.labels, len(test.classes)) >= 0)
    chosen = [int(moved[i]) for i in _evenly(len(moved), SAMPLE_CLIPS)]

    def volumes(clips: ClipSet) -> np.ndarray:
        return np.stack([clips.read(i).permute(0, 2, 3, 1).numpy() for i in chosen])

    arrays = {
        "clean": volumes(test),
        "triggered": volumes(attacked),
        "ids": np.array([test.ids[i] for i in chosen]),
        "labels": np.array([test.classes[test.labels[i]] for i in chosen]),
    }
    pattern = getattr(work["trigger"], "pattern", None)
    if pattern is not None and not getattr(work["trigger"], "varies", False):
        arrays["pattern"] = pattern(test.geometry).volume().real.astype(np.float32)
    return arrays
