"""Transcoding is writing a file and reading it, and no file stays."""

import tempfile

import numpy as np
import pytest
import torch

from vidoor.data import video
from vidoor.data.transcoding import transcode
from vidoor.errors import DataError

CLIP = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 16, 20), dtype=np.uint8))


@pytest.mark.parametrize(("codec", "quality"), [("ffv1", None), ("h264", 30), ("mpeg4", None)])
def test_it_is_a_file_written_and_read_and_none_stays(tmp_path, monkeypatch, codec, quality):
    video.write(tmp_path / "clip.mkv", CLIP, codec=codec, quality=quality)
    expected = video.read(tmp_path / "clip.mkv")
    assert torch.equal(expected, CLIP) == (codec == "ffv1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    given = CLIP.clone()
    assert torch.equal(transcode(given, codec, quality), expected)
    assert torch.equal(given, CLIP)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.parametrize(
    ("codec", "quality", "line"),
    [
        ("h265", None, "unknown codec 'h265'; valid: ffv1, h264, mpeg4; did you mean 'h264'?"),
        ("h264", 52, "quality 52 does not fit h264; valid: 0..51"),
    ],
)
def test_what_does_not_fit_gets_one_line(codec, quality, line):
    with pytest.raises(DataError) as caught:
        transcode(CLIP, codec, quality)
    assert str(caught.value) == line
