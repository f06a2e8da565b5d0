"""Batches: every clip once, the same ones whoever reads them, and errors that stay one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidoor.data import cache
from vidoor.data.shapes import Shapes
from vidoor.errors import ClipError, TrainingError
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.triggers.spectral import DFT
from vidoor.victims.augmentation import Augmentation
from vidoor.victims.loading import Clips, Order, batches, loader, reading, share

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips():
    return Shapes(train=21, test=4, frames=4, size=(16, 16), classes=4).open(0).train


def read(clips, workers=0, order=None, augmentation=Augmentation()):  # noqa: B008 - frozen
    order = order or Order(len(clips), 8, seed=3, epoch=2)
    with reading():
        return list(batches(loader(Clips(clips, 3, augmentation), order, workers, CPU)))


@given(size=st.integers(1, 70), parts=st.integers(1, 9))
def test_shares_are_what_is_dealt_in_a_row_as_evenly_as_can_be(size, parts):
    dealt = [share(size, part, parts) for part in range(parts)]
    assert [k for part in dealt for k in part] == list(range(size))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@given(
    length=st.integers(1, 50), batch=st.integers(1, 20), ranks=st.integers(1, 5),
    epoch=st.integers(0, 3),
)  # fmt: skip
def test_processes_divide_the_batches_of_one(length, batch, ranks, epoch):
    whole = list(Order(length, batch, seed=1, epoch=epoch))
    assert sorted(key.clip for keys in whole for key in keys) == list(range(length))
    assert {key.epoch for keys in whole for key in keys} == {epoch}
    parts = [list(Order(length, batch, 1, rank, ranks, epoch)) for rank in range(ranks)]
    for step, keys in enumerate(whole):
        size = len(keys)
        assert Order(length, batch, 1).size(step) == size
        dealt = [part[step] if share(size, r, ranks) else [] for r, part in enumerate(parts)]
        assert [key for mine in dealt for key in mine] == keys
        assert all(part[step] for part in parts)


def test_an_order_hangs_on_seed_and_epoch_and_goes_on_anywhere():
    first = list(Order(20, 6, seed=1))
    assert first == list(Order(20, 6, seed=1))
    assert first != list(Order(20, 6, seed=2))
    assert [[k.clip for k in b] for b in first] != [
        [k.clip for k in b] for b in Order(20, 6, seed=1, epoch=1)
    ]
    assert first[2:] == list(Order(20, 6, seed=1, step=2))
    assert len(Order(20, 6, seed=1, step=2)) == 2


def test_the_order_is_the_one_that_results_were_made_with():
    """A permutation of the seed's stream 2 of the epoch: another one would change every victim."""
    expected = np.random.default_rng([3, 2, 5]).permutation(20).tolist()
    assert [k.clip for keys in Order(20, 6, seed=3, epoch=5) for k in keys] == expected


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_batches_are_the_same_whoever_reads_them(clips, tmp_path, workers):
    """Poisoned lazily, augmented, mapped from a file: to the byte."""
    kept, _ = cache.store(clips, tmp_path / "clips.npy", "clips")
    clips = cache.stored(clips, tmp_path / "clips.npy", kept)
    poisoner = Poisoner(rate=0.5)
    clips = apply(clips, poisoner.plan(clips, 0), DFT(rms=4.0))
    views = Augmentation(flip=True, crop="resized")
    alone, helped = read(clips, 0, None, views), read(clips, workers, None, views)
    assert len(alone) == len(helped) == 3
    for (frames, labels), (also, same) in zip(alone, helped, strict=True):
        assert frames.equal(also)
        assert labels.equal(same)


def test_the_trigger_is_embedded_before_clips_are_augmented(clips):
    poisoner, trigger = Poisoner(rate=1.0), DFT(rms=4.0)
    plan = poisoner.plan(clips, 0)
    views = Augmentation(flip=True, crop="pad")
    order = Order(len(clips), len(clips), seed=3)
    ((frames, labels),) = read(apply(clips, plan, trigger), 0, order, views)
    for key, view, label in zip(next(iter(order)), frames, labels, strict=True):
        clip = clips.read(key.clip)
        clip = trigger(clip) if key.clip in plan.poisoned else clip
        assert view.equal(views(clip, np.random.default_rng([3, 4, 0, key.clip])))
        assert label == plan.poisoned.get(key.clip, clips.labels[key.clip])


def _unreadable(index):
    raise ClipError(f"clip {index}", "is damaged")


def _dead(index):
    import os

    os._exit(9)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_read_is_named(clips, workers):
    with pytest.raises(ClipError, match=r"clip \d+: is damaged"):
        read(replace(clips, read=_unreadable), workers)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # told twice
def test_a_reader_that_dies_is_one_line(clips):
    with pytest.raises(TrainingError, match="a process that reads clips died"):
        read(replace(clips, read=_dead), 1)
