"""What ``vidoor bench detectors`` measures: passes that could have been spared, and memory.

A detector that looks at a victim cannot do with less than one pass of each clip that it judges;
STRIP's definition asks for one of each blend. Memory must not grow with the set. Those that search
for triggers are measured in ``inversion``.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch

from vidoor.detectors.activation_clustering import ActivationClustering
from vidoor.detectors.spectral_signatures import SpectralSignatures
from vidoor.detectors.strip import STRIP
from vidoor.measure.inversion import inversion
from vidoor.meter import metered
from vidoor.types import ClipSet, Geometry
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim

CLIPS, SCREENED, GROWN = 250, 60, 8
"""Clips of the smaller set, the same for STRIP, and how many times as many the larger ones have."""

GEOMETRY = Geometry(8, 32, 32)
CLASSES = 8
AT_ONCE = 8
"""Clips that STRIP is given in one batch."""

OVERLAYS, HELD_OUT = 4, 16
WARM = 3
"""Runs before the first that is measured, after which what is allocated once is there."""

INTERVAL = 0.002
"""Seconds between two looks at memory."""


def detectors() -> dict[str, Any]:
    """What ``looking`` measures, and ``inversion.inversion`` of one clean and one attacked
    victim, in sum, which takes minutes: a document for each method."""
    return {**looking(), **inversion()["summary"]}


def looking() -> dict[str, Any]:
    """For each detector that looks at clips, on clips of noise and a small R(2+1)D:

    ``clips``         that were judged
    ``passes``        clips that passed the victim
    ``unavoidable``   those without which there is no answer
    ``passes_ratio``  the first over the second
    ``peak``          MiB of anonymous memory above that before the first run
    ``peak_grown``    the same for eight times as many clips
    ``growth``        bytes of the second beyond the first, for each byte of the further clips

    A detector that held its clips would grow by 1 or more; allocators make it differ from 0 a bit.
    GPU memory does not count.
    """
    victim = victims.build(R2Plus1D(width=4, depth=(1, 1)), CLASSES, 0).eval()
    strip = STRIP(overlays=OVERLAYS, held_out=HELD_OUT)
    known = noise(2 * (OVERLAYS + HELD_OUT))
    return {
        "activation-clustering": _measured(
            partial(_inspect, ActivationClustering(), victim), CLIPS, CLIPS
        ),
        "spectral-signatures": _measured(
            partial(_inspect, SpectralSignatures(), victim), CLIPS, CLIPS
        ),
        "strip": _measured(
            partial(_screen, strip, victim, known), SCREENED, OVERLAYS * (HELD_OUT + SCREENED)
        ),
    }


def _inspect(detector: Any, victim: Victim, clips: ClipSet) -> object:
    return detector.inspect(clips, victim=victim)


def _screen(detector: STRIP, victim: Victim, known: ClipSet, clips: ClipSet) -> object:
    screen = detector.fit(victim, known)
    return [
        screen.score(torch.stack([clips.read(i) for i in range(at, min(at + AT_ONCE, len(clips)))]))
        for at in range(0, len(clips), AT_ONCE)
    ]


def _measured(run: Callable[[ClipSet], object], count: int, unavoidable: int) -> dict[str, Any]:
    small, large = noise(count), noise(GROWN * count)
    before = rss_anon()
    for _ in range(WARM):
        run(small)
    with metered() as meter:
        peak = peak_of(lambda: run(small))
    grown = peak_of(lambda: run(large))
    further = (len(large) - len(small)) * 3 * prod(GEOMETRY)
    return {
        "clips": count,
        "passes": meter.cost.forward,
        "unavoidable": unavoidable,
        "passes_ratio": meter.cost.forward / unavoidable,
        "peak": (peak - before) / 2**20,
        "peak_grown": (grown - before) / 2**20,
        "growth": (grown - peak) / further,
    }


def noise(count: int, geometry: Geometry = GEOMETRY) -> ClipSet:
    """Clips of noise, each made when it is read."""

    def read(index: int) -> torch.Tensor:
        rng = torch.Generator().manual_seed(index)
        frames, height, width = geometry
        return torch.randint(256, (frames, 3, height, width), generator=rng, dtype=torch.uint8)

    return ClipSet(
        ids=tuple(map(str, range(count))),
        labels=tuple(index % CLASSES for index in range(count)),
        classes=tuple(f"class {label}" for label in range(CLASSES)),
        geometry=geometry,
        read=read,
    )


def peak_of(run: Callable[[], object]) -> int:
    """Most bytes of anonymous memory that this process has while ``run`` runs."""
    gc.collect()
    with _watched() as seen:
        run()
    return seen.highest


@dataclass
class _Seen:
    highest: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.over.wait(INTERVAL):
            self.highest = max(self.highest, rss_anon())


@contextmanager
def _watched() -> Iterator[_Seen]:
    seen = _Seen(rss_anon())
    watcher = threading.Thread(target=seen.watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        seen.over.set()
        watcher.join()


def rss_anon() -> int:
    """Bytes of resident memory that no file is behind; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("RssAnon:"))
    return next((int(words[1]) * 1024 for words in lines), 0)
