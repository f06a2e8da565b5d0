"""Training: it learns, it repeats itself to the byte, and an interruption leaves no trace."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.errors import TrainingError
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training, fit, predict

CONFIG = Training(epochs=3, batch_size=8, lr=2e-3, schedule="one-cycle")
ARCHITECTURE = R2Plus1D(width=4, depth=(1,))


@pytest.fixture(scope="module")
def clips():
    return Shapes(train=20, test=8, frames=4, size=(16, 16), classes=4).open(0).train


def trained(clips, path, config=CONFIG, seed=0, measure=lambda _: {}):
    victim = victims.build(ARCHITECTURE, 4, seed)
    return fit(victim, clips, config, seed=seed, checkpoint=path, device="cpu", measure=measure)


def same(a, b) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(clips, tmp_path, optimizer):
    config = replace(CONFIG, optimizer=optimizer)
    first, curve = trained(clips, tmp_path / "a.safetensors", config)
    second, again = trained(clips, tmp_path / "b.safetensors", config)
    other, _ = trained(clips, tmp_path / "c.safetensors", config, seed=1)
    assert same(first, second)
    assert curve == again
    assert not same(first, other)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(clips, tmp_path, optimizer):
    config = replace(CONFIG, optimizer=optimizer)
    whole, curve = trained(clips, tmp_path / "whole.safetensors", config)
    calls = []

    def stop_in_the_second_epoch(_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {}

    path = tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):
        trained(clips, path, config, measure=stop_in_the_second_epoch)
    resumed, continued = trained(clips, path, config)
    assert same(whole, resumed)
    assert continued == curve


class Dropping(torch.nn.Module):
    """A network that draws random numbers of its own while it trains."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * 4 * 16 * 16, 4)
        )

    def forward(self, batch):
        return self.network(batch)


def test_what_the_network_draws_is_seeded_too_and_global_state_is_left_alone(clips, tmp_path):
    def run(name):
        torch.manual_seed(0)
        network = Dropping()
        torch.manual_seed(hash(name) % 1000)
        before = torch.random.get_rng_state()
        fit(network, clips, CONFIG, seed=0, checkpoint=tmp_path / name, device="cpu")
        assert torch.equal(torch.random.get_rng_state(), before)
        return network

    assert same(run("a.safetensors"), run("b.safetensors"))


def test_a_damaged_checkpoint_is_not_trusted(clips, tmp_path, capsys):
    whole, _ = trained(clips, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:500])
    again, _ = trained(clips, tmp_path / "b.safetensors")
    assert same(whole, again)


def test_it_learns_what_can_be_learnt(tmp_path):
    """Bright or dark: the simplest task must be solved."""
    base = Shapes(train=32, test=8, frames=4, size=(16, 16), classes=2).open(0).train
    levels = torch.tensor([40, 200], dtype=torch.uint8)
    clips = replace(base, read=lambda i: levels[base.labels[i]].expand(4, 3, 16, 16))
    victim, curve = trained(clips, tmp_path / "x.safetensors", replace(CONFIG, epochs=10, lr=0.01))
    assert (predict(victim, clips) == np.array(clips.labels)).mean() >= 0.95
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_a_loss_that_is_not_finite_stops_with_one_line(clips, tmp_path):
    with pytest.raises(TrainingError, match=r"no longer finite; lower training\.lr"):
        trained(clips, tmp_path / "x.safetensors", replace(CONFIG, lr=1e30, optimizer="sgd"))


