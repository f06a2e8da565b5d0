"""A short run of ``benchmarks/fuzz.py``: no file harms more than itself."""

import importlib.util
from pathlib import Path

from vidoor.data.guard import Limits

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
assert spec is not None and spec.loader is not None
fuzz = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


def test_forty_mutants() -> None:
    found = fuzz.fuzz(42, seed=7, limits=Limits(seconds=20.0, workers=2))
    assert found["files"] == 42
    assert found["read"] + sum(found["reasons"].values()) == 42
    assert found["unaccounted"] == found["leaked"] == found["timeouts"] == 0
    assert 0 < found["read"] < 42, "harmless changes are read, others are seen"
    assert found["slowest"] < 60


def test_mutants_are_repeatable_and_changed() -> None:
    first, again = (list(fuzz.mutants(30, seed=3)) for _ in range(2))
    assert first == again
    assert first != list(fuzz.mutants(30, seed=4))
    whole = {data for _, data in fuzz.sources()}
    assert sum(data in whole for _, data in first) <= 2
    assert {name.split("-")[1].split(".")[0] for name, _ in first} == {
        mutation.__name__ for mutation in fuzz.MUTATIONS
    }
