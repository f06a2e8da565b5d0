"""Files that are not what they say: each is whole or refused, with one line."""

import socket
import struct
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import decode, encode, jpeg_frames, noise, remux, scene

from vidoor.data import _container, video
from vidoor.data._pixels import Canvas
from vidoor.errors import ClipError
from vidoor.types import Geometry

FILES = {"ffv1": "clip.mkv", "h264": "clip.mp4", "mpeg4": "clip.avi"}


@pytest.fixture(scope="module", params=FILES)
def coded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / FILES[request.param]
    video.write(path, scene(41), codec=request.param)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ClipError) as both:
        video.read(path)
    with pytest.raises(ClipError) as caught:
        video.read(path, Geometry(4, 16, 16))
    assert caught.value.reason == both.value.reason
    assert caught.value.clip == str(path)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.reason.startswith(video.REASONS)
    return caught.value.reason


def test_what_is_no_clip_at_all(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.mp4") == "no such file"
    assert refused(tmp_path) == "no frames: a folder without .jpg, .jpeg or .png files"
    (tmp_path / "empty.mp4").touch()
    assert refused(tmp_path / "empty.mp4") == "empty file"
    (tmp_path / "text.mp4").write_text("not a clip\n" * 99)
    assert refused(tmp_path / "text.mp4").startswith("unreadable: Invalid data")


def test_a_playlist_in_disguise_reaches_no_network(tmp_path: Path) -> None:
    """A folder of clips from a stranger must not make the reader call home."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n"
        for name in ("list.m3u8", "list.mp4"):
            (tmp_path / name).write_text(text)
            assert refused(tmp_path / name).startswith(("unreadable", "no video"))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", ["http:a.mkv", "concat:a.mkv|b.mkv", "clip%03d.mkv"])
def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    video.write(name, clip := scene(2))
    assert torch.equal(video.read(name), clip)


def test_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refused(tmp_path / "a.mkv") == "no video stream"


def test_no_decoder(tmp_path: Path) -> None:
    video.write(tmp_path / "a.avi", scene(3), codec="mpeg4")
    data = (tmp_path / "a.avi").read_bytes().replace(b"FMP4", b"QQQQ").replace(b"fmp4", b"qqqq")
    (tmp_path / "a.avi").write_bytes(data)
    assert refused(tmp_path / "a.avi").startswith(("unreadable", "no video stream"))


def test_old_code_pages_in_titles_do_no_harm(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mkv", clip := scene(3))
    path = remux(tmp_path / "a.mkv", tmp_path / "b.mkv", title="caf~ noir")
    assert b"caf~" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"caf~", b"caf\xe9"))
    assert torch.equal(video.read(path), clip)


def patched(path: Path, mark: bytes, offset: int, old: int, new: int) -> None:
    """Put another 32-bit number behind a mark in an AVI header."""
    data = bytearray(path.read_bytes())
    at = data.index(mark) + 8 + offset
    assert struct.unpack_from("<I", data, at) == (old,)
    struct.pack_into("<I", data, at, new)
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_avi_headers_that_overstate_their_frames(tmp_path: Path, codec: str) -> None:
    """In the main header (dwTotalFrames) and in the stream's (dwLength), which counts."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / "a.avi", scene(20), codec, pixels)
    patched(path, b"avih", 16, 20, 57)
    assert len(video.read(path)) == 20, "the stream's header is the one that players heed"
    patched(path, b"strh", 32, 20, 57)
    assert refused(path) == "truncated: 20 of 57 frames decode"


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        (10**6, "truncated: 20 of 1000000 frames decode"),
        (10**6 + 1, "too large: 1000001 pictures or more, at most 1000000 are read"),
        (2**31 - 1, "too large: 2147483647 pictures or more, at most 1000000 are read"),
    ],
)
def test_a_header_that_claims_a_million_frames(tmp_path: Path, claimed: int, reason: str) -> None:
    video.write(tmp_path / "a.avi", scene(20), codec="mpeg4")
    patched(tmp_path / "a.avi", b"strh", 32, 20, claimed)
    assert refused(tmp_path / "a.avi") == reason


