"""What ``vidoor bench audit`` measures, on few and small clips."""

from pathlib import Path

import pytest

from vidoor.measure import audit
from vidoor.types import Geometry


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same measurements of so little that they take seconds."""
    small = {"CLIPS": 12, "FILES": 3, "LENGTH": 4, "HEIGHT": 24, "WIDTH": 32, "RUNS": 1}
    sizes = {"GEOMETRY": Geometry(4, 16, 16), "HELD": Geometry(4, 16, 16)}
    for name, value in {**small, **sizes, "SKETCH": 8, "GROWN": 2}.items():
        monkeypatch.setattr(audit, name, value)
    monkeypatch.setattr(audit, "find_spec", lambda name: None)


def test_the_clips_differ_and_are_the_same_each_time(few: None, tmp_path: Path) -> None:
    clips = audit._clips(tmp_path)
    read = [clips.read(index) for index in range(len(clips))]
    assert len({clip.numpy().tobytes() for clip in read}) == len(clips) == 12
    assert all(clips.read(index).equal(clip) for index, clip in enumerate(read))
    assert {tuple(clip.shape) for clip in read} == {(4, 3, 16, 16)}


def test_ratios_are_of_what_was_timed(few: None) -> None:
    found = audit.audit()
    assert found["over_decode"] == found["seconds_read"] / found["seconds_audit"]
    assert found["clips_per_second"] == found["clips"] / found["seconds_audit"]
    assert found["clips"] == 12 and "workers" not in found
    assert found["time_ratio"] > 0 and found["memory_ratio"] > 0
