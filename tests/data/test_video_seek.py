"""Sampled frames are exactly those of a decoding from the first picture to the last.

The oracle is PyAV's own loop over the whole file. Where only groups of pictures are decoded is seen
from outside, by what ``leaping`` is asked and answers.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from videos import decode, encode, noise, remux, replaced, scene

from vidoor.data import _container, _decode, video
from vidoor.data._pixels import Canvas
from vidoor.errors import ClipError
from vidoor.types import Geometry

LENGTH, SIZE = 120, (48, 64)


YES, NO, STUMBLES = frozenset((True,)), frozenset[bool](), frozenset((True, False))


class Form(NamedTuple):
    """How a file is made, and how attempts to read it by groups of pictures end, if any."""

    name: str
    encoder: str
    leaps: frozenset[bool]
    options: dict[str, str]
    pixels: str = "yuv420p"


FORMS = {
    form.name: form
    for form in (
        Form("ffv1.mkv", "ffv1", YES, {"level": "3", "g": "1", "slicecrc": "1"}, "bgr0"),
        Form("ffv1 groups.mkv", "ffv1", YES, {"level": "3", "g": "8", "slicecrc": "1"}, "bgr0"),
        Form("h264.mp4", "libx264", YES, {"g": "12", "bf": "3", "x264-params": "b-pyramid=2"}),
        Form("h264.avi", "libx264", NO, {"g": "10", "bf": "0"}),
        Form("h264 open.mkv", "libx264", YES, {"g": "10", "x264-params": "open-gop=1:bframes=3"}),
        Form("h264 b.avi", "libx264", NO, {"g": "10", "bf": "2"}),
        Form("h264 slow.mkv", "libx264", STUMBLES, {"g": "20", "x264-params": "intra-refresh=1"}),
        Form("mpeg4.mp4", "mpeg4", YES, {"g": "10", "bf": "2", "qmin": "1", "qmax": "1"}),
        Form("mpeg4.avi", "mpeg4", NO, {"g": "10", "bf": "2"}),
        Form("mpeg2.mkv", "mpeg2video", YES, {"g": "10", "bf": "2"}),
        Form("vp8.webm", "libvpx", YES, {"g": "10", "auto-alt-ref": "0", "deadline": "realtime"}),
        Form("vp9.webm", "libvpx-vp9", YES, {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
        Form("mjpeg.avi", "mjpeg", YES, {}, "yuvj420p"),
        Form("gif.gif", "gif", NO, {}, "rgb8"),
    )
}


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """Moving, and never twice the same: what a wrong frame would be taken for shows."""
    rough = noise(LENGTH, 3, *SIZE).float() * 0.2
    return (scene(LENGTH, *SIZE).float() * 0.8 + rough).to(torch.uint8)


@pytest.fixture(scope="module", params=FORMS)
def file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clip: Tensor
) -> tuple[Form, Path, Tensor]:
    form = FORMS[request.param]
    path = tmp_path_factory.mktemp("seek") / form.name
    encode(path, clip, form.encoder, form.pixels, **form.options)
    return form, path, decode(path)


@pytest.fixture
def leaps(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What ``leaping`` answers, each time that it is tried."""
    answers: list[bool] = []

    def noted(*arguments: Any) -> bool:
        answers.append(_decode.leaping(*arguments))
        return answers[-1]

    monkeypatch.setattr(video, "leaping", noted)
    return answers


@pytest.fixture
def read_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, list[int]], Tensor]:
    """Reads the frames of given numbers, whatever ``sample`` would choose."""

    def read(path: Path, wanted: list[int]) -> Tensor:
        monkeypatch.setattr(video, "sample", lambda count, frames: wanted)
        return video.read(path, Geometry(len(wanted), *SIZE))

    return read


