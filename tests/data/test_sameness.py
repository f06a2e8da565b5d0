"""Stamps and contents of files: what tells a file from another one in its place."""

import os
from pathlib import Path

import pytest

from vidoor.data import sameness


def times(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_atime_ns, status.st_mtime_ns


def test_another_file_of_the_same_size_and_time_has_another_stamp(tmp_path: Path) -> None:
    clip, other = tmp_path / "a.mkv", tmp_path / "other"
    clip.write_bytes(b"one")
    before, seen = sameness.stamp(clip), times(clip)
    other.write_bytes(b"two")
    os.utime(other, ns=seen)
    other.rename(clip)
    assert times(clip) == seen
    assert before is not None and not sameness.is_still(clip, before)


def test_a_file_that_is_left_alone_is_still_the_same_and_settles(tmp_path: Path, monkeypatch):
    clip = tmp_path / "a.mkv"
    clip.write_bytes(b"one")
    before = sameness.stamp(clip)
    assert before is not None and not before.settled and sameness.is_still(clip, before)
    monkeypatch.setattr(sameness, "SETTLED", 0)
    after = sameness.stamp(clip)
    assert after is not None and after.settled and after.digest == before.digest


@pytest.mark.parametrize("change", ["bytes", "name", "more"])
def test_a_folder_is_its_files(change: str, tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    (clip / "1.png").write_bytes(b"one")
    before = sameness.stamp(clip), sameness.content(clip)
    assert before == (sameness.stamp(clip), sameness.content(clip))
    if change == "bytes":
        (clip / "1.png").write_bytes(b"two")
    elif change == "name":
        (clip / "1.png").rename(clip / "2.png")
    else:
        (clip / "2.png").write_bytes(b"")
    assert sameness.stamp(clip) != before[0] and sameness.content(clip) != before[1]


def test_what_cannot_be_looked_at_has_neither(tmp_path: Path) -> None:
    assert sameness.stamp(tmp_path / "none") is None
    assert sameness.content(tmp_path / "none") is None
