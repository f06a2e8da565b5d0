"""DBD: its views, losses and splits by hand, and what each stage trains."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import planted

from vidoor.data.shapes import Shapes
from vidoor.errors import RecipeError, TrainingError
from vidoor.mitigations._descent import Descent
from vidoor.mitigations._mixmatch import MixMatch, mixup, sharpen
from vidoor.mitigations.dbd import DBD, freeze_backbone, losses, lowest, rotated, symmetric
from vidoor.options import build
from vidoor.registry import methods
from vidoor.victims import victim as victims
from vidoor.victims.augmentation import Augmentation
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.slowfast import SlowFast
from vidoor.victims.training import Training, fit, predict

CLEAN = Shapes(train=12, test=4, frames=4, size=(16, 20), classes=4).open(0).train
CONFIG = R2Plus1D(width=4, depth=(1,))
CUSTOM = {
    "factory": "vidoor.victims.r2plus1d:R2Plus1DNetwork",
    "options": {"width": 4, "depth": (1,)},
    "classes": "classes",
}
ORIGINAL = DBD(variant="original", rotation_epochs=1, head_epochs=1, semi_epochs=2)


def same(one, other) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_clips_are_turned_by_what_their_labels_say():
    turned = rotated(CLEAN)
    assert (len(turned), turned.geometry) == (48, (4, 16, 16))
    assert turned.labels == (0, 1, 2, 3) * 12
    assert turned.ids[5] == f"{CLEAN.ids[1]} 90"
    for index in (0, 5, 10, 47):
        square = CLEAN.read(index // 4).numpy()[..., 2:18]
        expected = np.rot90(square, index % 4, axes=(2, 3))
        assert np.array_equal(turned.read(index).numpy(), expected)


def test_the_symmetric_cross_entropy_by_hand():
    chances = [[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]]
    found = symmetric(torch.tensor(chances).log(), torch.tensor([0, 1]))
    # −Σ p log q with q one-hot: what is not on the label costs −log 1e-4.
    expected = [
        -0.1 * math.log(0.7) - (0.2 + 0.1) * math.log(1e-4),
        -0.1 * math.log(0.05) - (0.05 + 0.9) * math.log(1e-4),
    ]
    assert found.tolist() == pytest.approx(expected)


def test_losses_are_those_of_each_clip_in_evaluation():
    victim = victims.build(CONFIG, 4, 0)
    found = losses(victim, CLEAN)
    chances = np.concatenate(
        [victim(CLEAN.read(n)[None].transpose(1, 2) / 255).softmax(1).detach() for n in range(12)]
    )
    right = chances[np.arange(12), CLEAN.labels]
    expected = -0.1 * np.log(right) - math.log(1e-4) * (1 - right)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=20), st.floats(0.01, 0.99))
def test_the_split_takes_the_lowest(values, share):
    found = lowest(np.array(values, dtype=float), share).tolist()
    left = sorted(set(range(len(values))) - set(found))
    assert found == sorted(found)
    assert left and found
    assert max(values[n] for n in found) <= min(values[n] for n in left)
    assert abs(len(found) - share * len(values)) <= 1


def test_the_lower_half_of_the_losses_is_believed():
    assert lowest(np.array([3.0, 0.5, 2.0, 1.0, 9.0, 0.0]), 0.5).tolist() == [1, 3, 5]


@pytest.mark.parametrize(
    ("temperature", "expected"), [(0.5, [0.64 / 0.68, 0.04 / 0.68]), (1, None)]
)
def test_sharpening_by_hand(temperature, expected):
    found = sharpen(torch.tensor([[0.8, 0.2]]), temperature)
    assert found[0].tolist() == pytest.approx(expected or [0.8, 0.2])


def test_mixing_by_hand():
    clips = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1, 1)
    targets = torch.eye(2)
    # The clip keeps the larger share, whichever of the two was drawn.
    mixed, goals = mixup(clips, targets, torch.tensor([1, 0]), torch.tensor([0.25, 0.9]))
    assert mixed.flatten().tolist() == pytest.approx([0.75 + 0.25 * 3, 0.9 * 3 + 0.1])
    np.testing.assert_allclose(goals, [[0.75, 0.25], [0.1, 0.9]], rtol=1e-6)


def test_the_semi_supervised_loss_by_hand():
    """Nothing is mixed, no view differs: cross entropy, and squared distance to the sharpened."""
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()
    for module in victim.modules():  # one pass is all the batch norm there is
        if isinstance(module, torch.nn.BatchNorm3d):
            module.track_running_stats, module.momentum = True, 0.0
    victim.freeze([name for name, m in victim.network.named_modules() if name and name != "fc"])
    one = replace(CLEAN, ids=CLEAN.ids[:1], labels=CLEAN.labels[:1])
    labels = torch.tensor([2])
    batch = CLEAN.read(5)[None].transpose(1, 2) / 255
    objective = MixMatch(
        unlabelled=one, weight=7.0, temperature=0.5, mixup_alpha=0.0,
        augmentation=Augmentation(), rng=np.random.default_rng(0),
    )  # fmt: skip
    found = objective(victim.train(), batch, labels).item()
    p = victim(batch).softmax(1)[0].detach().numpy()
    q = victim(one.read(0)[None].transpose(1, 2) / 255).softmax(1)[0].detach().numpy()
    expected = -math.log(p[2]) + 7.0 * np.mean((q - q**2 / (q**2).sum()) ** 2)
    assert found == pytest.approx(expected, rel=1e-4)
    assert victim.training


@pytest.mark.parametrize(
    "training",
    [
        Training(epochs=3, batch_size=5, schedule="cosine", flip=True, crop="pad", clip_norm=0.5),
        Training(epochs=2, batch_size=4, optimizer="sgd", lr=0.01),
    ],
)
def test_a_descent_on_the_cross_entropy_is_a_fit_to_the_bit(training):
    # Dropout draws the same numbers in both loops.
    config = SlowFast(width=4, depth=(1,), alpha=2, beta=2, dropout=0.5, stem_pools=False)
    expected, _ = fit(victims.build(config, 4, 0), CLEAN, training, seed=3, device="cpu")
    found = victims.build(config, 4, 0)
    descent, state = Descent(found, training, 3, "test"), torch.get_rng_state()
    for epoch in range(training.epochs):
        descent.epoch(epoch, CLEAN, lambda v, x, y: torch.nn.functional.cross_entropy(v(x), y))
    assert same(found, expected)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(TrainingError, match="no longer finite"):
        descent.epoch(0, CLEAN, lambda v, x, _: v(x).sum() * math.inf)


@pytest.mark.parametrize("cls", [pytest.param(c, id=n) for n, c in methods("victim").items()])
def test_any_victim_is_taken_apart(cls):
    """The head's stage changes the head alone; the last one changes everything."""
    config = cls(**getattr(cls, "presets", {}).get("small", CUSTOM))
    suspects = Shapes(train=6, test=4, frames=4, size=(24, 28), classes=4).open(0).train
    victim = victims.build(config, 4, 0).eval()
    before = copy.deepcopy(victim.state_dict())
    frozen = victims.build(config, 4, 1)
    freeze_backbone(frozen)
    trained, _ = fit(
        copy.deepcopy(frozen), suspects, Training(epochs=1, lr=0.1), seed=0, device="cpu"
    )
    states = frozen.network.state_dict(), trained.network.state_dict()
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert changed == {f"{victim.head}.{kind}" for kind in ("weight", "bias")}
    new = ORIGINAL(victim, suspects, suspects=suspects, training=Training(), seed=0)
    assert all(weight.requires_grad for weight in new.parameters())
    assert not new.frozen
    assert all(torch.equal(before[name], value) for name, value in victim.state_dict().items())
    assert predict(new, suspects).max() < 4


