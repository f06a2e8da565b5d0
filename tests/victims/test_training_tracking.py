"""Curves that a tracker gets, read back from TensorBoard's own files."""

import importlib.util

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vidoor.data.shapes import Shapes
from vidoor.errors import TrainingError
from vidoor.victims import tracking
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training, fit


def train(**options):
    clips = Shapes(train=20, test=4, frames=4, size=(16, 16), classes=4).open(0).train
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
    config = Training(epochs=3, batch_size=8, lr=2e-3, schedule="cosine")
    return fit(
        victim, clips, config, seed=0, device="cpu", name="clean victim", **options,
        measure=lambda _: {"acc": 0.5},
    )  # fmt: skip


def test_tensorboard_gets_every_step_and_what_is_measured(tmp_path):
    _, history = train(tracker="tensorboard", logs=tmp_path)
    events = EventAccumulator(str(tmp_path / "clean victim"))
    events.Reload()
    assert {"loss", "lr", "clips_per_second", "acc"} <= set(events.Tags()["scalars"])
    curve = [(event.step, event.value) for event in events.Scalars("loss")]
    assert [step for step, _ in curve] == list(range(1, 10))
    for epoch, told in enumerate(history):
        losses = [value for _, value in curve[3 * epoch : 3 * epoch + 3]]
        mean = (8 * losses[0] + 8 * losses[1] + 4 * losses[2]) / 20
        assert mean == pytest.approx(told["loss"], rel=1e-6)
    config = Training(epochs=3, batch_size=8, lr=2e-3, schedule="cosine")
    rates = [config.learning_rate(step, 9) for step in range(9)]
    assert [event.value for event in events.Scalars("lr")] == pytest.approx(rates)
    assert [(e.step, e.value) for e in events.Scalars("acc")] == [(3, 0.5), (6, 0.5), (9, 0.5)]
    assert all(event.value > 0 for event in events.Scalars("clips_per_second"))


def test_a_tracker_that_is_not_installed_says_how_to_get_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "wandb" else find(name))
    with pytest.raises(TrainingError, match=r"'wandb' needs .*; run: pip install wandb"):
        train(tracker="wandb")


def test_an_unknown_tracker_is_refused():
    with pytest.raises(TrainingError, match=r"unknown tracker 'tensorbord'.*did you mean"):
        train(tracker="tensorbord")
