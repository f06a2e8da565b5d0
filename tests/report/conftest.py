"""One made-up finished run, whole: no number or picture of it was measured anywhere."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidoor import SCHEMA

CLASSES = ["left", "right", "up", "down", "grow", "shrink", "clockwise", "anticlockwise"]
RECIPE = """\
name = "demo"
seed = 0

[data]
kind = "shapes"
train = 1600  # not "all" & not <none>

[trigger]
kind = "dft"
rms = 1.16

[poisoning]
rate = 0.2
target = 0

[victim]
kind = "r2plus1d"
width = 16
epochs = 8

[detector.coherence]
"""


@pytest.fixture
def record() -> dict[str, Any]:
    """A made-up run: every number below is invented, none was measured."""
    clean = [0.31, 0.62, 0.81, 0.9, 0.94, 0.96, 0.975, 0.98]
    poisoned = [0.3, 0.6, 0.8, 0.88, 0.93, 0.95, 0.97, 0.975]
    success = [0.12, 0.55, 0.97, 0.99, 1.0, 1.0, 1.0, 1.0]
    return {
        "schema": SCHEMA, "run_id": "3f2a9c04d1e7", "name": "demo", "arm": "", "seed": 0,
        "clean_acc": 0.98, "acc": 0.975, "asr": 1.0, "asr_variant": "strict", "asr_paper": 1.0,
        "psnr": 43.1, "ssim": 0.995,
        "flagged": {"detector": "coherence", "tpr": 1.0, "fpr": 0.0},
        "data": {
            "kind": "shapes", "classes": CLASSES, "train": 1600, "test": 400,
            "geometry": [16, 48, 48],
            "quarantined": [{"id": "up/0007.mp4", "reason": "unreadable: moov atom not found"}],
            "note": "Clips of one scene are on both sides of the split.",
        },
        "trigger": {
            "kind": "dft", "rms": 1.16, "delta": 1234.5, "start": 35, "count": 10,
            "transform_frames": 45, "projection": "clip",
        },
        "poisoning": {
            "rate": 0.2, "target": 0, "target_class": "left", "labels": "all-to-one",
            "poisoned": 280,
        },
        "victim": {"kind": "r2plus1d", "width": 16, "parameters": 123456},
        "curves": {
            "clean": [{"epoch": e + 1, "loss": 2 - e / 4, "acc": a} for e, a in enumerate(clean)],
            "poisoned": [
                {"epoch": e + 1, "loss": 1.9 - e / 4.5, "acc": a, "asr": s}
                for e, (a, s) in enumerate(zip(poisoned, success, strict=True))
            ],
        },
        "detectors": {
            "coherence": {
                "alarm": True, "threshold": 3.1, "calibration": "cross-fitted scores, 1 % of clean",
                "flagged": 280, "tpr": 1.0, "fpr": 0.0, "auroc": 1.0,
                "evidence": {
                    "J": 580.0, "members": [f"clip {i:04}" for i in range(280)],
                    "same_footage": [[f"up/{i}.mp4", f"up/{i} (1).mp4"] for i in range(7)],
                },
                "cost": {"forward": 0, "backward": 0, "seconds": 75.0},
            },
            "inversion": {
                "alarm": True, "threshold": 5.0, "calibration": "six models", "flagged": 1,
                "tpr": 1.0, "fpr": 0.0, "auroc": 1.0, "evidence": {"ratio": 0.26},
            },
        },
        "mitigations": {
            "fine-tuning": {
                "acc": 0.97, "asr": 0.9, "probes": {"band 20": {"asr": 0.371, "asr_paper": 0.4}},
                "cost": {"forward": 400, "backward": 400, "seconds": 6.5, "memory": 300_000_000},
            },
        },
        "probes": {
            "band 20": {
                "test": {"kind": "dft", "rms": 1.39, "start": 20}, "asr": 0.412, "asr_paper": 0.45,
                "control": {"asr": 0.023, "asr_paper": 0.03},
            },
        },
        "seconds": {"total": 101.2, "train": 80.0, "detect": 18.0, "evaluate": 3.2},
        "cost": {
            "data": {"forward": 0, "backward": 0, "seconds": 1.5, "memory": None},
            "train clean": {
                "forward": 12800, "backward": 12800, "seconds": 78.5, "memory": 800_000_000,
            },
        },
        "environment": {"vidoor": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "threads": 1},
        "recipe": tomllib.loads(RECIPE),
    }  # fmt: skip


@pytest.fixture
def arrays() -> tuple[dict[str, Any], dict[str, Any]]:
    """Made-up frames (a square that moves over a gradient) and scores, from a fixed seed."""
    draw = np.random.default_rng(0)
    t, h, w = 16, 48, 48
    rows = np.array([np.isin(np.arange(n), draw.integers(0, n, 6)) for n in (h, w)])
    wave = np.exp(2j * np.pi * np.outer(np.arange(t), np.arange(35, 45)) / 45).sum(1)
    rows = np.fft.ifft(rows, axis=1)
    pattern = (wave[:, None, None] * np.multiply.outer(rows[0], rows[1])).real
    pattern *= 1.16 / pattern.std()
    clean = np.empty((4, t, h, w, 3), np.uint8)
    for clip in clean:
        shade = np.linspace(*draw.integers(30, 220, 2), w)
        clip[:] = (shade[None, :, None] * draw.uniform(0.5, 1.0, 3)).astype(np.uint8)
        top, colour = draw.integers(4, 30), draw.integers(0, 255, 3)
        for frame in range(t):
            clip[frame, top : top + 12, 2 * frame : 2 * frame + 12] = colour
    triggered = np.clip(clean + pattern[None, ..., None], 0, 255).round().astype(np.uint8)
    frames = {
        "clean": clean, "triggered": triggered,
        "ids": np.array([f"{c}/0{i}12.mp4" for i, c in enumerate(CLASSES[1:5])]),
        "labels": np.array(CLASSES[1:5]),
        "pattern": pattern.astype(np.float32),
        "template": (pattern + draw.normal(0, 1.2, pattern.shape)).astype(np.float32),
    }  # fmt: skip
    truth = np.arange(1600) < 280
    scores = {
        "coherence.ids": np.array([f"clip {i:04}" for i in range(1600)]),
        "coherence.scores": np.where(truth, draw.normal(9, 1, 1600), draw.normal(0, 0.8, 1600)),
        "coherence.poisoned": truth,
        "inversion.ids": np.array(CLASSES),
        "inversion.scores": np.array([9.5, 0.4, -0.2, 1.1, 0.0, 0.7, -1.3, 0.2]),
        "inversion.poisoned": np.arange(8) == 0,
    }
    return frames, scores


@pytest.fixture
def write(tmp_path: Path, record: Any, arrays: Any) -> Callable[..., Path]:
    """Writes the folder of a run: the record and the arrays, or what the call replaces them by."""

    def folder(**parts: Any) -> Path:
        frames, scores = arrays
        whole = {"frames": frames, "scores": scores, **parts}
        (tmp_path / "result.json").write_text(json.dumps(parts.get("record", record)), "utf-8")
        (tmp_path / "recipe.toml").write_text(parts.get("recipe", RECIPE), "utf-8")
        for name in ("frames", "scores"):
            np.savez(tmp_path / f"{name}.npz", **whole[name])
        return tmp_path

    return folder
