"""Triggers on files: what is written is whole, where it belongs, and tells what was left out."""

import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from vidoor.bench import embed
from vidoor.bench.embed import embed_file, embed_set, inspect_clip
from vidoor.bench.sources import data_set
from vidoor.data import cache, video
from vidoor.data.folder import Folder
from vidoor.errors import DataError
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import Poisoner
from vidoor.triggers.spectral import DFT

TRIGGER = DFT(rms=3.0)


def noise(seed: int, frames: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (frames, 3, 24, 30), dtype=np.uint8))


def fill(root: Path, clips: int = 5) -> Path:
    """Two classes of readable clips."""
    for label, name in enumerate(("run", "walk")):
        for index in range(clips):
            video.write(root / name / f"{index}.mkv", noise(10 * label + index))
    return root


def poison(source: Path, destination: Path, **options: Any) -> dict[str, Any]:
    """``embed_set`` with options of the data set, of the poisoner and its own, in one go."""
    usual = {"rate": 0.4, "target": 0, "seed": 0, "frames": 4, "size": [24, 30]} | options
    poisoner = Poisoner(rate=usual.pop("rate"), target=usual.pop("target"))
    own = ("seed", "codec", "quality", "workers")
    mine = {name: usual.pop(name) for name in own if name in usual}
    data = data_set(source, usual.pop("kind", None), usual)
    return embed_set(data, destination, TRIGGER, poisoner, **mine)


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def refused(match: str, function: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(DataError, match=match) as caught:
        function(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1


# ---- one clip ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [Fraction(30_000, 1001), Fraction(10), Fraction(60)])
def test_a_clip_keeps_its_duration(tmp_path: Path, rate: Fraction) -> None:
    video.write(tmp_path / "a.mkv", noise(0, 30), fps=rate)
    document = embed_file(tmp_path / "a.mkv", tmp_path / "new" / "b.mkv", TRIGGER)
    assert "sound" not in document
    assert torch.equal(video.read(tmp_path / "new" / "b.mkv"), TRIGGER(noise(0, 30)))
    with av.open(str(tmp_path / "new" / "b.mkv")) as container:
        assert container.streams.video[0].average_rate == rate
        assert container.duration / av.time_base == pytest.approx(30 / rate, abs=0.002)


def test_dropped_sound_is_reported(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 30, 24, "bgr0"
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.sample_rate, samples.pts = 8000, 0
        for picture in noise(0).permute(0, 2, 3, 1).contiguous().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux([*stream.encode(), *sound.encode(samples), *sound.encode()])
    document = embed_file(tmp_path / "a.mkv", tmp_path / "b.mkv", TRIGGER)
    assert document["sound"] == "dropped"
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("new/b.mp4", "end its name in .mkv"),
        ("new/b", "end its name in .mkv"),
        ("there.mkv", "there.mkv exists; choose another name"),
        ("folder.mkv", "folder.mkv is a folder; choose another name"),
        ("a.mkv", "is the source itself"),
        (f"{'x' * 300}.mkv", "name too long"),
    ],
)
def test_a_destination_that_does_not_do_is_refused_and_nothing_made(
    tmp_path: Path, name: str, line: str
) -> None:
    video.write(tmp_path / "a.mkv", noise(0))
    (tmp_path / "there.mkv").write_text("mine")
    (tmp_path / "folder.mkv").mkdir()
    before = everything(tmp_path)
    refused(f"(?i){line}", embed_file, tmp_path / "a.mkv", tmp_path / name, TRIGGER)
    assert everything(tmp_path) == before
    assert (tmp_path / "there.mkv").read_text() == "mine"


# ---- a folder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [cache.LIMIT, 10])
def test_unreadable_clips_are_left_out_before_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Held in memory or not, the poisoned clips are 40 % of those that can be read."""
    monkeypatch.setattr(cache, "LIMIT", limit)
    fill(tmp_path / "in", 10)
    for index in range(5):
        (tmp_path / "in" / "walk" / f"{index}.mkv").write_text("not a clip")
    document = poison(tmp_path / "in", tmp_path / "out")
    left_out = document.pop("quarantined")
    assert [clip["id"] for clip in left_out] == [f"walk/{index}.mkv" for index in range(5)]
    assert all(clip["reason"].startswith("unreadable: ") for clip in left_out)
    assert document == {"clips": 15, "poisoned": 2, "test": 0, "left_out": {"unreadable": 5}}
    lines = manifest.load(tmp_path / "out" / manifest.MANIFEST)
    read = Folder(root=tmp_path / "in", holdout=0, frames=4, size=(24, 30)).open(0).train
    for line in lines:
        clean = read.read(read.ids.index(line.id))
        expected = TRIGGER(clean) if line.trigger else clean
        assert line.sha256 == manifest.content_hash(expected)
        assert torch.equal(video.read(tmp_path / "out" / str(line.file)), expected)
    assert everything(tmp_path) & {"in", "out"} == {p.name for p in tmp_path.iterdir()}


def test_a_set_is_the_same_however_many_threads_write_it(tmp_path: Path) -> None:
    fill(tmp_path / "in", 12)
    written = []
    for workers in (1, 5):
        out = tmp_path / f"out{workers}"
        assert poison(tmp_path / "in", out, workers=workers)["clips"] == 24
        written.append({name: (out / name).read_bytes() for name in everything(out) if "." in name})
    assert written[0] == written[1] and len(written[0]) == 24 + 2
    ids = [line.id for line in manifest.load(tmp_path / "out5" / manifest.MANIFEST)]
    assert ids == list(Folder(root=tmp_path / "in", holdout=0).open(0).train.ids)


def test_a_class_without_a_readable_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", 2)
    for index in range(2):
        (tmp_path / "in" / "walk" / f"{index}.mkv").write_text("not a clip")
    for limit in (cache.LIMIT, 10):
        monkeypatch.setattr(cache, "LIMIT", limit)
        refused("'walk' has no readable clip", poison, tmp_path / "in", tmp_path / "o" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_clips_whose_names_are_not_utf8_are_reported_printably(tmp_path: Path) -> None:
    fill(tmp_path / "in")
    Path(f"{tmp_path}/in/walk/caf\udce9.mkv").write_text("not a clip")
    document = poison(tmp_path / "in", tmp_path / "out")
    assert document["quarantined"][0]["id"] == r"walk/caf\xe9.mkv"
    json.dumps(document, ensure_ascii=False).encode()


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("exists", [False, True])
def test_a_set_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, exists: bool
) -> None:
    fill(tmp_path / "in")
    if exists:
        (tmp_path / "out").mkdir()
    before, seen, places = everything(tmp_path), [], itertools.count()
    real = manifest.write

    def stops(path: Path, clip: torch.Tensor, **options: Any) -> None:
        seen.append(path)
        if next(places) == 3:  # a counter, because several threads write
            raise fault
        real(path, clip, **options)

    monkeypatch.setattr(manifest, "write", stops)
    expected = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else DataError
    with pytest.raises(expected):
        poison(tmp_path / "in", tmp_path / "out")
    assert seen[0].parents[2] == tmp_path and "out" not in seen[0].parts
    assert everything(tmp_path) == before
    monkeypatch.undo()
    assert poison(tmp_path / "in", tmp_path / "out")["quarantined"] == []
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    ("source", "destination", "line"),
    [
        ("in", "file.txt", "file.txt is a file; a poisoned folder needs a new folder"),
        ("in", "in", "is the source itself"),
        ("in", "in/out", "lies inside"),
        ("in", "link/out", "lies inside"),
        ("in/run", "in", "lies inside"),
        ("in", "full", "full is not empty"),
        ("absent", "out", "no such file or folder"),
    ],
)
def test_destinations_of_a_folder(tmp_path: Path, source: str, destination: str, line: str) -> None:
    fill(tmp_path / "in", 2)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "file.txt").touch()
    (tmp_path / "full" / "x").mkdir(parents=True)
    before = everything(tmp_path)
    refused(line, poison, tmp_path / source, tmp_path / destination)
    assert everything(tmp_path) == before


def test_a_mount_point_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    refused("mount point", poison, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"seed": -1}, "seed is -1; give 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is 9223372036854775808; give 0 to"),
        ({"codec": "h264", "quality": 52}, "quality 52 does not fit h264; valid: 0..51"),
        ({"codec": "ffv1", "quality": 0}, "quality 0 does not fit ffv1; valid: none"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    fill(tmp_path / "in", 2)
    refused(line, poison, tmp_path / "in", tmp_path / "out", **options)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert poison(tmp_path / "in", tmp_path / "out", seed=2**63 - 1, rate=0.5)["poisoned"] == 1


def test_the_current_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path / "in"))
    assert poison(Path(), Path("../out"))["clips"] == 10


# ---- a look ------------------------------------------------------------------------------------


def test_a_picture_replaces_a_picture_and_nothing_else(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    video.write(clip, noise(0))
    (tmp_path / "clip.png").symlink_to(clip)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "thesis.png").write_text("not a picture")
    before = everything(tmp_path)
    for name, line in (
        ("clip.mkv", "is the clip itself"),
        ("clip.png", "is the clip itself"),
        ("folder.png", "is a folder"),
        ("thesis.png", "is no PNG"),
        ("new/a.jpg", "end its name in .png"),
        ("new/a", "end its name in .png"),
    ):
        refused(line, inspect_clip, clip, TRIGGER, tmp_path / name)
    assert everything(tmp_path) == before
    assert torch.equal(video.read(clip), noise(0))
    picture = tmp_path / "new" / "a.png"
    inspect_clip(clip, TRIGGER, picture)
    first = picture.read_bytes()
    assert first.startswith(embed.PNG)
    inspect_clip(clip, DFT(rms=9.0), picture)
    assert picture.read_bytes().startswith(embed.PNG) and picture.read_bytes() != first
    assert [path.name for path in picture.parent.iterdir()] == ["a.png"]


def test_the_document_tells_what_is_in_windows_and_over_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    clean = torch.from_numpy(rng.integers(0, 256, (6, 3, 60, 90), dtype=np.uint8))
    video.write(tmp_path / "clip.mkv", clean)
    document = inspect_clip(tmp_path / "clip.mkv", TRIGGER, tmp_path / "a.png")
    before, after = clean.numpy(), TRIGGER(clean).numpy()
    by_window = [
        [
            peak_signal_noise_ratio(
                *(clip[:, :, y : y + 28, x : x + 28] for clip in (before, after))
            )
            for x in (0, 28, 56)
        ]
        for y in (0, 28)
    ]
    for name in ("min", "max", "mean", "std"):
        assert document[f"psnr_windows_{name}"] == pytest.approx(getattr(np, name)(by_window))
        assert 0 <= document[f"ssim_windows_{name}"] <= 1
    change = after.astype(float) - before
    flicker = np.sqrt(np.mean(np.diff(change, axis=0) ** 2))
    own = np.sqrt(np.mean(np.diff(before.astype(float), axis=0) ** 2))
    assert document["flicker"] == pytest.approx(flicker)
    assert document["relative_flicker"] == pytest.approx(flicker / own)


def test_a_picture_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video.write(tmp_path / "clip.mkv", noise(0))
    (tmp_path / "a.png").write_bytes(embed.PNG)

    def full(path: Path, _: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    refused("No space left", inspect_clip, tmp_path / "clip.mkv", TRIGGER, tmp_path / "a.png")
    assert everything(tmp_path) == {"a.png", "clip.mkv"}
    assert (tmp_path / "a.png").read_bytes() == embed.PNG
