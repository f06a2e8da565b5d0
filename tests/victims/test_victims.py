"""What every registered victim must do, and what victims offer beside logits."""

import copy
import inspect

import pytest
import torch
from published import published, shapes
from safetensors.torch import save_file
from torch import nn
from travel import sent

from vidoor.errors import WeightsError
from vidoor.meter import metered
from vidoor.options import component
from vidoor.registry import methods
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D

TOKENS = {"width": 8, "depth": 1, "heads": 2, "patch": 8}
SMALL = {
    "i3d": {"width": 4, "depth": (1, 1, 1), "dropout": 0.0},
    "s3d": {"width": 4, "depth": (1, 1, 1), "dropout": 0.0},
    "custom": {
        "factory": "vidoor.victims.r2plus1d:R2Plus1DNetwork",
        "options": {"width": 4, "depth": (1, 1)},
        "classes": "classes",
    },
    "slowfast": {"width": 8, "depth": (1, 1), "beta": 4},
    "timesformer": {**TOKENS, "size": 32},
    "videomae": TOKENS,
}
"""The smallest sensible instance of each; of others, whichever of the usual options they have."""

GEOMETRIES = [(8, 32, 32), (4, 24, 40), (16, 48, 48)]


def small(cls):
    name = next(name for name, registered in methods("victim").items() if registered is cls)
    known = inspect.signature(cls).parameters
    usual = {"width": 4, "depth": (1, 1), "dropout": 0.0}
    options = SMALL.get(name, usual)
    return cls(**{name: value for name, value in options.items() if name in known})


