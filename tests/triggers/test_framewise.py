"""What the frame-wise triggers share: temporal modes, seeds, and what they refuse."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from vidoor.errors import TriggerError
from vidoor.registry import methods
from vidoor.triggers.badnet import BadNet
from vidoor.triggers.blend import Blend
from vidoor.triggers.framewise import Framewise
from vidoor.triggers.fttrojan import FTtrojan
from vidoor.triggers.sig import SIG
from vidoor.triggers.wanet import WaNet

ALL = [BadNet, Blend, FTtrojan, SIG, WaNet]


def still(frames, seed=0):
    """A clip of one frame over and over."""
    frame = np.random.default_rng(seed).integers(60, 190, (3, 40, 48), dtype=np.uint8)
    return torch.from_numpy(np.repeat(frame[None], frames, axis=0))


def test_these_are_all():
    assert {cls for cls in methods("trigger").values() if issubclass(cls, Framewise)} == set(ALL)


@pytest.mark.parametrize("cls", ALL)
def test_static_is_the_same_in_every_frame_and_dynamic_another_in_each(cls):
    static, dynamic = (cls(temporal=mode)(still(6)) for mode in ("static", "dynamic"))
    assert (static == static[0]).all()
    assert not any(torch.equal(a, b) for a, b in pairwise(dynamic))


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_longer_clip_carries_the_same_trigger(cls, mode):
    trigger = cls(temporal=mode)
    assert torch.equal(trigger(still(9))[:4], trigger(still(4)))


@pytest.mark.parametrize("cls", ALL)
def test_another_seed_moves_it_otherwise(cls):
    first, second = (cls(temporal="dynamic", seed=seed)(still(6)) for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"temporal": "statik"}, "unknown temporal mode 'statik'; valid: static, dynamic; did you"),
        ({"seed": -1}, r"seed must be in 0..2\*\*63 - 1, not -1"),
        ({"seed": 2**63}, "seed must be in"),
    ],
)
def test_bad_options_get_one_line(cls, options, line):
    with pytest.raises(ValueError, match=line) as error:
        cls(**options)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("cls", [Blend, FTtrojan])
def test_coloured_triggers_need_colour(cls):
    with pytest.raises(TriggerError, match="the clip has 1 channels; give it an RGB clip"):
        cls()(still(2)[:, :1])


@pytest.mark.parametrize("cls", [BadNet, SIG, WaNet])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_the_others_treat_channels_alike(cls, mode):
    grey = still(3)[:, :1]
    trigger = cls(temporal=mode)
    assert torch.equal(trigger(grey.expand(-1, 3, -1, -1)), trigger(grey).expand(-1, 3, -1, -1))