def test_twenty_random_samplings(
    file: tuple[Form, Path, Tensor],
    leaps: list[bool],
    read_at: Callable[[Path, list[int]], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    form, path, every = file
    assert len(every) == LENGTH
    rng = np.random.default_rng(0)
    for trial in range(20):
        # kept between counting and decoding, or read again
        monkeypatch.setattr(_container, "HELD", (0, 2**25)[trial % 2])
        wanted = sorted(rng.choice(LENGTH, rng.integers(1, 9), replace=False).tolist())
        assert torch.equal(read_at(path, wanted), every[wanted]), wanted
    assert set(leaps) == form.leaps


@pytest.mark.parametrize("count", [1, 2, 7, 16, 61, 119, 120])
def test_the_usual_sampling(file: tuple[Form, Path, Tensor], count: int) -> None:
    _, path, every = file
    wanted = [i * (LENGTH - 1) // max(count - 1, 1) for i in range(count)]
    assert torch.equal(video.read(path, Geometry(count, *SIZE)), every[wanted])


def test_dense_samplings_decode_everything(
    file: tuple[Form, Path, Tensor], leaps: list[bool]
) -> None:
    _, path, _ = file
    video.read(path, Geometry(LENGTH // 2 + 1, *SIZE))
    assert not leaps


@pytest.fixture
def grouped(tmp_path: Path, clip: Tensor) -> Path:
    return encode(tmp_path / "a.mkv", clip, "libx264", g="12", bf="2")


def damaged(source: Path, target: Path, hurt: int) -> Path:
    """The same file with one packet that no decoder takes."""

    def break_up(index: int, packet: Any) -> Any:
        return replaced(packet, b"\xff" * packet.size) if index == hurt else packet

    return remux(source, target, break_up)


def test_damage_among_the_frames_asked_for_is_told_as_ever(
    grouped: Path, tmp_path: Path, leaps: list[bool]
) -> None:
    """The sparse reading stumbles, the whole one says why."""
    path = damaged(grouped, tmp_path / "b.mkv", 0)
    reasons = set()
    for geometry in (Geometry(3, *SIZE), None):
        with pytest.raises(ClipError) as caught:
            video.read(path, geometry)
        reasons.add(caught.value.reason)
    assert leaps == [False]
    assert len(reasons) == 1 and reasons.pop().startswith("truncated: 0 of 120 frames decode")


def test_damage_elsewhere_does_not_touch_the_frames_asked_for(
    grouped: Path, tmp_path: Path, leaps: list[bool], read_at: Callable[[Path, list[int]], Tensor]
) -> None:
    every = decode(grouped)
    path = damaged(grouped, tmp_path / "b.mkv", 50)
    assert torch.equal(read_at(path, [3, 110]), every[[3, 110]])
    assert leaps == [True]
    with pytest.raises(ClipError, match="truncated: "):
        video.read(path)


def test_missing_packets_are_never_leapt_over(
    grouped: Path, tmp_path: Path, read_at: Callable[[Path, list[int]], Tensor]
) -> None:
    path = tmp_path / "cut.mkv"
    path.write_bytes(grouped.read_bytes()[: grouped.stat().st_size * 3 // 4])
    with pytest.raises(ClipError, match=r"^.*cut.mkv: truncated: \d+ of 120 frames decode"):
        read_at(path, [0, 1])


def test_a_slow_refresh_is_no_beginning(tmp_path: Path, clip: Tensor) -> None:
    """x264 marks where a refresh begins as a key frame, which no decoder then shows."""
    form = FORMS["h264 slow.mkv"]
    path = encode(tmp_path / form.name, clip, form.encoder, **form.options)
    with _container.opened(path) as (container, stream):
        counted = _container.census(path, container, stream)
    first, second = counted.keys[1:3]
    assert counted.times is not None and counted.held is not None
    shown = counted.times[second - 1]
    for starts, good in ((set(), True), ({counted.times[first]}, False)):
        plan = _decode.Plan([(first, second - 1)], frozenset(starts), {shown: 0})
        canvas = Canvas(path, 1, Geometry(1, *SIZE))
        with _container.opened(path) as (container, stream):
            source = _container.packets(container, stream)
            assert _decode.leaping(stream, source, plan, canvas) == good


@pytest.mark.parametrize("name", ["ffv1.mkv", "mjpeg.mkv", "h264.mkv", "mpeg2video.mkv"])
@pytest.mark.parametrize("far", [1, 30])
def test_times_that_are_no_order(
    tmp_path: Path, clip: Tensor, read_at: Callable[[Path, list[int]], Tensor], name: str, far: int
) -> None:
    """A decoder gives the pictures in an order of its own, whatever times a file has for them."""
    encoder, pixels = {"h264": ("libx264", "yuv420p"), "mjpeg": ("mjpeg", "yuvj420p")}.get(
        Path(name).stem, (Path(name).stem, "yuv420p")
    )
    source = encode(tmp_path / f"source{Path(name).suffix}", clip, encoder, pixels, g="10", bf="0")
    with av.open(str(source)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    tick = times[1] - times[0]
    for at in range(5, LENGTH - far, 2 * far + 3):  # two of them change places
        times[at], times[at + far] = times[at + far], times[at]

    def mix_up(index: int, packet: Any) -> Any:
        packet.pts, packet.dts = times[index] + 2 * LENGTH * tick, index * tick
        return packet

    path = remux(source, tmp_path / name, mix_up)
    every = decode(path)
    for wanted in ([5], [6], [5 + far], [4 + far], [70], [3, 72], [110]):
        assert torch.equal(read_at(path, wanted), every[wanted]), wanted


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=12),
    data=st.data(),
)
def test_runs_hold_what_is_wanted(groups: list[tuple[int, int]], data: st.DataObject) -> None:
    """Groups of a key frame, ``leading`` pictures shown before it, and others shown after it.

    Each wanted packet lies in one run, which begins with a key frame, one that is shown no later
    than that packet's picture, and ends behind all pictures of its group that are shown before it;
    runs ascend and are apart.
    """
    times: list[int] = []
    keys: list[int] = []
    for trailing, leading in groups:
        leading = leading if keys else 0
        shown = len(times)
        keys.append(len(times))
        order = [leading, *range(leading), *range(leading + 1, leading + trailing)]
        times += [shown + at for at in order]
    assert sorted(times) == list(range(len(times)))
    ends = sorted(data.draw(st.sets(st.sampled_from(range(len(times))), min_size=1)))
    runs = _decode._runs(times, keys, ends)
    for end in ends:
        (run,) = [run for run in runs if run[0] <= end <= run[1]]
        assert run[0] in keys
        assert run[0] <= max(key for key in keys if key <= end and times[key] <= times[end])
        group = range(end, min([key for key in keys if key > end], default=len(times)))
        assert all(at <= run[1] for at in group if times[at] < times[end])
    assert all(before[1] + 1 < after[0] for before, after in pairwise(runs))
