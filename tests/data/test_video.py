"""Files that the tests write themselves, and the real ones beside the checkout."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import decode, encode, noise, remux, replaced, scene

from vidoor.data import _write, video
from vidoor.errors import ClipError, DataError
from vidoor.types import Geometry

FILES = {"ffv1": "clip.mkv", "h264": "clip.mp4", "mpeg4": "clip.avi"}


@pytest.fixture(scope="module", params=FILES)
def coded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / FILES[request.param]
    video.write(path, scene(41), codec=request.param)
    return path


# ---- round trips -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.just(3), st.integers(1, 37), st.integers(1, 37)),
    seed=st.integers(0, 9),
    fps=st.sampled_from([1, 24, 25, 30, 60, 240]),
)
def test_ffv1_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], seed: int, fps: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.mkv"
    clip = noise(*shape, seed=seed)
    video.write(path, clip, fps=fps)
    assert torch.equal(video.read(path), clip)


@pytest.mark.parametrize(("codec", "bound"), [("h264", 4.0), ("mpeg4", 4.0)])
@pytest.mark.parametrize("size", [(48, 64), (47, 63), (48, 61)])
def test_lossy_codecs_come_close(
    tmp_path: Path, codec: Any, bound: float, size: tuple[int, int]
) -> None:
    path, clip = tmp_path / FILES[codec], scene(12, *size)
    video.write(path, clip, codec=codec)
    back = video.read(path)
    assert back.shape == clip.shape
    assert (back.float() - clip.float()).abs().mean() < bound


@pytest.mark.parametrize(("codec", "good", "bad"), [("h264", 5, 45), ("mpeg4", 1, 31)])
def test_quality_is_heeded(tmp_path: Path, codec: Any, good: int, bad: int) -> None:
    path, clip, errors = tmp_path / FILES[codec], noise(5, 3, 32, 32), []
    for quality in (good, None, bad):
        video.write(path, clip, codec=codec, quality=quality)
        errors.append((path.stat().st_size, -(video.read(path).float() - clip).abs().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0][0] > 1.5 * errors[2][0]


@pytest.mark.parametrize("codec", FILES)
def test_writing_is_repeatable(tmp_path: Path, codec: Any) -> None:
    """Whatever lies in the memory that an encoder is given: an encoder may read what it did not
    write (x264 with AVX-512 does, at this size)."""
    rng, clip, path = np.random.default_rng(0), scene(9, 112, 112), tmp_path / f"a{FILES[codec]}"
    written = set()
    for _ in range(12):
        junk = [rng.integers(0, 256, size, dtype="u1") for size in rng.integers(1e3, 1e5, 200)]
        del junk
        video.write(path, clip, codec=codec)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "clip.mkv"
    video.write(path, scene(3))
    before = path.read_bytes()

    def full(*_: object) -> None:
        next(path.parent.glob(".partial-*")).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def start(partial: Path, *_: object) -> None:
        partial.touch()
        full()

    monkeypatch.setattr(_write, "_encode", start)
    with pytest.raises(DataError, match=r"clip.mkv: cannot be written: No space left on device$"):
        video.write(path, scene(4))
    assert [file.name for file in path.parent.iterdir()] == ["clip.mkv"]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.mp4", {}, "a.mp4: ffv1 is written to .mkv files"),
        ("a.mkv", {"quality": 3}, "quality 3 does not fit ffv1; valid: none, it is lossless"),
        ("a.mp4", {"codec": "h264", "quality": 52}, "quality 52 does not fit h264; valid: 0..51"),
        ("a.avi", {"codec": "mpeg4", "quality": 0}, "valid: 1..31"),
    ],
)
def test_writing_refuses(tmp_path: Path, name: str, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        video.write(tmp_path / name, scene(2), **options)
    assert not list(tmp_path.iterdir())


# ---- frame rate and sound ----------------------------------------------------------------------

RATES = [Fraction(30_000, 1001), Fraction(1, 100), Fraction(12), Fraction(119, 7), Fraction(1000)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("frames", [1, 2, 40])
def test_a_frame_rate_comes_back(tmp_path: Path, rate: Fraction, frames: int) -> None:
    video.write(tmp_path / "a.mkv", scene(frames), fps=rate)
    assert video.about(tmp_path / "a.mkv") == (rate, False)
    assert len(video.read(tmp_path / "a.mkv")) == frames


def test_a_variable_frame_rate_keeps_the_duration(tmp_path: Path) -> None:
    """Frame i at i² ticks of 1/25 s: 29 steps in 841 ticks."""
    for name in ("vfr.mkv", "vfr.mp4"):
        path = encode(tmp_path / name, scene(30), "libx264", times=(i * i for i in range(30)))
        assert float(video.about(path).rate) == pytest.approx(29 / (841 / 25), rel=1e-3)


def test_reordered_frames_of_an_avi(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", scene(30), "mpeg4", bf="2")
    assert video.about(path).rate == 25


def test_sound_is_noticed(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.sample_rate, samples.pts = 8000, 0
        container.mux(sound.encode(samples))
        for picture in scene(3).permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        container.mux(sound.encode())
    assert video.about(tmp_path / "a.mkv") == (10, True)


def test_what_is_no_clip_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_text("not a clip")
    with pytest.raises(ClipError, match="unreadable"):
        video.about(tmp_path / "a.mkv")


# ---- sampling and geometry ---------------------------------------------------------------------


@given(count=st.integers(1, 3000), frames=st.integers(1, 128))
def test_sample_is_the_papers(count: int, frames: int) -> None:
    exact = [Fraction(i * (count - 1), max(frames - 1, 1)) for i in range(frames)]
    expected = [int(x) for x in exact] if count > frames else list(range(count))
    assert video.sample(count, frames) == expected
    assert expected == sorted(set(expected))


@pytest.mark.parametrize("frames", [1, 2, 7, 16, 40, 41])
def test_reads_exactly_the_sampled_frames(coded: Path, frames: int) -> None:
    every = decode(coded)
    index = np.floor([float(x) for x in np.linspace(0, 40, frames)]).astype(int)
    clip = video.read(coded, Geometry(frames, 48, 64))
    assert torch.equal(clip, every[index])
    assert clip.is_contiguous() and clip.dtype == torch.uint8


def test_short_clips_end_in_blank_frames(coded: Path) -> None:
    clip = video.read(coded, Geometry(50, 48, 64))
    assert torch.equal(clip[:41], decode(coded))
    assert clip.shape == (50, 3, 48, 64) and not clip[41:].any()


def test_without_geometry_all_frames_come_as_they_are(coded: Path) -> None:
    assert torch.equal(video.read(str(coded)), decode(coded))


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(48, 30, (0, 48), (17, 47)), (20, 64, (14, 34), (0, 64)), (48, 63, (0, 48), (0, 63))],
)
def test_a_crop_alone_keeps_every_byte(
    tmp_path: Path, height: int, width: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    video.write(tmp_path / "a.mkv", clip := noise(3, 3, 48, 64))
    expected = clip[:, :, slice(*rows), slice(*columns)]
    assert torch.equal(video.read(tmp_path / "a.mkv", Geometry(3, height, width)), expected)


@settings(max_examples=30, deadline=None)
@given(
    source=st.tuples(st.integers(8, 90), st.integers(8, 90)),
    target=st.tuples(st.integers(8, 90), st.integers(8, 90)),
)
def test_frames_cover_the_target_about_the_centre(
    tmp_path_factory: pytest.TempPathFactory, source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Ramps along rows and columns show where each target pixel was taken from."""
    path = tmp_path_factory.getbasetemp() / "ramp.mkv"
    (tall, wide), (height, width) = source, target
    ramp = torch.zeros(1, 3, tall, wide, dtype=torch.uint8)
    ramp[:, 0] = (2 * torch.arange(tall))[:, None]
    ramp[:, 1] = (2 * torch.arange(wide))[None]
    ramp[:, 2] = 200
    video.write(path, ramp)
    clip = video.read(path, Geometry(1, height, width))[0].double()
    assert (clip[2] == 200).all()  # covered: no border anywhere
    scale = max(height / tall, width / wide)
    for plane, size, full, axis in ((0, height, tall, 1), (1, width, wide, 0)):
        line = clip[plane].mean(axis)
        place = ((torch.arange(size) + 0.5) - size / 2) / scale + full / 2 - 0.5
        # the filter's edges, whole-pixel sizes and offsets, and rounding each move it a little
        margin = max(1, round(scale))
        inner = slice(margin, -margin) if size > 4 * margin else slice(size // 2, size // 2 + 1)
        error = (line - 2 * place.double())[inner].abs().max()
        assert error <= 2 + 2.5 / scale


def test_scaling_down_averages(tmp_path: Path) -> None:
    """A checkerboard turns grey; taking single pixels would keep black and white."""
    board = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 255
    video.write(tmp_path / "a.mkv", board)
    clip = video.read(tmp_path / "a.mkv", Geometry(2, 16, 16))
    assert ((clip.int() - 128).abs() < 3).all()


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda x: x.rot90(-1, (2, 3))),  # a phone held upright
        ((-1, 0, 0, -1), lambda x: x.rot90(2, (2, 3))),
        ((0, -1, 1, 0), lambda x: x.rot90(1, (2, 3))),
        ((-1, 0, 0, 1), lambda x: x.flip(3)),  # mirrored, as front cameras do
        ((1, 0, 0, -1), lambda x: x.flip(2)),
        ((0, 1, 1, 0), lambda x: x.transpose(2, 3)),
        ((1, 0, 0, 1), lambda x: x),
    ],
)
def test_display_matrix(tmp_path: Path, matrix: tuple[int, ...], upright: Any) -> None:
    path = tmp_path / "a.mp4"
    video.write(path, scene(3), codec="h264")
    plain = video.read(path)
    data = bytearray(path.read_bytes())
    a, b, c, d = (65536 * x for x in matrix)
    at = data.index(b"tkhd") + 44  # ISO 14496-12: version 0, the matrix follows 40 bytes of fields
    assert struct.unpack_from(">i", data, at) == (65536,)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert torch.equal(video.read(path), upright(plain))


