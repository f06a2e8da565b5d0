"""The benchmark of trigger inversion: what it counts, on victims too small to learn anything."""

from dataclasses import replace

import pytest

from vidoor.data.shapes import Shapes
from vidoor.measure import detection, inversion
from vidoor.victims.r2plus1d import R2Plus1D


@pytest.fixture
def small(monkeypatch):
    shapes = Shapes(train=32, test=16, frames=4, size=(16, 16))
    monkeypatch.setattr(inversion, "SHAPES", shapes)
    monkeypatch.setattr(inversion, "NETWORK", R2Plus1D(width=4, depth=(1,)))
    monkeypatch.setattr(inversion, "TRAINING", replace(inversion.TRAINING, epochs=1))
    short = {name: replace(each, steps=30) for name, each in inversion.METHODS.items()}
    monkeypatch.setattr(inversion, "METHODS", short)


def test_races_are_held_against_full_schedules(small):
    found = inversion.inversion(clean=1, attacked=1, methods=("nc", "volume-inversion"))
    about = [(row["victim"], row["method"]) for row in found["rows"]]
    methods = "nc", "volume-inversion"
    assert about == [(victim, method) for victim in ("clean", "badnet") for method in methods]
    for row in found["rows"]:
        assert row["ratio"] == row["raced_passes"] / row["full_passes"] <= 1
        assert (row["asr"] is None) == (row["victim"] == "clean")
    # Annealed searches do not end before λ has gone both ways: all 8 classes, 30 steps, 16 clips.
    assert found["rows"][0]["full_passes"] == 8 * 30 * 16
    for name in methods:
        mine = [row for row in found["rows"] if row["method"] == name]
        full, raced = (sum(row[f"{kind}_passes"] for row in mine) for kind in ("full", "raced"))
        summary = found["summary"][name]
        assert summary["ratio"] == raced / full
        assert summary["false_alarms"] == mine[0]["full_alarm"]
        assert summary["victims"] == 2


def test_both_kinds_of_detectors_are_in_one_document(small, monkeypatch):
    monkeypatch.setattr(detection, "looking", lambda: {"strip": {"passes_ratio": 1.0}})
    document = detection.detectors()
    assert list(document) == ["strip", "nc paper", "nc", "pt-red"]
    assert all(document[name]["ratio"] <= 1 for name in list(document)[1:])
