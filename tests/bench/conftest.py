"""Small recipes for the bench."""

import pytest

from vidoor.bench.plan import plan
from vidoor.bench.sweep import Swept, sweep
from vidoor.document import override

TINY = {
    "data": {
        "kind": "shapes", "train": 24, "test": 16, "frames": 4, "size": [16, 16], "classes": 4
    },
    "trigger": {"kind": "dft", "rms": 4.0},
    "victim": {"kind": "r2plus1d", "width": 4, "depth": [1]},
    "training": {"epochs": 1, "batch_size": 8},
    "runtime": {"device": "cpu", "executor": "here"},
}  # fmt: skip


@pytest.fixture(scope="session")
def tiny():
    """A tiny recipe document with overrides."""
    return lambda *overrides: override(TINY, overrides)


@pytest.fixture
def perform(tiny, tmp_path):
    """Runs a tiny document, in this process, below ``tmp_path``."""

    def run(*overrides: str) -> Swept:
        return sweep(plan(tiny(*overrides), tmp_path))

    return run
