"""What ``vidoor bench decode`` compares is the same work, and its document is complete."""

import numpy as np
import pytest

from vidoor.measure import decode, speed


def test_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few and short clips: its ratios are no measurement, but of the right kind."""
    monkeypatch.setattr(decode, "COPIES", 1)
    monkeypatch.setattr(decode, "LENGTH", 20)
    monkeypatch.setattr(speed.interleaved, "__kwdefaults__", {"runs": 2, "warm": 1})
    found = decode.decode()
    assert set(found) == {
        "ours_over_pyav",
        "cached_over_decode",
        "memory_ratio",
        "codecs",
        "memory",
    }
    assert set(found["codecs"]) == {"h264", "mpeg4"}
    each = [codec["ours_over_pyav"] for codec in found["codecs"].values()]
    assert found["ours_over_pyav"] == min(each) > 0
    memory = found["memory"]
    assert found["memory_ratio"] == memory["more"] / memory["once"]
    assert memory["once"] > 10**8, "Python and torch alone need more"


def test_both_ways_give_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(decode, "COPIES", 1)
    files = decode.files_of(tmp_path_factory.mktemp("clips"))
    for (path,) in files.values():
        read = decode.ways([path], tmp_path_factory.mktemp("cache"))
        ours, theirs, cached = (way(path) for way in read.values())
        assert np.array_equal(ours, cached)
        other = np.stack(theirs).transpose(0, 3, 1, 2)
        assert ours.shape == other.shape
        assert np.abs(ours.numpy().astype(int) - other).mean() < 8, "half a pixel apart at most"