def test_schedules():
    flat = Training(lr=1.0, schedule="constant")
    assert {flat.learning_rate(step, 10) for step in range(10)} == {1.0}
    cosine = replace(flat, schedule="cosine")
    assert cosine.learning_rate(0, 10) == 1.0
    assert cosine.learning_rate(5, 10) == pytest.approx(0.5)
    cycle = replace(flat, schedule="one-cycle")
    assert [cycle.learning_rate(step, 10) for step in (0, 1, 2)] == pytest.approx([0.5, 1, 1])
    assert cycle.learning_rate(9, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


class Linear(torch.nn.Module):
    """A network without batch norm: its gradient is a sum over clips."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 16 * 16, 4))

    def forward(self, batch):
        return self.network(batch - 0.5)


def linear(clips, **options):
    config = Training(**{"epochs": 2, "batch_size": 8, "lr": 1e-2, "optimizer": "sgd", **options})
    with torch.random.fork_rng():
        network = Linear()
    return fit(network, clips, config, seed=0, device="cpu")


def furthest(a, b) -> float:
    return max(
        (x - y).abs().max().item()
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_of_a_batch_add_up_to_it(clips, parts):
    """20 clips in batches of 8: the last batch has fewer clips than there are parts."""
    whole, curve = linear(clips)
    pieces, told = linear(clips, accumulate=parts)
    assert furthest(whole, pieces) < 1e-6
    assert [at["loss"] for at in told] == pytest.approx([at["loss"] for at in curve], abs=1e-6)


def by_hand(clips, config, largest=None):
    """The same training written out in NumPy's float64: softmax regression, momentum, clipping."""
    network = Linear().network[1]
    weight, bias = (p.detach().double().numpy().copy() for p in (network.weight, network.bias))
    momentum = [np.zeros_like(weight), np.zeros_like(bias)]
    for epoch in range(config.epochs):
        order = np.random.default_rng([0, 2, epoch]).permutation(len(clips))
        for start in range(0, len(clips), config.batch_size):
            chosen = order[start : start + config.batch_size]
            x = np.stack([clips.read(i).permute(1, 0, 2, 3).numpy().ravel() for i in chosen])
            x = x / 255 - 0.5
            logits = x @ weight.T + bias
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            p[np.arange(len(chosen)), np.asarray(clips.labels)[chosen]] -= 1
            gradient = [p.T @ x / len(chosen), p.mean(0)]
            norm = np.sqrt(sum((g**2).sum() for g in gradient))
            shrink = 1 if largest is None else min(1, largest / norm)
            for value, velocity, g in zip((weight, bias), momentum, gradient, strict=True):
                velocity *= 0.9
                velocity += shrink * g + config.weight_decay * value
                value -= config.lr * velocity
    return weight


@pytest.mark.parametrize("largest", [None, 0.3])
def test_a_training_is_the_one_written_out_by_hand(clips, largest):
    options = {"epochs": 2, "batch_size": 8, "lr": 1e-2, "optimizer": "sgd", "clip_norm": largest}
    network, _ = linear(clips, **options)
    with torch.random.fork_rng():
        expected = by_hand(clips, Training(**options), largest)
    assert np.abs(network.network[1].weight.detach().numpy() - expected).max() < 1e-6


def test_the_gradient_is_clipped_as_a_whole(clips):
    free, _ = linear(clips)
    loose, _ = linear(clips, clip_norm=1e6)
    tight, _ = linear(clips, clip_norm=0.1)
    assert same(free, loose)
    assert furthest(free, tight) > 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_alike(clips, precision):
    whole, curve = linear(clips)
    half, told = linear(clips, precision=precision)
    assert 0 < furthest(whole, half) < 1e-2
    assert half.network[1].weight.dtype == torch.float32
    assert told[-1]["loss"] == pytest.approx(curve[-1]["loss"], rel=0.05)


def test_a_compiled_network_trains_alike_and_keeps_its_names(clips, monkeypatch):
    """Traced by torch's compiler, and run without generated code, which would need a C compiler."""
    compile_, calls = torch.compile, []

    def traced(forward):
        calls.append(forward)
        return compile_(forward, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)
    plain, _ = linear(clips)
    compiled, _ = linear(clips, compile=True)
    assert len(calls) == 1
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert "forward" not in vars(compiled.network)
    assert furthest(plain, compiled) < 1e-6


def test_augmented_training_repeats_itself_and_differs_from_plain(clips):
    plain, _ = linear(clips)
    first, _ = linear(clips, flip=True, crop="pad")
    second, _ = linear(clips, flip=True, crop="pad")
    assert same(first, second)
    assert not same(first, plain)


def test_presets_are_the_papers():
    paper = Training(**Training.presets["paper"])
    assert (paper.optimizer, paper.lr, paper.epochs, paper.frames) == ("adamw", 3e-4, 10, 32)
    former = Training(**Training.presets["paper-timesformer"])
    assert (former.optimizer, former.lr, former.epochs, former.frames) == ("sgd", 3e-3, 5, 8)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"lr": 0.0}, {"lr": math.nan}, {"accumulate": 17}, {"clip_norm": 0.0},
        {"views": (1, 2)}, {"crop_share": 1.0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Training(**options)