def test_more_pictures_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matroska has no count to go by: the packets are counted, and only so far."""
    video.write(tmp_path / "a.mkv", scene(20))
    monkeypatch.setattr(_container, "MOST_PICTURES", 19)
    assert refused(tmp_path / "a.mkv") == "too large: 20 pictures or more, at most 19 are read"


def test_too_many_frames_to_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a geometry only: sampled, a long clip is as small as a short one."""
    video.write(tmp_path / "a.mkv", scene(20))
    monkeypatch.setattr(_container, "MOST_FRAMES", 19)
    with pytest.raises(ClipError, match="too large: 20 frames of 64×48 at once"):
        video.read(tmp_path / "a.mkv")
    assert len(video.read(tmp_path / "a.mkv", Geometry(4, 48, 64))) == 4


def test_pictures_that_turn_out_larger_than_the_header_says(tmp_path: Path) -> None:
    path = jpeg_frames(tmp_path / "a.avi", [(48, 64), (48, 64), (4352, 4096), (48, 64)])
    reason = "too large: pictures of 4096×4352, at most 16.8 million pixels are read"
    assert refused(path) == reason


def test_pictures_of_several_sizes(tmp_path: Path) -> None:
    """Sampled ones are scaled, each by itself; as they are they make no clip."""
    path = jpeg_frames(tmp_path / "a.avi", [(48, 64), (48, 64), (96, 128), (48, 64)])
    with pytest.raises(ClipError, match="unreadable: frame 3 is 128×96, the first 64×48"):
        video.read(path)
    assert video.read(path, Geometry(4, 16, 16)).flatten(1).any(1).all()


@pytest.mark.parametrize(("encoder", "name"), [("libx264", "a.mp4"), ("libx264", "a.mkv")])
def test_8k_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str, name: str
) -> None:
    clip = torch.zeros(1, 3, 4320, 7680, dtype=torch.uint8)
    path = encode(tmp_path / name, clip, encoder, preset="ultrafast")
    monkeypatch.setattr(video, "straight", None)  # what decodes is not reached
    monkeypatch.setattr(video, "leaping", None)
    reason = "too large: pictures of 7680×4320, at most 16.8 million pixels are read"
    assert refused(path) == reason


@pytest.mark.parametrize("frames", [1, 7])
def test_too_short(tmp_path: Path, frames: int) -> None:
    """Short clips are padded, as the paper does, unless a minimum is asked for."""
    video.write(tmp_path / "a.mkv", scene(frames))
    assert len(video.read(tmp_path / "a.mkv", Geometry(16, 48, 64), least=frames)) == 16
    for geometry in (Geometry(16, 48, 64), None):
        with pytest.raises(ClipError) as caught:
            video.read(tmp_path / "a.mkv", geometry, least=8)
        assert caught.value.reason == f"too short: frames: {frames}, asked for: 8 or more"


@pytest.mark.parametrize("part", np.linspace(0.05, 1, 19, endpoint=False).tolist())
def test_a_cut_gif_is_refused(tmp_path: Path, part: float) -> None:
    """FFmpeg would patch its last picture and count no others."""
    encode(tmp_path / "a.gif", noise(12, 3, 24, 32), "gif", "rgb8")
    data = (tmp_path / "a.gif").read_bytes()
    assert len(video.read(tmp_path / "a.gif")) == 12
    (tmp_path / "cut.gif").write_bytes(data[: int(len(data) * part)])
    known = ("truncated: its end is missing", "unreadable: ", "no frames", "no video stream")
    assert refused(tmp_path / "cut.gif").startswith(known)


def test_the_last_byte_of_a_gif(tmp_path: Path) -> None:
    encode(tmp_path / "a.gif", noise(12, 3, 24, 32), "gif", "rgb8")
    data = (tmp_path / "a.gif").read_bytes()
    assert data.endswith(b"\x00\x3b")
    (tmp_path / "a.gif").write_bytes(data[:-1])
    assert refused(tmp_path / "a.gif") == "truncated: its end is missing, 12 frames decode"
    (tmp_path / "a.gif").write_bytes(data + b"junk behind it does no harm")
    assert len(video.read(tmp_path / "a.gif")) == 12


