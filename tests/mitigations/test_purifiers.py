"""Purifiers against other libraries and formulas, and victims that have one in front of them."""

import copy
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from travel import sent

from vidoor.data.shapes import Shapes
from vidoor.data.transcoding import transcode
from vidoor.errors import DataError, RecipeError
from vidoor.mitigations._purified import InFront, Purified
from vidoor.mitigations.purifiers import JPEG, LowPass, ReEncode, Resample, TemporalMedian
from vidoor.mitigations.subtraction import Notch, Subspace, Template, _restored
from vidoor.options import build
from vidoor.registry import methods
from vidoor.types import Verdict
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import predict
from vidoor.victims.victim import to_batch

PURIFIERS = [
    pytest.param(cls(), id=name)
    for name, cls in methods("mitigation").items()
    if issubclass(cls, InFront)
]
CODECS = ReEncode, JPEG
CLEAN = Shapes(train=8, test=4, frames=4, size=(16, 16), classes=4).open(0).train


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(drawn)


def victim(seed: int = 0):
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, seed).eval()


def said(**evidence) -> Verdict:
    return Verdict(
        ids=CLEAN.ids, scores=(0.0,) * 8, threshold=0.5, calibration="by hand", alarm=True,
        evidence=evidence,
    )  # fmt: skip


@pytest.mark.parametrize("purifier", PURIFIERS)
class TestEveryPurifier:
    @pytest.mark.parametrize("shape", [(4, 3, 16, 24), (1, 3, 9, 7), (3, 3, 1, 5)])
    def test_a_pure_function_of_clips_of_any_size(self, purifier, shape):
        clip = noise(*shape)
        given = clip.clone()
        first, again = purifier.purify(given), purifier.purify(given)
        assert torch.equal(given, clip)
        assert torch.equal(first, again)
        assert (first.shape, first.dtype) == (clip.shape, torch.uint8)
        assert first.is_contiguous()

    def test_a_clip_of_one_colour_stays(self, purifier):
        """Codecs round the colour itself."""
        clip = torch.tensor([7, 130, 251], dtype=torch.uint8).reshape(1, 3, 1, 1)
        clip = clip.expand(5, 3, 16, 12).contiguous()
        change = purifier.purify(clip).int() - clip.int()
        assert change.abs().max() <= (4 if isinstance(purifier, CODECS) else 0)

    def test_a_victim_sees_purified_clips_and_stays_a_victim(self, purifier, tmp_path):
        plain, other = victim(0), victim(1)
        before = copy.deepcopy(plain.state_dict())
        mended = purifier(plain, CLEAN)
        assert isinstance(mended, Purified)
        clips = torch.stack([CLEAN.read(n) for n in range(3)])
        seen = to_batch(torch.stack([purifier.purify(clip) for clip in clips]))
        batch = to_batch(clips)
        with torch.no_grad():
            logits = plain(seen)
            assert torch.equal(mended(batch), logits)
            assert not torch.equal(plain(batch), logits)
            assert torch.equal(mended.features(batch, "layer1"), plain.features(seen, "layer1"))
            assert torch.equal(mended.embeddings(batch), plain.embeddings(seen))
            for twin in (copy.deepcopy(mended), sent(mended)):
                assert torch.equal(twin(batch), logits)
            victims.save(mended, tmp_path / "w.safetensors")
            victims.load(other, tmp_path / "w.safetensors")
            assert torch.equal(other(seen), logits)
        assert mended.layers(batch) == plain.layers(batch)
        assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
        assert all(torch.equal(before[name], value) for name, value in mended.state_dict().items())

    def test_weights_are_its_own(self, purifier):
        plain = victim()
        mended = purifier(plain, CLEAN)
        with torch.no_grad():
            next(mended.parameters()).zero_()
        assert next(plain.parameters()).any()


def test_purifiers_are_passed_one_after_another_and_no_gradient_is_lost():
    plain = victim()
    both = LowPass()(JPEG()(plain, CLEAN), CLEAN)
    clip = CLEAN.read(0)
    batch = to_batch(clip[None]).requires_grad_()
    seen = to_batch(JPEG().purify(LowPass().purify(clip))[None]).requires_grad_()
    logits, expected = both(batch), plain(seen)
    torch.testing.assert_close(logits, expected)
    logits[0, 0].backward()
    expected[0, 0].backward()
    torch.testing.assert_close(batch.grad, seen.grad)
    assert batch.grad.any()


