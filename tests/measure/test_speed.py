"""The benchmark: what it prints, and that its reference is the transform that it claims to be."""

import numpy as np
import pytest

from vidoor.measure import speed
from vidoor.types import Geometry


def test_interleaved_gives_the_median_of_each():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = speed.interleaved(candidates, cold=False, runs=3)
    assert calls == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
    assert all(0 <= value < 1 for value in seconds.values())


@pytest.mark.parametrize("kind", speed.TRIGGERS)
def test_all_ways_to_embed_agree_on_a_small_clip(monkeypatch, kind):
    """Within one level where single precision or the naive sum rounds the other way."""
    trigger = speed.TRIGGERS[kind]
    rng = np.random.default_rng(0)
    clip = speed.torch.from_numpy(rng.integers(0, 256, (32, 3, 32, 32), dtype=np.uint8))
    ours = trigger(clip).numpy()
    assert (speed._naive(clip.numpy(), trigger) == ours).all()
    if kind == "dft":
        single = speed._single(clip.numpy(), trigger)
        assert np.abs(single.astype(int) - ours).max() <= 1
        volume = speed.torch.from_numpy(trigger.pattern(Geometry(32, 32, 32)).volume())[:, None]
        dense = speed._dense(clip, volume.real.float(), volume.imag.float().square()).numpy()
        assert np.abs(dense.astype(int) - ours).max() <= 1