def batch(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def module_of(victim, layer: str) -> nn.Module:
    return victim.network.get_submodule(layer)


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("victim").items()])
class TestEveryVictim:
    def test_logits_at_three_geometries(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        for geometry in GEOMETRIES:
            logits = victim.logits(batch(2, 3, *geometry))
            assert logits.shape == (2, 5)
            assert logits.isfinite().all()

    def test_clips_of_a_batch_do_not_see_each_other(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(3, 3, 8, 32, 32)
        alone = torch.cat([victim.logits(clip[None]) for clip in clips])
        torch.testing.assert_close(victim.logits(clips), alone, rtol=1e-4, atol=1e-5)

    def test_backward_reaches_every_parameter(self, cls):
        victim = victims.build(small(cls), 5, 0)
        # More frames than one and not only one patch, so that every layer has something to weigh.
        victim(batch(2, 3, 16, 48, 48)).square().sum().backward()
        idle = [n for n, p in victim.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []

    def test_every_layer_can_be_tapped(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(2, 3, 8, 32, 32)
        layers = victim.layers(clips)
        assert {victim.head, victim.penultimate, *victim.stages} <= {*layers, victim.head}
        logits, tapped = victim.taps(clips, layers)
        assert torch.equal(logits, victim.logits(clips))
        assert all(len(features) == 2 for features in tapped)
        assert layers == victim.layers()
        for layer in victim.stages:
            assert torch.equal(victim.features(clips, layer), tapped[layers.index(layer)])
        with pytest.raises(WeightsError, match=r"unknown layer 'nowhere'; valid: .*all: victim"):
            victim.features(clips, "nowhere")

    def test_the_head_reads_the_embeddings_and_gives_the_logits(self, cls):
        """At a size where the head sees one position; dropout is off."""
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(2, 3, 4, 24, 24)
        embeddings, head = victim.embeddings(clips), module_of(victim, victim.head)
        assert embeddings.shape == (2, head.weight.shape[1])
        logits = embeddings @ head.weight.flatten(1).T + head.bias
        torch.testing.assert_close(logits, victim.logits(clips))

    def test_a_head_can_be_replaced(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(2, 3, 8, 32, 32)
        before = victim.embeddings(clips)
        victim.replace_head(7, seed=3)
        assert victim.logits(clips).shape == (2, 7)
        assert torch.equal(victim.embeddings(clips), before)
        first = copy.deepcopy(module_of(victim, victim.head).state_dict())
        victim.replace_head(7, seed=3)
        again = module_of(victim, victim.head).state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_what_is_frozen_stays_as_it_is(self, cls):
        victim = victims.build(small(cls), 5, 0)
        layer = victim.stages[0]
        victim.freeze([layer])
        victim.train()
        before = copy.deepcopy(victim.network.state_dict())
        optimizer = torch.optim.AdamW(victim.parameters(), lr=0.1)
        victim(batch(2, 3, 8, 32, 32)).square().sum().backward()
        optimizer.step()
        after = victim.network.state_dict()
        same = {name for name in before if torch.equal(before[name], after[name])}
        assert {name for name in before if name.startswith(f"{layer}.")} <= same
        assert not any(name.startswith(f"{victim.head}.") for name in same)
        victim.unfreeze()
        assert all(parameter.requires_grad for parameter in victim.parameters())
        assert module_of(victim, layer).training

    def test_save_and_load_give_the_same_logits_to_the_bit(self, cls, tmp_path):
        first, second = (victims.build(small(cls), 5, seed).eval() for seed in (0, 1))
        clips = batch(2, 3, 8, 32, 32)
        assert not torch.equal(first(clips), second(clips))
        victims.save(first, tmp_path / "w.safetensors")
        victims.load(second, tmp_path / "w.safetensors")
        assert torch.equal(first(clips), second(clips))

    def test_pickling_and_copying_keep_it(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(2, 3, 8, 32, 32)
        for twin in (sent(victim), copy.deepcopy(victim)):
            assert torch.equal(twin(clips), victim(clips))
            assert twin.stages == victim.stages

    def test_the_seed_alone_decides_the_weights(self, cls):
        states = [victims.build(small(cls), 5, seed).state_dict() for seed in (0, 0, 1)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])

    def test_normalisation_is_inside(self, cls):
        config = small(cls)
        victim = victims.build(config, 5, 0).eval()
        clips = batch(1, 3, 8, 32, 32)
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1, 1) for v in (config.mean, config.std))
        assert torch.equal(victim(clips), victim.network((clips - mean) / std))

    def test_presets_are_options(self, cls):
        name = next(name for name, registered in methods("victim").items() if registered is cls)
        presets = getattr(cls, "presets", {})
        assert name == "custom" or {"paper", "small"} <= set(presets)
        for preset in presets:
            component("victim", {"kind": name, "preset": preset})


@pytest.mark.parametrize("name", ["s3d", "i3d", "slowfast"])
def test_leaving_out_the_stems_pools_changes_no_name_and_keeps_the_picture(name):
    cls = methods("victim")[name]
    kept, left = (published(cls(stem_pools=pools), 5) for pools in (True, False))
    first, second = (victim.network.state_dict() for victim in (kept, left))
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}
    ((*_, height, _),) = shapes(kept, [kept.stages[0]], 8, 64, 64)
    ((*_, larger, _),) = shapes(left, [left.stages[0]], 8, 64, 64)
    assert larger == height * (2 if name == "slowfast" else 4)


def test_several_layers_cost_one_pass_forward_and_one_backward():
    victim = victims.build(R2Plus1D(width=4, depth=(1, 1)), 3, 0)
    with metered() as spent:
        logits, (first, second) = victim.taps(batch(2, 3, 4, 16, 16), victim.stages)
        (logits.sum() + first.sum() + second.sum()).backward()
    assert (spent.cost.forward, spent.cost.backward) == (2, 2)


def test_features_are_those_before_a_module_that_works_in_place():
    """layer1's first ReLU works in place on what batch norm gave."""
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 3, 0).eval()
    norm, relu = victim.taps(batch(2, 3, 4, 16, 16), ["layer1.0.conv1.1", "layer1.0.conv1.2"])[1]
    assert norm.min() < 0
    assert torch.equal(norm.relu(), relu)


class Several(nn.Module):
    def forward(self, x):
        return {"state": [x.mean((2, 3, 4)), x], "other": x}


class Rows(nn.Module):
    def forward(self, x):
        return x.repeat(3, 1)


class Odd(nn.Module):
    """Modules that return more than a tensor, none, other rows; one that is never called."""

    def __init__(self):
        super().__init__()
        self.several = Several()
        self.rows = Rows()
        self.never = nn.Linear(3, 3)
        self.fc = nn.Linear(3, 4)

    def forward(self, x):
        x = self.several(x)["state"][0]
        self.rows(x)
        return self.fc(x)


def test_what_a_layer_gives_is_one_tensor_with_a_row_for_each_clip():
    class Plain:
        mean, std = (0.0,) * 3, (1.0,) * 3

    victim = victims.Victim(Odd(), Plain())
    assert (victim.head, victim.penultimate, victim.stages) == ("fc", "never", ("never",))
    clips = batch(2, 3, 4, 8, 8)
    assert torch.equal(victim.features(clips, "several"), clips.mean((2, 3, 4)))
    assert victim.layers() == ["several", "fc"]
    with pytest.raises(WeightsError, match="layer 'rows' gives 6×3 for 2 clips"):
        victim.features(clips, "rows")
    with pytest.raises(WeightsError, match="layer 'never' is not called"):
        victim.features(clips, "never")


def test_a_head_of_another_kind_is_not_replaced():
    class Planar:
        mean, std, head = (0.0,) * 3, (1.0,) * 3, "0"

    victim = victims.Victim(nn.Sequential(nn.Conv3d(3, 2, 3), nn.Flatten()), Planar())
    with pytest.raises(WeightsError, match="the head '0' is a Conv3d; only a linear layer"):
        victim.replace_head(3)


@pytest.mark.parametrize("options", [{"width": 1}, {"depth": ()}, {"depth": (1, 0)}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        R2Plus1D(**options)


def test_files_that_do_not_fit_are_refused(tmp_path):
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 3, 0)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="neither a safetensors file nor"):
        victims.load(victim, path)
    save_file({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match="does not fit this victim"):
        victims.load(victim, path)


def test_batches_are_frames_in_the_unit_interval():
    frames = torch.arange(2 * 4 * 3 * 5 * 6).reshape(2, 4, 3, 5, 6).to(torch.uint8)
    made = victims.to_batch(frames)
    assert made.shape == (2, 3, 4, 5, 6)
    assert made[1, 2, 3, 4, 5] == frames[1, 3, 2, 4, 5].item() / 255


def test_a_victim_of_fewer_frames_sees_them_evenly_taken():
    whole = victims.build(R2Plus1D(width=4, depth=(1,)), 3, 0).eval()
    fewer = victims.build(R2Plus1D(width=4, depth=(1,)), 3, 0, frames=4).eval()
    batch = torch.rand(2, 3, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    # floor(linspace(0, 8, 4)) = 0, 2, 5, 8
    assert torch.equal(fewer.logits(batch), whole.logits(batch[:, :, [0, 2, 5, 8]]))
    assert torch.equal(fewer.logits(batch[:, :, :4]), whole.logits(batch[:, :, :4]))
    assert fewer.features(batch, fewer.layers()[0]).shape[2] <= 4


def test_r2plus1d_18_has_the_published_parameters_and_names():
    network = R2Plus1D().build(400)
    assert sum(p.numel() for p in network.parameters()) == 31_505_325
    state = network.state_dict()
    assert state["stem.0.weight"].shape == (45, 3, 1, 7, 7)
    assert state["stem.4.running_var"].shape == (64,)
    assert state["layer1.0.conv1.0.0.weight"].shape == (144, 64, 1, 3, 3)
    assert state["layer1.1.conv1.0.3.weight"].shape == (64, 144, 3, 1, 1)
    assert state["layer2.0.conv1.0.0.weight"].shape == (230, 64, 1, 3, 3)
    assert state["layer2.0.conv2.0.0.weight"].shape == (230, 128, 1, 3, 3)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1, 1)
    assert state["layer3.0.conv1.0.1.bias"].shape == (460,)
    assert state["layer4.0.conv1.0.3.weight"].shape == (512, 921, 3, 1, 1)
    assert state["layer4.1.conv2.0.3.weight"].shape == (512, 1152, 3, 1, 1)
    assert state["layer4.1.conv2.1.running_mean"].shape == (512,)
    assert state["fc.weight"].shape == (400, 512)


def test_r2plus1d_strides():
    victim = victims.build(R2Plus1D(width=4, depth=(1, 1, 1, 1)), 3, 0).eval()
    clips = batch(1, 3, 16, 112, 112)
    shapes = [tuple(features.shape[1:]) for features in victim.taps(clips, victim.stages)[1]]
    assert shapes == [(4, 16, 56, 56), (8, 8, 28, 28), (16, 4, 14, 14), (32, 2, 7, 7)]
