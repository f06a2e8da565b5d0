"""Fine-pruning: which channels go, how many, and that they are gone for good."""

import numpy as np
import pytest
import torch
from torch import nn

from vidoor.data.shapes import Shapes
from vidoor.errors import RecipeError, WeightsError
from vidoor.mitigations.fine_pruning import FinePruning, pruned
from vidoor.options import build
from vidoor.registry import methods
from vidoor.types import ClipSet, Geometry
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.slowfast import SlowFast
from vidoor.victims.timesformer import TimeSformer
from vidoor.victims.victim import Victim, to_batch

CLEAN = Shapes(train=24, test=4, frames=4, size=(16, 16), classes=4).open(0).train
LEVELS, CLIPS = (200, 160, 110), (4, 8, 12)
"""Grey level of the one colour that clips of each class have, and how many they are."""

SMALL = {n: c for n, c in methods("victim").items() if "small" in getattr(c, "presets", {})}

SILENT = (1, 2, 4)
"""Channels of the hand-made layer that no clip lights."""


class Plain:
    mean, std = (0.0,) * 3, (1.0,) * 3
    head, penultimate, stages = "fc", "pool", ("layer",)


class Colours(nn.Module):
    """Six channels: one for each colour, and three that are silent. The logits are the colours."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv3d(3, 6, 1), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(6, 3)
        with torch.no_grad():
            self.layer[0].weight.fill_(0.1)
            self.layer[0].bias.fill_(-1.0)
            self.fc.weight.fill_(0.2)
            self.fc.bias.copy_(torch.tensor([0.0, 0.0, 0.01]))  # the third where nothing is seen
            for colour, channel in enumerate((0, 3, 5)):
                self.layer[0].weight[channel] = 0.0
                self.layer[0].weight[channel, colour] = 1.0
                self.layer[0].bias[channel] = 0.0
                self.fc.weight[:, channel] = 0.0
                self.fc.weight[colour, channel] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.layer(x)).flatten(1))


def colours() -> tuple[Victim, ClipSet]:
    labels = tuple(np.repeat(range(3), CLIPS).tolist())
    frames = torch.zeros(24, 2, 3, 4, 4, dtype=torch.uint8)
    for n, label in enumerate(labels):
        frames[n, :, label] = LEVELS[label]
    clips = ClipSet(
        tuple(map(str, range(24))), labels, ("r", "g", "b"), Geometry(2, 4, 4), frames.__getitem__
    )
    return Victim(Colours(), Plain()).eval(), clips


def test_what_clean_clips_leave_silent_is_masked_and_nothing_else_changes():
    victim, clips = colours()
    mended = FinePruning(fraction=1.0, fraction_pruned=0.5, epochs=0)(victim, clips)
    conv, before = mended.network.layer[0], victim.network.layer[0]
    for channel in range(6):
        if channel in SILENT:
            assert not conv.weight[channel].any()
            assert conv.bias[channel] == 0
        else:
            assert torch.equal(conv.weight[channel], before.weight[channel])
            assert torch.equal(conv.bias[channel], before.bias[channel])
    batch = to_batch(torch.stack([clips.read(n) for n in (0, 5, 15)]))
    assert torch.equal(mended(batch), victim(batch))


def test_the_order_is_that_of_the_mean_activations():
    victim, clips = colours()
    ranked = FinePruning(fraction=1.0).ranked(victim, clips)
    # Means over all clips: 200 / 6, 160 / 3 and 110 / 2 grey levels.
    assert ranked.channels.layer == "layer"
    assert ranked.order == (*SILENT, 0, 3, 5)


@pytest.mark.parametrize(("fall", "count"), [(4.0, 3), (16.0, 3), (17.0, 4), (50.1, 5)])
def test_channels_go_until_accuracy_falls(fall, count):
    """The red channel is worth a sixth of the clips, the green one a third; one is always left."""
    victim, clips = colours()
    mended = FinePruning(fraction=1.0, fall=fall, step=1 / 6, epochs=0)(victim, clips)
    assert int((mended.network.layer[0].weight.flatten(1) == 0).all(1).sum()) == count


def test_a_fraction_of_0_is_the_victim_to_the_bit():
    victim = victims.build(R2Plus1D(width=4, depth=(1, 1)), 4, 0)
    mended = FinePruning(fraction_pruned=0.0, epochs=0)(victim, CLEAN)
    before, after = victim.state_dict(), mended.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in SMALL.items()])
def test_removed_channels_of_any_victim_give_0_and_the_others_do_not(cls):
    victim = victims.build(cls(**cls.presets["small"]), 4, 0).eval()
    clips = to_batch(torch.stack([CLEAN.read(n) for n in range(4)]))
    ranked = FinePruning(rank="random").ranked(victim, CLEAN)
    layer, size = ranked.channels.layer, ranked.channels.size
    features = pruned(victim, ranked, size // 2).features(clips, layer)
    alive = features.movedim(1 if features.dim() == 5 else 2, 0).flatten(1).any(1)
    assert features.dim() == 3 or layer == victim.stages[-1]
    kept = set(range(size)) - set(ranked.order[: size // 2])
    assert set(np.flatnonzero(alive)) <= kept
    assert alive.sum() > len(kept) / 2
    assert torch.equal(pruned(victim, ranked, 0)(clips), victim(clips))


def test_fine_tuning_does_not_bring_them_back():
    victim = victims.build(R2Plus1D(width=4, depth=(2,)), 4, 0)
    method = FinePruning(fraction_pruned=0.5, epochs=3, lr=1e-2)
    mended = method(victim, CLEAN)
    ranked = method.ranked(victim, CLEAN)
    assert {writer.path for writer in ranked.channels.writers} == {
        "layer1.0.conv2.1",
        "layer1.1.conv2.1",
        "stem.4",  # which the shortcuts carry through both blocks
    }
    untuned = FinePruning(fraction_pruned=0.5, epochs=0)(victim, CLEAN)
    gone = untuned.network.layer1[1].conv2[1].weight == 0
    assert gone.sum() == 2
    for writer in ranked.channels.writers:
        norm = mended.network.get_submodule(writer.path)
        assert not norm.weight[gone].any()
        assert not norm.bias[gone].any()
        assert (norm.weight[~gone] != 1).all()


def test_nor_where_no_activation_holds_them_at_0():
    victim = victims.build(TimeSformer(width=8, depth=1, heads=2, patch=8, size=16), 4, 0)
    method = FinePruning(rank="random", fraction_pruned=0.25, epochs=3, lr=1e-2)
    mended, ranked = method(victim, CLEAN), method.ranked(victim, CLEAN)
    dense = mended.network.get_submodule(ranked.channels.writers[0].path)
    assert ranked.channels.writers[0].path.endswith("intermediate.dense")
    assert not dense.weight[list(ranked.order[:8])].any()
    assert not dense.bias[list(ranked.order[:8])].any()
    assert dense.weight[list(ranked.order[8:])].any(1).all()


def test_the_control_removes_as_many_at_random():
    victim, clips = colours()
    orders = {FinePruning(rank="random", seed=s).ranked(victim, clips).order for s in range(5)}
    assert len(orders) > 1
    assert all(sorted(order) == list(range(6)) for order in orders)
    mended = build(FinePruning, {"preset": "random"} | {"fraction_pruned": 0.5}, "mitigation")
    assert mended.rank == "random"


def test_channels_that_a_layer_does_not_write_are_refused_in_one_line():
    victim = victims.build(TimeSformer(width=8, depth=1, heads=2, patch=8, size=16), 4, 0)
    stage = victim.stages[-1]
    for layer, words in ((stage, "no channels to prune: layer .* comes from"), ("no", "unknown")):
        with pytest.raises(WeightsError, match=words) as error:
            FinePruning(layer=layer)(victim, CLEAN)
        assert "\n" not in str(error.value)


def test_a_layer_is_checked_without_memory_or_arithmetic():
    for config in (R2Plus1D(), SlowFast(), TimeSformer(size=32)):
        with torch.device("meta"):
            victim = Victim(config.build(4), config)
        FinePruning().check(victim, Geometry(8, 32, 32))
    with pytest.raises(WeightsError, match=r"no channels to prune: layer .* comes from"):
        FinePruning(layer=victim.stages[-1]).check(victim, Geometry(8, 32, 32))


@pytest.mark.parametrize(
    "options",
    [
        {"fraction_pruned": 1.0},
        {"fraction_pruned": -0.1},
        {"rank": "highest"},
        {"fall": -1.0},
        {"step": 0.0},
        {"epochs": -1},
        {"fraction": 0.0},
    ],
)
def test_impossible_options_are_refused_in_one_line(options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(FinePruning, options, "mitigation")
    assert "\n" not in str(error.value)