def test_weights_around_the_head_are_not_trained_with_it():
    victim, _, _ = planted()
    victim.network.register_parameter("scale", torch.nn.Parameter(torch.ones(())))
    freeze_backbone(victim)
    trained = [name for name, each in victim.network.named_parameters() if each.requires_grad]
    assert trained == ["1.weight", "1.bias"]


@pytest.mark.parametrize("mitigation", [DBD(rotation_epochs=1, head_epochs=1), ORIGINAL])
def test_the_same_from_the_same_seed_and_nothing_of_the_old_victim(mitigation):
    one, other = (victims.build(CONFIG, 4, seed).eval() for seed in (0, 1))
    options = {"suspects": CLEAN, "training": Training(batch_size=8, flip=True)}
    first = mitigation(one, CLEAN, seed=5, **options)
    assert same(first, mitigation(other, CLEAN, seed=5, **options))
    assert not same(first, mitigation(one, CLEAN, seed=6, **options))


def test_the_head_learns_what_the_labels_say():
    suspects = Shapes(train=12, test=4, frames=4, size=(16, 16), classes=2).open(0).train
    training = Training(batch_size=4, lr=0.03)
    config = R2Plus1D(width=8, depth=(1,))
    mitigation = DBD(rotation_epochs=2, head_epochs=40)
    new = mitigation(
        victims.build(config, 2, 0), suspects, suspects=suspects, training=training, seed=0
    )
    assert np.mean(predict(new, suspects) == np.array(suspects.labels)) > 0.8


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "other"},
        {"rotation_epochs": 0},
        {"head_epochs": 0},
        {"semi_epochs": 0},
        {"credible": 1.0},
        {"temperature": 0.0},
        {"mixup_alpha": -1.0},
        {"unlabelled_weight": math.inf},
    ],
)
def test_impossible_options_are_refused_in_one_line(options):
    with pytest.raises(RecipeError, match=next(iter(options))) as error:
        build(DBD, options, "mitigation")
    assert "\n" not in str(error.value)
