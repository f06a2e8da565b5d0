"""The benchmark of training: its ratios are of equal work, and it takes turns."""

import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.measure import training
from vidoor.victims.training import Training, fit


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(training, "CLIPS", Shapes(train=36, test=8, frames=4, size=(16, 16)))
    return training.CLIPS.open(0).train


def test_ours_is_an_epoch_of_fit(small, monkeypatch):
    monkeypatch.setattr(training, "TRAINING", Training(epochs=1, batch_size=8, lr=1e-2))
    ours = training._Ours(small)
    ours()
    expected, _ = fit(training._victim(), small, training.TRAINING, seed=0, device="cpu")
    weights = ours.loop.victim.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in expected.state_dict().items())
    assert 0 < ours.waited < 10


def test_the_bare_loop_trains_the_same_victim_for_as_many_steps(small):
    bare = training._Bare(small)
    bare()
    assert {int(s["step"]) for s in bare.optimizer.state.values()} == {3}
    ours = training._Ours(small)
    ours()
    assert {int(s["step"]) for s in ours.loop.optimizer.state.values()} == {3}
    assert list(bare.victim.state_dict()) == list(ours.loop.victim.state_dict())


def test_candidates_take_turns_and_each_is_first_in_turn():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds, waits = training._in_turns(candidates, 3, lambda: 0.5)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {len(values) for values in seconds.values()} == {3}
    assert waits == [0.5] * 3
    assert training._ratio([1.0, 9.0, 3.0], [2.0, 3.0, 3.0]) == 1.0


def test_the_document(small):
    document = training.measured(2)
    assert set(document) == {"poisoning_overhead", "ours_over_bare", "data_wait", "setting"}
    assert document["setting"]["steps"] == 3
    assert 0 < document["data_wait"] < 1
    assert document["ours_over_bare"] > 0