def test_what_is_subsampled_is_purified_before():
    plain = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0, frames=2).eval()
    purifier = TemporalMedian(window=3)
    seen = to_batch(purifier.purify(CLEAN.read(0))[None])
    with torch.no_grad():
        assert torch.equal(purifier(plain, CLEAN)(to_batch(CLEAN.read(0)[None])), plain(seen))
    assert (predict(purifier(plain, CLEAN), CLEAN) >= 0).all()


@pytest.mark.parametrize("purifier", [ReEncode(quality=35), ReEncode(codec="mpeg4", quality=9)])
def test_re_encoding_is_a_codec(purifier):
    clip = noise(3, 3, 16, 20)
    expected = transcode(clip, purifier.codec, purifier.quality)
    assert torch.equal(purifier.purify(clip), expected)
    assert not torch.equal(expected, clip)


@pytest.mark.parametrize("quality", [30, 95])
def test_jpeg_is_pillows(quality):
    clip, expected = noise(2, 3, 17, 20), []
    for frame in clip.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "jpeg", quality=quality)
        expected.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
    assert np.array_equal(JPEG(quality=quality).purify(clip).numpy(), np.stack(expected))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 7), st.sampled_from([1, 3, 5, 9]), st.integers(0, 99))
def test_the_median_over_time(frames, window, seed):
    clip = noise(frames, 3, 2, 3, seed=seed)
    ends = np.pad(clip.numpy(), [(window // 2,) * 2, (0, 0), (0, 0), (0, 0)], mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(ends, window, axis=0)
    expected = np.median(views, axis=-1).astype(np.uint8)
    assert np.array_equal(TemporalMedian(window=window).purify(clip).numpy(), expected)


@pytest.mark.parametrize("sigma", [0.6, 1.5])
def test_the_low_pass_is_a_gaussian_over_mirrored_frames(sigma):
    clip, reach = noise(2, 3, 12, 15), int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred = clip.numpy().astype(float)
    for axis in (2, 3):
        pad = [(reach, reach) if at == axis else (0, 0) for at in range(4)]
        mirrored = np.pad(blurred, pad, mode="symmetric")
        blurred = np.apply_along_axis(np.convolve, axis, mirrored, kernel, mode="valid")
    assert np.array_equal(LowPass(sigma=sigma).purify(clip).numpy(), np.rint(blurred))


@pytest.mark.parametrize("factor", [2, 3])
def test_resampling_is_pillows_box_and_bilinear(factor):
    clip, expected = noise(2, 3, 12, 18), np.empty((2, 3, 12, 18))
    for at in np.ndindex(2, 3):
        plane = Image.fromarray(clip.numpy()[at].astype(np.float32))
        small = plane.resize((18 // factor, 12 // factor), Image.Resampling.BOX)
        expected[at] = np.asarray(small.resize((18, 12), Image.Resampling.BILINEAR))
    found = Resample(factor=factor).purify(clip).numpy()
    assert np.abs(found - expected).max() <= 0.5 + 1e-3  # rounding alone
    assert torch.equal(Resample(factor=1).purify(clip), clip)


class TestNotch:
    pattern = np.einsum("t,h,w->thw", [4, -2, 1, -3], [1, -1, 2, 0, -2, 1], [2, -1, -1, 1, -1, 0])

    @pytest.mark.parametrize("amplitude", [1, 2])
    def test_an_added_pattern_is_removed_exactly(self, amplitude):
        """From clips that stand still; no sum leaves 0..255."""
        clean = noise(1, 3, 6, 6).clamp(60, 190).expand(4, 3, 6, 6)
        triggered = (clean.int() + amplitude * torch.from_numpy(self.pattern)[:, None]).byte()
        for scale in (1.0, 0.3):  # a template may be of any size
            template = Template(scale * self.pattern)
            assert template.amplitude(triggered) == pytest.approx(amplitude / scale)
            assert torch.equal(template.purify(triggered), clean)
            assert torch.equal(template.purify(clean), clean)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_amplitude_is_that_of_least_squares(self, seed):
        clip = noise(4, 3, 6, 6, seed=seed)
        grey = np.tensordot(clip.permute(0, 2, 3, 1).numpy(), [0.299, 0.587, 0.114], 1)
        pattern = np.random.default_rng(seed).normal(size=grey.shape)
        rows = []
        for volume in (pattern, grey):
            for axis in range(3):
                low = np.take(volume, range(volume.shape[axis] - 1), axis)
                volume = np.take(volume, range(1, volume.shape[axis]), axis) - low
            rows.append(volume.ravel())
        best = np.linalg.lstsq(rows[0][:, None], rows[1], rcond=None)[0][0]
        sign = 1 if best > 0 else -1
        assert Template(sign * pattern).amplitude(clip) == pytest.approx(abs(best))
        assert Template(-sign * pattern).amplitude(clip) == 0
        assert Template(-sign * pattern, signed=True).amplitude(clip) == pytest.approx(-abs(best))

    @pytest.mark.parametrize("phase", [0.4, 2.0, 3.5, 5.6])
    def test_of_a_pattern_with_a_phase_of_its_own_both_quadratures_are_removed(self, phase):
        real, imaginary = np.zeros((2, 4, 16, 16))
        rng = np.random.default_rng(1)  # apart, so that neither is in the other's differences
        real[:, :, :7], imaginary[:, :, 9:] = rng.normal(0, 8, (2, 4, 16, 7))
        added = np.cos(phase) * real + np.sin(phase) * imaginary
        still = noise(1, 3, 16, 16).clamp(80, 170).expand(4, 3, 16, 16)
        clip = (still + torch.from_numpy(added)[:, None]).round().byte()
        verdict = said(templates=np.stack([real, imaginary]), phases=("free", "free"))
        mended = Notch()(victim(), CLEAN, verdict=verdict)
        for one in mended.purifiers:
            clip = one.purify(clip)
        assert (clip.int() - still.int()).abs().max() <= 2

    def test_it_takes_the_template_that_the_verdict_holds(self):
        plain, batch = victim(), to_batch(CLEAN.read(0)[None])
        pattern = np.random.default_rng(0).normal(0, 20, (4, 16, 16)).astype(np.float32)
        stamped = (CLEAN.read(0) + torch.from_numpy(pattern)[:, None]).clamp(0, 255).byte()
        mended = Notch()(plain, CLEAN, verdict=said(template=pattern))
        batch = to_batch(stamped[None])
        with torch.no_grad():
            seen = to_batch(Template(pattern).purify(stamped)[None])
            assert torch.equal(mended(batch), plain(seen))
            assert not torch.equal(mended(batch), plain(batch))
            assert mended.layers() == plain.layers()

    @pytest.mark.parametrize("phases", [("fixed",), ("fixed", "free")])
    def test_only_patterns_with_a_phase_of_their_own_have_mirror_images(self, phases):
        pattern = np.random.default_rng(0).normal(0, 20, (4, 16, 16)).astype(np.float32)
        # Common motion, which footage has as well, is a group with a phase for each clip.
        groups = [{"kind": "common motion", "phase": "free"}]
        verdict = said(templates=np.stack([pattern] * len(phases)), phases=phases, groups=groups)
        mended = Notch()(victim(), CLEAN, verdict=verdict)
        assert [one.signed for one in mended.purifiers] == [phase == "free" for phase in phases]
        mirrored = (CLEAN.read(0) - torch.from_numpy(pattern)[:, None]).clamp(0, 255).byte()
        assert mended.purifiers[0].amplitude(mirrored) == 0

    def test_without_a_template_it_changes_nothing(self):
        plain, batch = victim(), to_batch(CLEAN.read(0)[None])
        mended = Notch()(plain, CLEAN, verdict=replace(said(), alarm=False))
        with torch.no_grad():
            assert mended is not plain and torch.equal(mended(batch), plain(batch))

    def test_a_template_that_stands_still_is_not_subtracted(self):
        plain, batch = victim(), to_batch(CLEAN.read(0)[None])
        picture = np.random.default_rng(0).normal(0, 20, (1, 16, 16)).astype(np.float32)
        mended = Notch()(plain, CLEAN, verdict=said(template=picture.repeat(4, 0)))
        with torch.no_grad():
            assert mended is not plain and torch.equal(mended(batch), plain(batch))
            assert mended.layers() == plain.layers()

    def test_a_template_of_another_size_is_refused_in_one_line(self):
        with pytest.raises(DataError, match="is 4×8×8, a clip is 4×16×16; give") as error:
            Notch()(victim(), CLEAN, verdict=said(template=np.zeros((4, 8, 8))))
        assert "\n" not in str(error.value)


class TestSubspace:
    @pytest.mark.parametrize("sizes", [(3,), (2, 3)])
    def test_courses_in_time_on_a_clip_that_stands_still_are_removed_exactly(self, sizes):
        """Pictures whose 3×3 means are 0, but at the border, and courses without a mean."""
        still = noise(1, 3, 12, 15).clamp(60, 190).expand(4, 3, 12, 15)
        row = torch.tensor([1, 0, -1])
        pictures = (
            row.repeat(4)[:, None] * row.repeat(5),
            row.roll(1).repeat(4)[:, None] * row.repeat(5),
        )
        courses = torch.tensor([[1, 1, -1, -1], [1, -1, -1, 1]])
        added = sum(
            size * course[:, None, None] * picture
            for size, course, picture in zip(sizes, courses, pictures, strict=False)
        )
        purified = Subspace().purify((still.int() + added[:, None]).byte())
        inner = (..., slice(1, -1), slice(1, -1))
        assert torch.equal(purified[inner], still[inner])
        assert torch.equal(Subspace().purify(still.contiguous()), still)

    def test_one_component_leaves_the_other_course(self):
        still = noise(1, 3, 12, 15).clamp(60, 190).expand(4, 3, 12, 15)
        row = torch.tensor([1, 0, -1])
        picture = row.repeat(4)[:, None] * row.repeat(5)
        strong = 4 * torch.tensor([1, 1, -1, -1])[:, None, None] * picture
        weak = torch.tensor([1, -1, -1, 1])[:, None, None] * torch.outer(
            row.repeat(4), torch.tensor([1, -2, 1]).repeat(5)
        )
        given = (still.int() + (strong + weak)[:, None]).byte()
        inner = (..., slice(1, -1), slice(1, -1))
        left = Subspace(components=1).purify(given).int() - still.int()
        assert torch.equal(left[inner], weak[:, None].expand_as(left)[inner])

    def test_what_moves_through_the_picture_stays(self):
        """A disc on its way across: it has neither a course nor a picture of few rows."""
        t, y, x = np.ogrid[:12, :30, :40]
        disc = (y - 8 - t) ** 2 + (x - 6 - 2 * t) ** 2 < 20
        clip = torch.from_numpy(np.where(disc, 200, 90).astype(np.uint8))[:, None]
        clip = clip.expand(12, 3, 30, 40).contiguous()
        change = Subspace().purify(clip).int() - clip.int()
        assert change.float().square().mean().sqrt() < 2  # the disc itself: 24

    @pytest.mark.parametrize("seed", range(3))
    def test_a_separable_pattern_goes_and_what_is_not_separable_stays(self, seed):
        """One and the same course; a picture of one row and column vector, or of all."""
        rng = np.random.default_rng(seed)
        course = np.array([1, -1, 1, 1, -1, -1, 1, -1])
        signs = (rng.choice([-1, 1], size) for size in (32, 40))
        still = rng.integers(60, 190, (1, 3, 32, 40)) + np.zeros((8, 1, 1, 1))
        left = {}
        for name, picture in {
            "separable": np.outer(*signs),
            "not": rng.choice([-1, 1], (32, 40)),
        }.items():
            added = np.multiply.outer(3 * course, picture)[:, None]
            clip = torch.from_numpy((still + added).astype(np.uint8))
            rest = Subspace(rank=2).purify(clip).numpy() - still
            left[name] = float((rest * added).mean() / (added**2).mean())
        assert abs(left["separable"]) < 0.3
        assert left["not"] > 0.6

    def test_means_are_put_back(self):
        """Exactly so where the means leave most of a wave, and nothing of what they take whole."""
        rows = np.cos(np.pi * 9 * (2 * np.arange(16) + 1) / 32)
        columns = np.cos(np.pi * 12 * (2 * np.arange(20) + 1) / 40)
        wave = np.outer(rows, columns)
        left = wave - ndimage.uniform_filter(wave, 3, mode="nearest")
        np.testing.assert_allclose(_restored(left[None])[0], wave, atol=0.01)
        np.testing.assert_allclose(_restored(np.ones((1, 16, 20))), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (ReEncode, {"quality": 99}),
        (ReEncode, {"codec": "gif"}),
        (JPEG, {"quality": 0}),
        (TemporalMedian, {"window": 4}),
        (LowPass, {"sigma": 0.0}),
        (Resample, {"factor": 0}),
        (Subspace, {"components": 0}),
        (Subspace, {"rank": 0}),
        (Subspace, {"limit": float("inf")}),
    ],
)
def test_impossible_options_are_refused_in_one_line(cls, options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(cls, options, "mitigation")
    assert "\n" not in str(error.value)
