"""Training: it learns, it repeats itself to the byte, and an interruption leaves no trace."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.errors import TrainingError
from vidoor.victims import training
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training, fit, learning_rate, predict

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


def test_every_clip_is_seen_once_in_every_epoch(clips):
    order = training._Shuffle(len(clips), seed=3)
    first = list(order)
    order.epoch = 1
    assert sorted(first) == sorted(order) == list(range(len(clips)))
    assert first != list(order)


def test_a_loss_that_is_not_finite_stops_with_one_line(clips, tmp_path):
    with pytest.raises(TrainingError, match=r"no longer finite; lower training\.lr"):
        trained(clips, tmp_path / "x.safetensors", replace(CONFIG, lr=1e30, optimizer="sgd"))


def test_schedules():
    flat = Training(lr=1.0, schedule="constant")
    assert {learning_rate(flat, step, 10) for step in range(10)} == {1.0}
    cosine = replace(flat, schedule="cosine")
    assert learning_rate(cosine, 0, 10) == 1.0
    assert learning_rate(cosine, 5, 10) == pytest.approx(0.5)
    cycle = replace(flat, schedule="one-cycle")
    assert [learning_rate(cycle, step, 10) for step in (0, 1, 2)] == pytest.approx([0.5, 1, 1])
    assert learning_rate(cycle, 9, 10) == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


@pytest.mark.parametrize("options", [{"epochs": 0}, {"lr": 0.0}, {"lr": math.nan}])
def test_impossible_settings_are_refused(options):
    with pytest.raises(ValueError, match=r"epochs|lr"):
        Training(**options)
