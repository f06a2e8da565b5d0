"""Networks of the user's own: built by name, and every mistake one line."""

import sys

import pytest
import torch
from torch import nn

from vidoor.errors import RecipeError
from vidoor.options import component
from vidoor.victims import victim as victims
from vidoor.victims.custom import Custom

SOURCE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=2, hidden=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, hidden, 3, padding=1), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.fc(self.pool(self.body(x)).flatten(1))

def fixed(hidden):
    return Net(3, hidden)

def fails(num_classes):
    raise RuntimeError("no\\nmemory")

def text(num_classes):
    return "a network"

number = 3

class Space:
    net = Net
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    (tmp_path / "their_networks.py").write_text(SOURCE)
    (tmp_path / "their_broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("their_networks", None)


def test_a_network_is_built_with_its_options_and_the_number_of_classes():
    victim = victims.build(Custom(factory="their_networks:Net", options={"hidden": 6}), 5, 0)
    assert victim.logits(torch.rand(2, 3, 4, 8, 8)).shape == (2, 5)
    assert (victim.head, victim.penultimate, victim.stages) == ("fc", "pool", ("body",))
    assert victim.embeddings(torch.rand(2, 3, 4, 8, 8)).shape == (2, 6)


def test_one_of_a_fixed_number_of_classes_is_not_told():
    config = Custom(factory="their_networks:fixed", options={"hidden": 2}, classes="")
    assert victims.build(config, 3, 0).logits(torch.rand(1, 3, 4, 8, 8)).shape == (1, 3)


def test_a_nested_name_and_paths_of_ones_own():
    config = Custom(
        factory="their_networks:Space.net", head="fc", penultimate="body.1", stages=("body.0",)
    )
    victim = victims.build(config, 3, 0)
    assert (victim.penultimate, victim.stages) == ("body.1", ("body.0",))


def test_a_recipe_can_say_it_and_a_checkpoint_is_loaded(tmp_path):
    torch.manual_seed(0)
    first = victims.build(Custom(factory="their_networks:Net"), 3, 1)
    victims.save(first, tmp_path / "w.safetensors")
    config = component(
        "victim",
        {
            "kind": "custom",
            "factory": "their_networks:Net",
            "options": {"hidden": 4},
            "mean": [0.5, 0.5, 0.5],
            "weights": str(tmp_path / "w.safetensors"),
        },
    )
    second = victims.build(config, 3, 2)
    assert torch.equal(second.network.fc.weight, first.network.fc.weight)
    assert second.mean.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "nowhere_at_all:f"}, "module 'nowhere_at_all' cannot be imported"),
        ({"factory": "their_broken:f"}, "cannot be imported \\(ZeroDivisionError"),
        ({"factory": "their_networks:Nat"}, "'their_networks' has no 'Nat'"),
        ({"factory": "their_networks:Net.x.y"}, "'their_networks' has no 'Net.x.y'"),
        ({"factory": "their_networks:number"}, "is a int, not a function"),
        ({"factory": "their_networks:text"}, "returned a str, not a torch.nn.Module"),
        ({"factory": "their_networks:fails"}, "failed: RuntimeError: no memory; it was called"),
        ({"factory": "their_networks:Net", "options": {"depth": 3}}, "called with num_classes, d"),
    ],
)
def test_mistakes_are_one_line(options, message):
    with pytest.raises(RecipeError, match=message) as refused:
        victims.build(Custom(**options), 3, 0)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factory": "their_networks"}, "written as package.module:function"),
        ({"factory": "a:b", "std": (1.0, 0.0, 1.0)}, "std must be > 0"),
        ({"factory": "a:b", "weights": "kinetics400"}, "unknown weights 'kinetics400'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Custom(**options)


def test_a_head_that_is_not_there_is_told():
    config = Custom(factory="their_networks:Net", head="classifier")
    with pytest.raises(victims.WeightsError, match="unknown layer 'classifier'; valid: body, fc"):
        victims.build(config, 3, 0)
    assert isinstance(config.build(3), nn.Module)