def test_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks it, FFmpeg or numpy."""
    video.write(tmp_path / "a.mkv", scene(3))

    for error in (MemoryError(), av.error.MemoryError(12, "Cannot allocate memory")):
        monkeypatch.setattr(Canvas, "put", Mock(side_effect=error))
        assert refused(tmp_path / "a.mkv") == "out of memory"


def cut_off(path: Path, folder: Path, part: float) -> Path:
    if path.suffix == ".mp4":  # with its index in front, else nothing of it can be read
        path = remux(path, folder / "front.mp4", movflags="+faststart")
    data = path.read_bytes()
    cut = folder / f"cut{path.suffix}"
    cut.write_bytes(data[: int(len(data) * part)])
    return cut


@pytest.mark.parametrize("part", np.linspace(0.02, 1, 19, endpoint=False).tolist())
def test_a_cut_file_is_whole_or_refused(coded: Path, tmp_path: Path, part: float) -> None:
    cut = cut_off(coded, tmp_path, part)
    try:
        clip = video.read(cut)
    except ClipError as error:
        known = ("truncated: ", "unreadable: ", "damaged: ", "no frames", "no video stream")
        assert error.reason.startswith(known)
    else:
        assert torch.equal(clip, decode(coded)), "read short in silence"
        assert part > 0.8, "only an index behind the last frame may be missing"


def test_lost_frames_are_counted(coded: Path, tmp_path: Path) -> None:
    """A file whose packets break off: the number that its header gives is in the message."""
    reason = refused(cut_off(coded, tmp_path, 0.7))
    assert reason.startswith("truncated: ") and " of 41 frames decode" in reason
    assert 0 < int(reason.split()[1]) < 41


@pytest.mark.parametrize("kept", [1, 2, 20, 40])
def test_matroska_without_packet_lengths(tmp_path: Path, kept: int) -> None:
    """Without a frame rate in its header only the steps between frames tell when it should end."""
    video.write(tmp_path / "a.mkv", scene(41))
    path = remux(tmp_path / "a.mkv", tmp_path / "b.mkv")
    with av.open(str(path)) as container:
        packets = [(p.pos, p.duration) for p in container.demux(video=0) if p.size]
    assert packets[0][1] == 0
    assert len(video.read(path)) == 41
    path.write_bytes(path.read_bytes()[: packets[kept][0]])
    assert refused(path) == f"truncated: {kept} of 41 frames decode"


@settings(max_examples=30, deadline=None)
@given(index=st.integers(0, 3), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_of_an_ffv1_frame_shows(
    tmp_path_factory: pytest.TempPathFactory, index: int, place: float, bit: int
) -> None:
    """The decoder itself would patch the frame and say nothing."""
    path = tmp_path_factory.getbasetemp() / "flip.mkv"
    video.write(path, scene(4, 24, 32))
    with av.open(str(path)) as container:
        frame = bytes([*container.demux(video=0)][index])
    data = bytearray(path.read_bytes())
    data[data.index(frame) + int(len(frame) * place)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ClipError, match=r"damaged: 1 of 4 frames|truncated: "):
        video.read(path)


def test_damage_inside_an_ffv1_frame(tmp_path: Path) -> None:
    video.write(tmp_path / "a.mkv", noise(5, 3, 24, 32))
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    data[len(data) // 2] ^= 8
    (tmp_path / "a.mkv").write_bytes(data)
    assert refused(tmp_path / "a.mkv") == "damaged: 1 of 5 frames fail their checksum"


@pytest.mark.parametrize("options", [{}, {"level": "3", "slices": "4"}, {"level": "1"}])
def test_ffv1_of_others(tmp_path: Path, options: dict[str, str]) -> None:
    """With several slices, or with no checksums at all."""
    clip = noise(5, 3, 48, 64)
    encode(tmp_path / "a.mkv", clip, "ffv1", "bgr0", **options)
    assert torch.equal(video.read(tmp_path / "a.mkv"), clip)
