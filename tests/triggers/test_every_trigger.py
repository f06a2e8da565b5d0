"""What every registered trigger must do, in every preset. Registering one is enough to be here."""

import pickle

import numpy as np
import pytest
import torch

from vidoor.recipe import build, table
from vidoor.registry import methods

CASES = [
    pytest.param(cls, dict(options), id=f"{name}-{preset}")
    for name, cls in methods("trigger").items()
    for preset, options in (getattr(cls, "presets", {}) or {"default": {}}).items()
]
GEOMETRIES = [(16, 48, 48), (7, 33, 50), (1, 16, 17), (50, 20, 20)]


def noise(geometry: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    frames, height, width = geometry
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8))


@pytest.mark.parametrize(("cls", "options"), CASES)
class TestEveryTrigger:
    @pytest.mark.parametrize("geometry", GEOMETRIES)
    def test_shape_dtype_and_the_input_left_alone(self, cls, options, geometry):
        clip = noise(geometry)
        before = clip.clone()
        out = cls(**options)(clip)
        assert out.shape == clip.shape
        assert out.dtype == torch.uint8
        assert out.is_contiguous()
        assert torch.equal(clip, before)
        assert out.data_ptr() != clip.data_ptr()

    def test_the_same_bytes_every_time_and_from_a_copy(self, cls, options):
        clip, trigger = noise((9, 24, 31)), cls(**options)
        assert torch.equal(trigger(clip), trigger(clip))
        assert torch.equal(pickle.loads(pickle.dumps(trigger))(clip), trigger(clip))

    def test_it_changes_something(self, cls, options):
        clip = noise((16, 48, 48))
        assert not torch.equal(cls(**options)(clip), clip)

    def test_it_goes_through_a_recipe_unchanged(self, cls, options):
        trigger = cls(**options)
        written = table(trigger)
        written.pop("kind")
        again = build(cls, written, "trigger")
        assert again == trigger
        assert hash(again) == hash(trigger)

    def test_zero_strength_is_the_identity(self, cls, options):
        strengths = {"delta", "rms"} & set(options)
        if not strengths:
            pytest.skip("has no strength in delta or rms")
        clip = noise((5, 16, 18))
        assert torch.equal(cls(**{**options, **dict.fromkeys(strengths, 0.0)})(clip), clip)

    def test_it_has_a_sentence_and_documented_presets(self, cls, options):
        assert (cls.__doc__ or "").strip()
