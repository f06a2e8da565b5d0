"""Random views: against slices and an independent resampler; and what the draws hang on."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from vidoor.victims import augmentation
from vidoor.victims.augmentation import Augmentation


def clip(frames=3, height=17, width=24):
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(1, 256, (frames, 3, height, width), dtype=np.uint8))


def views(config, count=200, source=None):
    source = clip() if source is None else source
    return [config(source, np.random.default_rng([5, k])) for k in range(count)]


def test_nothing_is_done_by_default():
    config = Augmentation()
    assert not config
    assert config(clip(), np.random.default_rng(0)).equal(clip())


def test_flips_half_of_the_clips_left_to_right():
    seen = views(Augmentation(flip=True))
    mirrored = np.flip(clip().numpy(), 3)
    flipped = [(view.numpy() == mirrored).all() for view in seen]
    assert all(view.equal(clip()) or was for view, was in zip(seen, flipped, strict=True))
    assert 70 <= sum(flipped) <= 130


@given(down=st.integers(-16, 16), right=st.integers(-23, 23))
def test_a_shift_is_a_window_of_the_padded_clip(down, right):
    height, width = clip().shape[-2:]
    padded = np.pad(clip().numpy(), ((0, 0), (0, 0), (height, height), (width, width)))
    window = padded[..., height - down : 2 * height - down, width - right : 2 * width - right]
    assert (augmentation._shifted(clip(), down, right).numpy() == window).all()


def test_pad_draws_every_shift_up_to_its_share_and_no_other():
    source = torch.zeros(1, 3, 16, 32, dtype=torch.uint8)
    source[..., 8, 16] = 255
    at = {
        tuple(np.argwhere(view[0, 0].numpy())[0] - (8, 16))
        for view in views(Augmentation(crop="pad", crop_share=0.125), 2000, source)
    }
    assert at == {(y, x) for y in range(-2, 3) for x in range(-4, 5)}


def test_a_resized_crop_is_the_bilinear_resampling_of_some_window():
    """Exhaustively: one of all windows that are allowed, resampled by scipy, is the view."""
    source = clip(1, 9, 10)
    config = Augmentation(crop="resized", crop_share=0.25)

    def resampled(top, left, height, width):
        window = source[0, 0].numpy()[top : top + height, left : left + width].astype(float)
        y = (np.arange(9) + 0.5) * height / 9 - 0.5
        x = (np.arange(10) + 0.5) * width / 10 - 0.5
        grid = np.meshgrid(y, x, indexing="ij")
        return map_coordinates(window, grid, order=1, mode="nearest")

    windows = [
        resampled(top, left, height, width)
        for height in range(7, 10)
        for width in range(8, 11)
        for top in range(10 - height)
        for left in range(11 - width)
    ]
    seen = views(config, 60, source)
    errors = [min(np.abs(w - view[0, 0].numpy()).max() for w in windows) for view in seen]
    assert max(errors) <= 1.01  # bytes are rounded, in fixed point
    assert len({view.numpy().tobytes() for view in seen}) > 10


def test_rows_and_columns_of_a_window_are_drawn_apart():
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8)
    source = torch.stack([ramp[:, None].expand(16, 16), ramp.expand(16, 16), ramp.expand(16, 16)])
    seen = views(Augmentation(crop="resized", crop_share=0.5), 300, source[None])
    for corner in (0, -1):
        rows, columns = np.array([view[0, :2, corner, corner].numpy() for view in seen]).T
        assert len(set(rows)) > 4
        assert len(set(columns)) > 4
        assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.2


@pytest.mark.parametrize("config", [Augmentation(flip=True, crop=c) for c in ("pad", "resized")])
def test_all_frames_move_alike_and_the_clip_is_left_alone(config):
    still = clip(1).expand(4, -1, -1, -1)
    before = still.clone()
    for view in views(config, 20, still):
        assert view.shape == still.shape
        assert view.dtype == torch.uint8
        assert all(frame.equal(view[0]) for frame in view)
    assert still.equal(before)


@pytest.mark.parametrize("options", [{"crop": "centre"}, {"crop_share": 0.0}, {"crop_share": 1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="crop"):
        Augmentation(**options)
