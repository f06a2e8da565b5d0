"""The warp against cubic convolution written out and scipy's interpolation of the frames."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, maximum_filter, minimum_filter

from vidoor.triggers.wanet import WaNet, control_grid
from vidoor.types import Geometry


def cubic(distance):
    """Keys' kernel with a = −0.75."""
    d, a = np.abs(distance), -0.75
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def stretch(points, length):
    """Matrix that interpolates ``points`` samples to ``length``, ends on ends, edges repeated."""
    matrix = np.zeros((length, points))
    for row, at in enumerate(np.linspace(0, points - 1, length)):
        for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            matrix[row, np.clip(tap, 0, points - 1)] += cubic(at - tap)
    return matrix


def warped(frame, control, s):
    """One channel H×W of a frame, by way of pixel coordinates in float64."""
    sides = frame.shape
    k = control.shape[-1]
    rows, columns = stretch(k, sides[0]), stretch(k, sides[1])
    places = []
    for flow, side, pixel in zip(control[::-1], sides, np.indices(sides), strict=True):
        # s·flow/side in coordinates from −1 to 1, which are (side − 1)/2 pixels a unit
        shift = s * (rows @ flow @ columns.T) / side * (side - 1) / 2
        places.append(np.clip(pixel + shift, 0, side - 1))
    return map_coordinates(frame.astype(float), places, order=1, mode="nearest")


def noise(geometry, seed=0):
    frames, height, width = geometry
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8))


@pytest.mark.parametrize("temporal", ["static", "dynamic"])
@pytest.mark.parametrize("geometry", [(3, 48, 48), (2, 224, 224), (3, 33, 50), (2, 17, 16)])
@pytest.mark.parametrize("options", [*WaNet.presets.values(), {"k": 3, "s": 40.0}, {"k": 1}])
def test_it_is_the_published_warp(options, geometry, temporal):
    trigger = WaNet(**options, seed=5, temporal=temporal)
    clip = noise(geometry)
    out = trigger(clip).numpy()
    for t, frame in enumerate(clip.numpy()):
        generator = np.random.default_rng([5, t if temporal == "dynamic" else 0])
        control = control_grid(generator, trigger.k)
        exact = np.stack([warped(channel, control, trigger.s) for channel in frame])
        difference = np.abs(out[t] - exact)
        assert difference.max() <= 0.51  # of a grey level: half for rounding, the rest precision
        assert not (out[t] == frame).all()


@pytest.mark.parametrize("k", [1, 4, 8, 31])
def test_control_points_are_uniform_with_a_mean_magnitude_of_one(k):
    grids = np.stack([control_grid(np.random.default_rng(seed), k) for seed in range(400)])
    np.testing.assert_allclose(np.abs(grids).mean(axis=(1, 2, 3)), 1)
    if k > 1:  # the scale that this takes is near that of the mean of |uniform(−1, 1)|, 1/2
        assert np.abs(grids).max() < 8
        assert grids.mean() == pytest.approx(0, abs=0.05)
        inside = np.abs(grids) < 1
        assert inside.mean() == pytest.approx(0.5, abs=0.05)


def test_width_and_height_have_a_flow_of_their_own():
    """Stripes along an axis do not move along it."""
    ramp = torch.arange(0, 240, 5, dtype=torch.uint8)
    clip = torch.stack([ramp.expand(48, 48), ramp[:, None].expand(48, 48), ramp.expand(48, 48)])
    out = WaNet(s=4.0)(clip[None])[0]
    assert torch.equal(out[0], out[2])
    assert not torch.equal(out[0], out[1].T)


@pytest.mark.parametrize("geometry", [(1, 48, 48), (1, 224, 224), (1, 64, 200)])
def test_the_displacement_in_pixels_is_the_same_at_any_size(geometry):
    one, two = (WaNet(s=s).describe(Geometry(*geometry))["displacement"] for s in (1.0, 2.0))
    assert 0.45 < one < 0.75
    assert two == pytest.approx(2 * one, rel=0.06)  # but where the border stops it


def test_a_weak_warp_still_moves_what_a_strong_one_does():
    clip = noise((2, 48, 48))
    quality = [
        float((WaNet(s=s)(clip).double() - clip.double()).square().mean()) for s in (0.1, 0.5, 1, 2)
    ]
    assert quality == sorted(quality)


class TestNoiseMode:
    clip = noise((4, 30, 40))

    def test_every_seed_perturbs_otherwise_and_always_in_the_same_way(self):
        trigger = WaNet()
        first = trigger.noisy(self.clip, 1)
        assert torch.equal(first, WaNet().noisy(self.clip, 1))
        assert not torch.equal(first, trigger.noisy(self.clip, 2))
        assert not torch.equal(first, trigger(self.clip))

    def test_the_noise_is_less_than_half_a_pixel(self):
        out = WaNet(s=0.0).noisy(self.clip, 3).numpy()
        clip = self.clip.numpy()
        size = (1, 1, 3, 3)
        assert (out >= minimum_filter(clip, size)).all()
        assert (out <= maximum_filter(clip, size)).all()
        assert (out != clip).mean() > 0.9

    def test_the_noise_is_around_the_warp(self):
        """Averaged over many seeds a ramp comes out as the warp alone leaves it."""
        ramp = torch.arange(0, 240, 6, dtype=torch.uint8).expand(1, 3, 30, 40)
        trigger = WaNet(s=3.0)
        mean = torch.stack([trigger.noisy(ramp, seed).float() for seed in range(400)]).mean(0)
        difference = (mean - trigger(ramp))[..., 3:-3]  # the border stops it
        assert difference.abs().max() < 1.0
        assert difference.abs().mean() < 0.3

    @pytest.mark.parametrize(("temporal", "alike"), [("static", True), ("dynamic", False)])
    def test_a_static_trigger_has_static_noise(self, temporal, alike):
        still = self.clip[:1].expand(4, -1, -1, -1)
        out = WaNet(temporal=temporal, s=0.0).noisy(still, 0)
        assert torch.equal(out[0], out[1]) == alike

    def test_a_batch_shares_its_noise(self):
        clips = torch.stack([self.clip, 255 - self.clip])
        out = WaNet(temporal="dynamic").noisy(clips, 0)
        assert torch.equal(out[1], WaNet(temporal="dynamic").noisy(clips[1], 0))


@pytest.mark.parametrize("k", [0, -1, 1025])
def test_a_control_grid_that_is_none_gets_one_line(k):
    with pytest.raises(ValueError, match=f"k must be in 1..1024 control points, not {k}"):
        WaNet(k=k)
