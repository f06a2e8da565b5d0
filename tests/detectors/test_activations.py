"""Activations against features taken clip by clip, and principal directions against an SVD."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from torch import nn

from vidoor.data.shapes import Shapes
from vidoor.detectors import activations
from vidoor.detectors.activations import Activations, collect, principal, reduce
from vidoor.errors import DataError, WeightsError
from vidoor.meter import metered
from vidoor.victims import victim as victims
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.slowfast import SlowFast
from vidoor.victims.victim import Victim, to_batch


@pytest.fixture(scope="module")
def clips():
    return Shapes(train=21, test=4, frames=6, size=(20, 26), classes=4).open(0).train


@pytest.fixture(scope="module")
def victim() -> Victim:
    return victims.build(R2Plus1D(width=4, depth=(1, 1)), 4, 0).eval()


def one_by_one(victim: Victim, clips, layer: str) -> torch.Tensor:
    with torch.no_grad():
        each = [victim.features(to_batch(clips.read(i)[None]), layer) for i in range(len(clips))]
    return torch.cat(each)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(activations, "evaluation_batch", lambda clips: 8)


@pytest.mark.usefixtures("small_batches")
def test_rows_are_the_features_of_their_clips(victim, clips):
    found = collect(victim, clips, ["layer1", "avgpool"])
    assert list(found) == ["layer1", "avgpool"]
    for layer, each in found.items():
        expected = one_by_one(victim, clips, layer).mean((2, 3, 4)).numpy()
        np.testing.assert_allclose(each.features, expected, rtol=1e-5, atol=1e-6)
        assert each.layer == layer
        assert each.ids == clips.ids
        assert each.labels.tolist() == list(clips.labels)
    logits = one_by_one(victim, clips, "fc").numpy()
    np.testing.assert_allclose(found["layer1"].logits, logits, rtol=1e-5, atol=1e-6)
    assert (found["layer1"].predicted == logits.argmax(1)).all()


def test_flat_rows_hold_every_number(victim, clips):
    found = collect(victim, clips, ["layer1"], pool="flat")["layer1"]
    expected = one_by_one(victim, clips, "layer1").flatten(1).numpy()
    np.testing.assert_allclose(found.features, expected, rtol=1e-5, atol=1e-6)


def test_without_layers_it_is_the_penultimate_one(victim, clips):
    assert list(collect(victim, clips)) == ["avgpool"]


@pytest.mark.usefixtures("small_batches")
def test_one_pass_and_one_read_for_all_layers(victim, clips):
    read = Counter[int]()

    def counted(index: int) -> torch.Tensor:
        read[index] += 1
        return clips.read(index)

    with metered() as meter:
        collect(victim, replace(clips, read=counted), ["layer1", "layer2", "avgpool"])
    assert set(read.values()) == {1}
    assert meter.cost.forward == 21  # three batches of seven


@given(count=st.integers(1, 300), most=st.integers(1, 70))
def test_batches_cover_all_clips_and_hardly_more(count, most):
    batches, size = activations._batches(count, most)
    assert [i for batch in batches for i in batch] == list(range(count))
    assert size <= most
    assert all(len(batch) == size for batch in batches[:-1])
    assert 0 <= len(batches) * size - count < len(batches)


@pytest.mark.usefixtures("small_batches")
def test_the_order_of_the_set_changes_no_bit(victim, clips):
    order = np.random.default_rng(0).permutation(len(clips)).tolist()
    shuffled = replace(clips, read=lambda i: clips.read(order[i]))
    first, other = (collect(victim, each)["avgpool"].features for each in (clips, shuffled))
    assert (other == first[order]).all()


def test_files_hold_the_same(victim, clips, tmp_path):
    kept = collect(victim, clips, ["layer1", "avgpool"])
    for found in (
        collect(victim, clips, ["layer1", "avgpool"], folder=tmp_path),
        activations.load(tmp_path),
    ):
        for layer, each in found.items():
            assert isinstance(each.features, np.memmap)
            assert (each.features == kept[layer].features).all()
            assert (each.logits == kept[layer].logits).all()
            assert (each.labels == kept[layer].labels).all()
            assert (each.layer, each.ids, each.classes) == (layer, clips.ids, clips.classes)


def test_an_unfinished_folder_is_refused(victim, clips, tmp_path):
    with pytest.raises(DataError, match="no complete activations"):
        activations.load(tmp_path)
    collect(victim, clips, folder=tmp_path)

    def broken(index: int) -> torch.Tensor:
        raise DataError("gone")

    with pytest.raises(DataError, match="gone"):
        collect(victim, replace(clips, read=broken), folder=tmp_path)
    with pytest.raises(DataError, match="no complete activations"):
        activations.load(tmp_path)
    (tmp_path / activations.INDEX).write_text(json.dumps({"layers": 3}))
    with pytest.raises(DataError, match="no complete activations"):
        activations.load(tmp_path)


def test_the_victim_is_left_as_it_was(clips):
    victim = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0).train()
    victim.network.stem.eval()
    modes = [module.training for module in victim.modules()]
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    collect(victim, clips)
    assert [module.training for module in victim.modules()] == modes
    assert all(torch.equal(victim.state_dict()[name], value) for name, value in before.items())


def test_layers_that_give_no_rows_are_refused(victim, clips):
    with pytest.raises(WeightsError, match="unknown layer 'nowhere'"):
        collect(victim, clips, ["nowhere"])

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames, self.idle, self.fc = nn.Flatten(2), nn.Identity(), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = self.frames(x.transpose(1, 2).flatten(0, 1))
            return self.fc(rows.mean(2).view(len(x), -1, 3).mean(1))

    odd = Victim(Folded(), SimpleNamespace(mean=(0.0,) * 3, std=(1.0,) * 3))
    with pytest.raises(WeightsError, match="'frames' gives 126 rows for 21 clips"):
        collect(odd, clips, ["frames"])
    with pytest.raises(WeightsError, match="'idle' is not run"):
        collect(odd, clips, ["idle"])


def test_an_empty_set_is_refused(victim, clips):
    with pytest.raises(DataError, match="no clips"):
        collect(victim, replace(clips, ids=(), labels=()))


def test_what_a_layer_gives_is_taken_before_the_next_one_works_in_place(victim, clips):
    with torch.no_grad():
        batch = to_batch(clips.read(0)[None])
        expected = victim.network.stem[:2]((batch - victim.mean) / victim.std).flatten()
    assert expected.min() < 0
    found = collect(victim, clips, ["stem.1"], pool="flat")["stem.1"].features[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_pooling_of_maps_tokens_and_pathways():
    maps, tokens = torch.rand(2, 3, 4, 5, 6), torch.rand(2, 7, 3)
    assert torch.allclose(reduce(maps), maps.mean((2, 3, 4)))
    assert torch.allclose(reduce(maps, "cls"), maps.mean((2, 3, 4)))
    assert torch.equal(reduce(maps, "flat"), maps.flatten(1))
    assert torch.allclose(reduce(tokens), tokens.mean(1))
    assert torch.equal(reduce(tokens, "cls"), tokens[:, 0])
    both = reduce((maps, None, 2 * maps[:, :1]))
    assert torch.allclose(both, torch.cat([maps, 2 * maps[:, :1]], 1).mean((2, 3, 4)))
    assert torch.equal(reduce({"hidden": tokens}, "cls"), tokens[:, 0])
    assert torch.equal(reduce(tokens[:, 0]), tokens[:, 0])


def test_both_pathways_of_slowfast_are_side_by_side(clips):
    victim = victims.build(SlowFast(width=8, depth=(1, 1)), 4, 0).eval()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    layer = "blocks.2"  # the second stage, of both pathways
    handle = victim.network.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output)
    )
    found = collect(victim, clips, [layer])[layer].features
    handle.remove()
    slow, fast = (pathway.mean((2, 3, 4)).numpy() for pathway in seen[0])
    assert (found == np.hstack([slow, fast])).all()


def test_groups_are_classes_in_an_order_of_their_own():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 30)
    order = rng.permutation(30)

    def grouped(rows, given):
        found = Activations(
            "x", rows, rows[:, :4], given, tuple(map(str, range(30))), ("a", "b", "c", "unused")
        )
        return {name: (members, rows[members]) for name, members in found.groups()}

    first, other = grouped(features, labels), grouped(features[order], labels[order])
    assert list(first) == ["a", "b", "c"]
    for label, name in enumerate(first):
        assert sorted(first[name][0]) == np.flatnonzero(labels == label).tolist()
        assert (first[name][1] == other[name][1]).all()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
    count=st.integers(1, 12),
)
def test_principal_directions_are_those_of_an_svd(shape, seed, count):
    rows = np.random.default_rng(seed).normal(3, 1, shape).astype(np.float32)
    found = principal(rows, count)
    centred = rows - rows.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    assert found.shape[1] == min(count, int((sizes > 1e-4).sum()))
    expected = (left * sizes)[:, : found.shape[1]]
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-5 * sizes[0])


@given(
    value=st.floats(-1e6, 1e6, width=32),
    shape=st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=9),
)
def test_rows_that_are_all_alike_have_no_direction(value, shape):
    assert principal(np.full(shape, value, np.float32), 3).shape == (shape[0], 0)
