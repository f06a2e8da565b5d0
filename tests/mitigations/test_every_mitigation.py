"""What every registered mitigation must do. Registering one is enough to be here."""

import pickle

import pytest
import torch

from vidoor.data.shapes import Shapes
from vidoor.recipe import build, table
from vidoor.registry import methods
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.victim import Victim, to_batch

MITIGATIONS = [pytest.param(cls, id=name) for name, cls in methods("mitigation").items()]


@pytest.fixture(scope="module")
def clean():
    return Shapes(train=32, test=4, frames=4, size=(16, 16), classes=4).open(0).train


@pytest.fixture
def victim() -> Victim:
    return victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).eval()


def weights(victim: Victim) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in victim.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("cls", MITIGATIONS)
class TestEveryMitigation:
    def test_it_returns_another_victim_and_leaves_its_input_alone(self, cls, victim, clean):
        before = weights(victim)
        mended = cls()(victim, clean)
        assert isinstance(mended, Victim)
        assert mended is not victim
        assert equal(weights(victim), before)
        assert not equal(weights(mended), before)
        logits = mended.eval().logits(to_batch(clean.read(0)[None]))
        assert logits.shape == (1, 4)
        assert logits.isfinite().all()

    def test_the_same_weights_every_time(self, cls, victim, clean):
        first, second = (weights(cls()(victim, clean)) for _ in range(2))
        assert equal(first, second)

    def test_it_goes_through_a_recipe_and_a_pickle_unchanged(self, cls, victim, clean):
        mitigation = cls()
        written = table(mitigation)
        written.pop("kind")
        assert build(cls, written, "mitigation") == mitigation
        assert pickle.loads(pickle.dumps(mitigation)) == mitigation

    def test_it_has_a_sentence(self, cls):
        assert (cls.__doc__ or "").strip()
