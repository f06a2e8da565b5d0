"""NAD: attention maps by the formula, and a distillation that is fine-tuning without them."""

import numpy as np
import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.errors import RecipeError, WeightsError
from vidoor.mitigations.fine_tuning import FineTuning
from vidoor.mitigations.nad import NAD, attention, distance
from vidoor.options import build
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.slowfast import SlowFast
from vidoor.victims.timesformer import TimeSformer
from vidoor.victims.victim import Victim, to_batch

CLEAN = Shapes(train=24, test=4, frames=4, size=(16, 16), classes=4).open(0).train
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
@pytest.mark.parametrize(("shape", "channels"), [((2, 5, 3, 4, 6), 1), ((2, 7, 5), 2)])
def test_attention_is_the_normalised_sum_over_channels(power, shape, channels):
    values = RNG.normal(size=shape)
    maps = (np.abs(values) ** power).sum(channels).reshape(len(values), -1)
    maps /= np.sqrt((maps**2).sum(1, keepdims=True))
    torch.testing.assert_close(
        attention(torch.from_numpy(values), power), torch.from_numpy(maps), rtol=1e-12, atol=0
    )


def test_distances_by_hand():
    # Two positions; attention (1, 0) and (0.6, 0.8) at p = 2.
    one = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    other = torch.tensor([3.0, 4.0]).sqrt().reshape(1, 1, 1, 1, 2)
    assert distance(one, other, 2.0).item() == pytest.approx((0.4**2 + 0.8**2) / 2)
    assert distance(one, 7 * one, 2.0).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "config",
    [R2Plus1D(width=4, depth=(1, 1)), TimeSformer(width=8, depth=2, heads=2, patch=8, size=16)],
)
def test_equal_networks_are_at_distance_0(config):
    first, second = (victims.build(config, 4, 0).eval() for _ in range(2))
    other = victims.build(config, 4, 1).eval()
    clips = to_batch(torch.stack([CLEAN.read(n) for n in range(3)]))
    mine, theirs, others = (v.taps(clips, v.stages)[1] for v in (first, second, other))
    assert [distance(a, b, 2.0).item() for a, b in zip(mine, theirs, strict=True)] == [0.0, 0.0]
    assert all(distance(a, b, 2.0) > 0 for a, b in zip(mine, others, strict=True))


@pytest.mark.parametrize(
    "config",
    [
        R2Plus1D(width=4, depth=(1,)),
        # Dropout draws the same numbers in both loops.
        SlowFast(width=4, depth=(1,), alpha=2, beta=2, dropout=0.5, stem_pools=False),
    ],
)
def test_without_its_attention_loss_it_is_fine_tuning_to_the_bit(config):
    victim = victims.build(config, 4, 0)
    options = {"fraction": 0.5, "epochs": 3, "batch_size": 5, "seed": 3}
    tuned = FineTuning(**options)(victim, CLEAN).state_dict()
    taught = NAD(**options, beta=(0.0,), teacher_epochs=1)(victim, CLEAN).state_dict()
    assert all(torch.equal(tuned[name], taught[name]) for name in tuned)


def test_the_student_attends_as_the_teacher_does():
    # Without batch norm: its statistics differ between training, the student's, and evaluation.
    config = TimeSformer(width=16, depth=2, heads=2, patch=8, size=16)
    victim = victims.build(config, 4, 0).eval()
    options = {"fraction": 1.0, "batch_size": 8, "lr": 3e-3}
    teacher = FineTuning(**options, epochs=8)(victim, CLEAN).eval()
    clips = to_batch(torch.stack([CLEAN.read(n) for n in range(24)]))
    with torch.no_grad():
        _, wanted = teacher.taps(clips, teacher.stages)

    def apart(beta: float) -> float:
        taught = NAD(**options, epochs=4, teacher_epochs=8, beta=(beta,))(victim, CLEAN).eval()
        with torch.no_grad():
            _, features = taught.taps(clips, taught.stages)
        return sum(float(distance(*pair, 2.0)) for pair in zip(features, wanted, strict=True))

    assert apart(1000.0) < 0.5 * apart(0.0)


def test_the_papers_layers_are_slowfasts_first_three_stages():
    assert NAD.presets["paper"]["layers"] == SlowFast().stages[:3]


def test_layers_without_a_map_are_refused_in_one_line():
    config = R2Plus1D(width=4, depth=(1,))
    with torch.device("meta"):
        dry = Victim(config.build(4), config)
    NAD().check(dry, CLEAN.geometry)
    for victim in (dry, victims.build(config, 4, 0)):
        for layer, words in (("fc", "'fc' gives 4 .* no map .* layer1"), ("no", "unknown layer")):
            with pytest.raises(WeightsError, match=words) as error:
                NAD(layers=(layer,)).check(victim, CLEAN.geometry)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"beta": ()},
        {"beta": [-1.0]},
        {"power": 0.5},
        {"epochs": 0},
        {"teacher_epochs": 0},
        {"lr": 0.0},
    ],
)
def test_impossible_options_are_refused_in_one_line(options):
    words = next(iter(options)).removeprefix("teacher_")
    with pytest.raises(RecipeError, match=words) as error:
        build(NAD, options, "mitigation")
    assert "\n" not in str(error.value)