# ---- unusual but sound -------------------------------------------------------------------------


def test_an_avi_may_drop_frames(tmp_path: Path) -> None:
    """Its header then counts ticks, not pictures."""
    video.write(tmp_path / "a.avi", scene(20), codec="mpeg4")

    def later(index: int, packet: Any) -> Any:
        packet.pts = packet.dts = index + (7 if index > 9 else 0)
        return packet

    dropped = remux(tmp_path / "a.avi", tmp_path / "b.avi", later)
    with av.open(str(dropped)) as container:
        assert container.streams.video[0].frames == 27
    assert torch.equal(video.read(dropped), decode(tmp_path / "a.avi"))


def test_unchanged_pictures_of_mpeg4(tmp_path: Path) -> None:
    """XviD's "same again" packets decode to nothing; the rest is sampled as if they were not."""
    video.write(tmp_path / "a.avi", scene(30), codec="mpeg4")

    def still(index: int, packet: Any) -> Any:
        if index not in (8, 9, 23):
            return packet
        # start code, P picture, no second passed, marker, 5 bits of time, marker, not coded
        bits = f"0101{index % 25:05b}10"
        bits += "0" + "1" * (-(len(bits) + 1) % 8)  # stuffing
        return replaced(packet, b"\0\0\1\xb6" + int(bits, 2).to_bytes(len(bits) // 8, "big"))

    path = remux(tmp_path / "a.avi", tmp_path / "b.avi", still)
    every = decode(path)
    assert len(every) == 27
    assert torch.equal(video.read(path), every)
    index = [i * 26 // 15 for i in range(16)]
    assert torch.equal(video.read(path, Geometry(16, 48, 64)), every[index])


def test_hidden_pictures_of_vp8(tmp_path: Path) -> None:
    source = encode(tmp_path / "a.webm", scene(12), "libvpx")

    def hide(index: int, packet: Any) -> Any:
        data = bytearray(bytes(packet))
        data[0] &= ~0x10  # RFC 6386, section 9.1: show_frame
        return replaced(packet, bytes(data)) if index == 5 else packet

    path = remux(source, tmp_path / "b.webm", hide)
    every = decode(path)
    assert len(every) == 11
    assert torch.equal(video.read(path), every)


def test_a_trimmed_mp4_shows_what_is_left(tmp_path: Path) -> None:
    """Phones trim by an edit list: all packets are there, only some are shown."""
    video.write(tmp_path / "a.mp4", scene(60), codec="h264")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"elst") + 12
    duration, start, rate = struct.unpack_from(">IiI", data, at)
    struct.pack_into(">IiI", data, at, duration // 2, start, rate)
    (tmp_path / "a.mp4").write_bytes(data)
    every = decode(tmp_path / "a.mp4")
    assert len(every) == 30
    assert torch.equal(video.read(tmp_path / "a.mp4"), every)


@pytest.mark.parametrize("name", ["vfr.mkv", "vfr.mp4"])
def test_variable_frame_rate(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, scene(30), "libx264", times=(i * i for i in range(30)))
    assert torch.equal(video.read(path), decode(path))


def test_find_lists_clips_only(tmp_path: Path) -> None:
    for name in ("b.AVI", "a.mkv", ".a.123.mkv", "notes.txt", "c.mp4.part"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert video.find(tmp_path) == ["a.mkv", "b.AVI"]


# ---- real files --------------------------------------------------------------------------------

REAL: dict[str, int | str] = {  # frames, or the reason
    "raw/S001C001P001R001A001_rgb.avi": 103,
    "raw/decord_video_90.mov": 3,
    "raw/mmaction2_test.mp4": 300,
    "raw/person01_boxing_d1_uncomp.avi": 360,
    "raw/person01_handclapping_d1_uncomp.avi": 378,
    "raw/v_ApplyEyeMakeup_g01_c01.avi": 164,
    "raw/v_BaseballPitch_g01_c01.avi": 107,
    "raw/v_Biking_g01_c01.avi": 151,
    "raw/v_HorseRace_g01_c04.avi": 169,
    "raw/v_TaiChi_g01_c02.avi": 168,
    "broken/odd_dims_161x121_yuv444.mp4": 107,
    "broken/one_frame.mp4": 1,
    "broken/tiny_2x2.avi": 5,
    "broken/variable_frame_rate.mp4": 33,
    "broken/audio_only.mp4": "no video stream",
    "broken/header_only.avi": "unreadable: Invalid data found when processing input",
    "broken/real_corrupted_decord.mp4": (
        "truncated: 28 of 50 frames decode (Invalid data found when processing input)"
    ),
    "broken/text_renamed.mp4": "unreadable: Invalid data found when processing input",
    "broken/truncated_no_moov.mp4": "unreadable: Invalid data found when processing input",
    "broken/truncated_v_BaseballPitch_g01_c01.avi": "truncated: 25 of 107 frames decode",
    "broken/zero_byte.avi": "empty file",
}


def test_the_table_names_every_real_file(shared_data: Path) -> None:
    found = [
        f"{part}/{f.name}" for part in ("raw", "broken") for f in (shared_data / part).iterdir()
    ]
    assert sorted(found) == sorted(REAL)


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path, outcome = shared_data / name, REAL[name]
    if isinstance(outcome, str):
        with pytest.raises(ClipError) as caught:
            video.read(path, Geometry(16, 48, 64))
        assert caught.value.reason == outcome
    else:
        clip = video.read(path, Geometry(16, 48, 64))
        filled = clip.flatten(1).any(1)
        assert filled[: min(outcome, 16)].all() and not filled[outcome:].any()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["raw/v_ApplyEyeMakeup_g01_c01.avi", "broken/one_frame.mp4"])
def test_real_frames_are_exact(shared_data: Path, name: str) -> None:
    every = decode(shared_data / name)
    count = len(every)
    index = [i * (count - 1) // 31 for i in range(32)] if count > 32 else range(count)
    clip = video.read(shared_data / name, Geometry(32, *every.shape[2:]))
    assert torch.equal(clip[: len(index)], every[list(index)])


def test_a_phones_clip_stands_upright(shared_data: Path) -> None:
    path = shared_data / "raw" / "decord_video_90.mov"
    lying = decode(path)
    assert lying.shape == (3, 3, 320, 568)
    assert torch.equal(video.read(path), lying.rot90(-1, (2, 3)))
