"""What every registered victim must do, and R(2+1)D's published figures."""

import inspect

import pytest
import torch
from safetensors.torch import save_file

from vidoor.errors import WeightsError
from vidoor.registry import methods
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D

SMALL = {"width": 4, "depth": (1, 1)}


def small(cls):
    """The smallest sensible instance: whichever of the usual size options the class has."""
    known = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in SMALL.items() if name in known})


def batch(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("victim").items()])
class TestEveryVictim:
    @pytest.mark.parametrize("geometry", [(8, 32, 32), (4, 24, 40), (16, 48, 48)])
    def test_logits_at_three_geometries(self, cls, geometry):
        victim = victims.build(small(cls), 5, 0).eval()
        assert victim.logits(batch(2, 3, *geometry)).shape == (2, 5)

    def test_backward_reaches_every_parameter(self, cls):
        victim = victims.build(small(cls), 5, 0)
        victim(batch(2, 3, 8, 32, 32)).square().sum().backward()
        idle = [n for n, p in victim.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []

    def test_every_layer_can_be_tapped(self, cls):
        victim = victims.build(small(cls), 5, 0).eval()
        clips = batch(2, 3, 8, 32, 32)
        for layer in victim.layers():
            assert len(victim.features(clips, layer)) == 2
        with pytest.raises(WeightsError, match="unknown layer 'nowhere'"):
            victim.features(clips, "nowhere")

    def test_save_and_load_give_the_same_logits_to_the_bit(self, cls, tmp_path):
        first, second = (victims.build(small(cls), 5, seed).eval() for seed in (0, 1))
        clips = batch(2, 3, 8, 32, 32)
        assert not torch.equal(first(clips), second(clips))
        victims.save(first, tmp_path / "w.safetensors")
        victims.load(second, tmp_path / "w.safetensors")
        assert torch.equal(first(clips), second(clips))

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


def test_r2plus1d_18_has_the_published_parameters_and_names():
    network = R2Plus1D().build(400)
    assert sum(p.numel() for p in network.parameters()) == 31_505_325
    state = network.state_dict()
    assert state["stem.0.weight"].shape == (45, 3, 1, 7, 7)
    assert state["layer1.0.conv1.0.0.weight"].shape == (144, 64, 1, 3, 3)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1, 1)
    assert state["layer4.1.conv2.0.3.weight"].shape == (512, 1152, 3, 1, 1)
    assert state["fc.weight"].shape == (400, 512)


def test_r2plus1d_strides():
    victim = victims.build(R2Plus1D(width=4, depth=(1, 1, 1, 1)), 3, 0).eval()
    clips = batch(1, 3, 16, 112, 112)
    shapes = [tuple(victim.features(clips, f"layer{n}").shape[1:]) for n in (1, 2, 3, 4)]
    assert shapes == [(4, 16, 56, 56), (8, 8, 28, 28), (16, 4, 14, 14), (32, 2, 7, 7)]


@pytest.mark.parametrize("options", [{"width": 1}, {"depth": ()}, {"depth": (1, 0)}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        R2Plus1D(**options)


def test_files_that_do_not_fit_are_refused(tmp_path):
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 3, 0)
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="not a safetensors file"):
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
