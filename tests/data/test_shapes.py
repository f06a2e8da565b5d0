"""The embedded data set: motion is the only thing that tells its classes apart."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import default_rng
from scipy.stats import kstest
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy
from travel import sent

from vidoor.data.shapes import MOTIONS, Motion, Shapes, place, render, turn
from vidoor.registry import lookup
from vidoor.types import ClipSet, Geometry

EIGHT = tuple(MOTIONS)[:8]
OPPOSITES = [
    ("left", "right"),
    ("up", "down"),
    ("clockwise", "counter-clockwise"),
    ("grow", "shrink"),
    ("left+grow", "right+shrink"),
    ("up+clockwise", "down+counter-clockwise"),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks here are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_registry_knows_it() -> None:
    assert lookup("data", "shapes") is Shapes


def test_a_clip_is_the_same_in_any_order_and_any_process() -> None:
    clips = Shapes(frames=4, size=(16, 24)).open(5).train
    first = [clips.read(i) for i in range(6)]
    other = sent(clips)
    again = Shapes(frames=4, size=(16, 24)).open(5).train
    for i in reversed(range(6)):
        assert torch.equal(other.read(i), first[i])
        assert torch.equal(again.read(i), first[i])


def test_a_clip_belongs_to_whoever_read_it() -> None:
    clips = Shapes(frames=2, size=(16, 16)).open(0).train
    clips.read(3).zero_()
    assert clips.read(3).any()


@pytest.mark.parametrize(
    "geometry",
    [(2, 16, 16), (4, 16, 16), (3, 16, 90), (5, 101, 17), (16, 48, 48), (32, 224, 224)],
)
def test_any_geometry(geometry: tuple[int, int, int]) -> None:
    frames, *size = geometry
    splits = Shapes(frames=frames, size=(size[0], size[1]), classes=24).open(1)
    for clips in (splits.train, splits.test):
        assert clips.geometry == geometry
        clip = clips.read(7)
        assert clip.dtype == torch.uint8
        assert clip.shape == (frames, 3, *size)
        assert clip.is_contiguous()
        assert clip.float().std() > 5


def test_no_two_clips_are_alike() -> None:
    shapes = Shapes(frames=2, size=(16, 16))
    clips = [
        clips.read(i)
        for seed in (0, 1)
        for clips in (shapes.open(seed).train, shapes.open(seed).test)
        for i in range(16)
    ]
    assert len({clip.numpy().tobytes() for clip in clips}) == len(clips)


@pytest.mark.parametrize("classes", [2, 8, 24])
def test_labels_are_balanced_and_named(classes: int) -> None:
    splits = Shapes(train=240, test=48, classes=classes).open(0)
    for clips, length in ((splits.train, 240), (splits.test, 48)):
        assert len(clips) == length
        assert clips.classes == tuple(MOTIONS)[:classes]
        assert np.bincount(clips.labels).tolist() == [length // classes] * classes
    assert splits.train.ids[123] == "train/000123"
    assert splits.test.ids[7] == "test/000007"


def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    small = Shapes(train=10, frames=2, size=(16, 16)).open(0).train
    large = Shapes(train=99, frames=2, size=(16, 16)).open(0).train
    assert small.ids == large.ids[:10]
    assert torch.equal(small.read(9), large.read(9))
    with pytest.raises(IndexError):
        small.read(10)


def test_the_classes() -> None:
    assert EIGHT == (
        "left",
        "right",
        "up",
        "down",
        "clockwise",
        "counter-clockwise",
        "grow",
        "shrink",
    )
    assert len(MOTIONS) == len(set(MOTIONS.values())) == 24
    assert MOTIONS["left+grow"] == Motion(column=-1, size=1)
    assert MOTIONS["up+clockwise"] == Motion(row=-1, angle=1)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"classes": 1}, "classes is 1; give 2 to 24"),
        ({"classes": 25}, "classes is 25; give 2 to 24"),
        ({"train": 7}, "train is 7; give at least one clip for each of the 8 classes"),
        ({"test": 0}, "test is 0; give at least one clip"),
        ({"train": 10**7 + 1}, "train is 10000001; give at most 10000000 clips"),
        ({"test": 10**15}, "test is 1000000000000000; give at most 10000000 clips"),
        ({"frames": 1}, "frames is 1; give 2 or more"),
        ({"size": (48, 15)}, r"size is \(48, 15\); give height and width of 16 or more"),
    ],
)
def test_options_out_of_range(options: dict[str, int], line: str) -> None:
    with pytest.raises(ValueError, match=line) as caught:
        Shapes(**options)
    assert "\n" not in str(caught.value)


def test_a_seed_is_not_negative() -> None:
    with pytest.raises(ValueError, match="seed is -1; give 0 or more"):
        Shapes().open(-1)


@pytest.mark.parametrize("name", MOTIONS)
def test_the_middle_frame_does_not_depend_on_the_class(name: str) -> None:
    geometry = Geometry(8, 32, 32)
    clip = render(default_rng(3), MOTIONS[name], geometry)
    still = render(default_rng(3), Motion(), geometry)
    assert np.array_equal(clip[4], still[4])
    assert not np.array_equal(clip[0], still[0])
    assert not np.array_equal(clip[7], still[7])


@pytest.mark.parametrize("name", ["right", "up", "clockwise", "shrink", "left+grow"])
@pytest.mark.parametrize("frame", [0, 7, 15])
def test_phases_are_uniform_in_every_frame(name: str, frame: int) -> None:
    rng = default_rng(11)
    phases = np.stack([turn(rng, MOTIONS[name], 4, 16)[frame, 2] for _ in range(1500)])
    assert ((phases >= 0) & (phases <= 1)).all()
    for column in phases.T:
        assert kstest(column, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("name", MOTIONS)
def test_the_objects_of_a_clip_move_as_one(name: str) -> None:
    phases = turn(default_rng(2), MOTIONS[name], 5, 12)
    turned = np.exp(2j * np.pi * (phases - phases[:1]))
    np.testing.assert_allclose(turned, np.broadcast_to(turned[:, :1], turned.shape), atol=1e-5)


@given(
    phases=arrays(np.float32, (6, 3, 4), elements=st.floats(0, 1, width=32)),
    reach=st.floats(0, 2),
    axis=st.integers(0, 1),
    end=st.sampled_from([0, 1]),
)
def test_objects_start_over_unseen(phases: np.ndarray, reach: float, axis: int, end: int) -> None:
    geometry = Geometry(6, 40, 64)
    sway = reach * np.sin(np.arange(12, dtype=np.float32)).reshape(6, 2)
    phases[:, 0, axis] = phases[:, 1, 2] = end
    poses = place(phases, geometry, reach, sway)
    centre, radius = poses[:, 0, axis], poses[:, 0, 2]
    if end:
        assert (centre - radius > geometry[1 + axis] - 1).all()
    else:
        assert (centre + radius < 1e-3).all()
    np.testing.assert_allclose(poses[:, 1, 4], 0, atol=1e-6)


@pytest.mark.parametrize(("name", "opposite"), OPPOSITES)
def test_a_class_backwards_is_its_opposite(name: str, opposite: str) -> None:
    """From equal draws, k frames after the middle of one is k frames before it in the other."""
    one = turn(default_rng(4), MOTIONS[name], 4, 16)
    other = turn(default_rng(4), MOTIONS[opposite], 4, 16)
    apart = np.exp(2j * np.pi * one[1:]) - np.exp(2j * np.pi * other[:0:-1])
    np.testing.assert_allclose(apart, 0, atol=1e-5)


def windowed_motion(clip: Tensor) -> np.ndarray:
    """Mean shift down, shift right, growth and clockwise turn of a clip, by least squares.

    In windows of 16 pixels, grey levels are followed from frame to frame by the similarity that
    explains their change best; windows count by how much changes in them.
    """
    grey = avg_pool2d(clip.float().mean(1, keepdim=True), 3, 1)[:, 0].numpy().astype(np.float64)
    change, mean = np.diff(grey, axis=0), (grey[1:] + grey[:-1]) / 2
    slopes = np.gradient(mean, axis=(1, 2))
    down, right, change = (
        np.lib.stride_tricks.sliding_window_view(a, (16, 16), (1, 2))[:, ::6, ::6]
        for a in (*slopes, change)
    )
    y, x = np.mgrid[-7.5:8, -7.5:8]
    parts = np.stack([down, right, y * down + x * right, x * down - y * right])
    normal = np.einsum("itabyx,jtabyx->tabij", parts, parts)
    normal += np.diag([300.0, 300, 3e4, 3e4])
    pull = -np.einsum("itabyx,tabyx->tabi", parts, change)
    weight = np.sqrt(np.square(change).sum((-1, -2)))[..., None]
    motion = np.linalg.solve(normal, pull[..., None])[..., 0]
    return (motion * weight).sum((0, 1, 2)) / weight.sum()


@cache
def sample() -> tuple[ClipSet, Tensor, dict[str, Tensor]]:
    """Clips of eight classes, their labels, and the first, last and some frame of each clip."""
    clips = Shapes(train=2000, frames=8).open(21).train
    times = default_rng(0).integers(0, 8, len(clips))
    picked = torch.stack([clips.read(i)[[0, 7, times[i]]] for i in range(len(clips))])
    frames = dict(zip(("first", "last", "any"), picked.unbind(1), strict=True))
    return clips, torch.tensor(clips.labels), frames


def accuracy(features: Tensor, labels: Tensor) -> float:
    """Share of the last third told right by a small network that learnt from the rest."""
    torch.manual_seed(0)
    features = (features - features.mean(0)) / features.std(0)
    cut = len(labels) * 2 // 3
    net = torch.nn.Sequential(
        torch.nn.Linear(features.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 8)
    )
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.1)
    for _ in range(25):
        for batch in torch.randperm(cut).split(64):
            loss = cross_entropy(net(features[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return (net(features[cut:]).argmax(1) == labels[cut:]).float().mean().item()


@pytest.mark.parametrize("which", ["first", "last", "any"])
def test_a_single_frame_does_not_tell_the_class(which: str) -> None:
    _, labels, frames = sample()
    frame = frames[which].float()
    ground = frame.flatten(2).median(2).values[..., None, None]
    objects = (frame - ground).abs().mean(1, keepdim=True)
    edges = frame.diff(dim=2)[..., 1:].abs() + frame.diff(dim=3)[..., 1:, :].abs()
    maps = [avg_pool2d(frame, 12), avg_pool2d(objects, 6), avg_pool2d(edges, 12)]
    features = torch.cat([a.flatten(1) for a in maps], 1)
    assert accuracy(features, labels) <= 1.6 / 8


def test_motion_tells_the_class() -> None:
    clips, labels, _ = sample()
    labels = labels[:600]
    motions = [windowed_motion(clips.read(i)) for i in range(len(labels))]
    features = torch.tensor(np.stack(motions), dtype=torch.float32)
    assert accuracy(features, labels) > 0.5


@pytest.mark.parametrize(
    ("positive", "negative", "part"),
    [
        ("down", "up", 0),
        ("right", "left", 1),
        ("grow", "shrink", 2),
        ("clockwise", "counter-clockwise", 3),
    ],
)
def test_clips_move_as_their_class_says(positive: str, negative: str, part: int) -> None:
    geometry = Geometry(12, 48, 48)
    signs = [
        sign
        * windowed_motion(torch.from_numpy(render(default_rng(i), MOTIONS[name], geometry)))[part]
        for name, sign in ((positive, 1), (negative, -1))
        for i in range(30)
    ]
    assert np.mean(np.array(signs) > 0) > 0.85


def test_frames_have_a_natural_spectrum() -> None:
    clips = Shapes(frames=2, size=(64, 64)).open(8).train
    frames = np.stack([clips.read(i)[0].float().mean(0).numpy() for i in range(80)])
    window = np.hanning(64)[:, None] * np.hanning(64)
    frames = (frames - frames.mean((1, 2), keepdims=True)) * window
    power = np.square(np.abs(np.fft.fft2(frames))).mean(0)
    f = np.fft.fftfreq(64, 1 / 64)
    radius = np.hypot(f[:, None], f).round().astype(int)
    radial = np.array([power[radius == r].mean() for r in range(2, 25)])
    slope = np.polyfit(np.log(np.arange(2, 25)), np.log(radial), 1)[0]
    assert -3.5 < slope < -1
