"""What ``vidoor bench audit`` measures, on few and small clips."""

from collections import Counter
from pathlib import Path

import pytest

from vidoor.measure import audit, detection
from vidoor.types import Geometry


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same measurements of so little that they take seconds."""
    small = {"FILES": 3, "LENGTH": 4, "HEIGHT": 24, "WIDTH": 32, "RUNS": 1}
    sizes = {"GEOMETRY": Geometry(4, 16, 16), "HELD": Geometry(4, 16, 16)}
    for name, value in {**small, **sizes, "SKETCH": 8, "GROWN": 2}.items():
        monkeypatch.setattr(audit, name, value)
    monkeypatch.setattr(audit, "find_spec", lambda name: None)


def test_the_clips_differ_and_are_the_same_each_time(few: None, tmp_path: Path) -> None:
    clips = audit._clips(tmp_path)
    read = [clips.read(index).numpy().tobytes() for index in range(3 * 16 * 16)]
    assert len(set(read)) == len(read)
    assert [clips.read(index).numpy().tobytes() for index in (0, 5, 700)] == [
        read[0],
        read[5],
        read[700],
    ]
    assert clips.read(0).shape == (4, 3, 16, 16)


def test_reading_and_the_audit_read_each_clip_once(few: None, monkeypatch) -> None:
    """So the ratio is of what is done with the clips."""
    monkeypatch.setattr(audit, "CLIPS", 12)
    seen: Counter[int] = Counter()
    turn = audit.Turned.__call__
    monkeypatch.setattr(
        audit.Turned, "__call__", lambda self, i: (seen.update([i]), turn(self, i))[1]
    )
    peaks = iter((300, 345))
    monkeypatch.setattr(detection, "rss_anon", lambda: 200)
    monkeypatch.setattr(detection, "peak_of", lambda run: next(peaks))
    found = audit.audit()
    assert seen == Counter(dict.fromkeys(range(12), 2))
    assert (found["clips"], found["memory"], found["memory_ratio"]) == (12, 100, 1.45)
    assert found["over_decode"] > 0 and found["time_ratio"] > 0 and "workers" not in found
