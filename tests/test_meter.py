"""What work cost: clips counted by hand, memory that was touched, time that was waited."""

import mmap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vidoor import meter
from vidoor.meter import metered
from vidoor.victims import victim as victims

MEGABYTES = 2**20
SIZE = 64 * MEGABYTES
LINUX = Path("/proc/self/status").exists()


@dataclass(frozen=True)
class Mean:
    """The smallest of architectures."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def build(self, classes):
        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, classes))


@pytest.fixture(scope="module")
def victim():
    return victims.build(Mean(), 4, seed=0)


def clips(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 2, 4, 4)


def passes(cost):
    return cost.forward, cost.backward


def test_clips_are_counted_forward_and_where_gradients_go_back(victim):
    with metered() as training:
        victim(clips(5)).sum().backward()
        victim.logits(clips(3)).sum().backward()
    assert passes(training.cost) == (8, 8)
    with metered() as looking:
        victim(clips(5))
        with torch.no_grad():
            victim(clips(2))
        with torch.inference_mode():
            victim(clips(4))
        victim.features(clips(1), "0")
    assert passes(looking.cost) == (12, 0)
    with metered() as idle:
        pass
    assert passes(idle.cost) == (0, 0)


@pytest.mark.parametrize("layer", ["1", "2"])
def test_gradients_of_features_count_once(victim, layer):
    """Of an inner layer, and of the last one, whose output are the logits."""
    seen = clips(3).requires_grad_()
    with metered() as spent:
        victim.features(seen, layer).square().sum().backward()
    assert passes(spent.cost) == (3, 3)


def test_gradients_by_the_input_count_though_the_weights_are_frozen():
    frozen = victims.build(Mean(), 4, seed=0).requires_grad_(False)
    with metered() as searching:
        batch = clips(3).requires_grad_()
        torch.autograd.grad(frozen(batch).sum(), batch)
        frozen(clips(2))
    assert passes(searching.cost) == (5, 3)


STEPS = st.recursive(
    st.tuples(st.integers(0, 3), st.integers(1, 4)), lambda inner: st.lists(inner), max_leaves=8
)


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(steps=st.lists(STEPS))
def test_blocks_within_blocks_count_what_is_inside_them(victim, steps):
    """Steps are (times backward, clips), a list of them a block of its own."""

    def work(steps):
        forward = backward = 0
        with metered() as block:
            for step in steps:
                if isinstance(step, list):
                    inner = work(step)
                    forward, backward = forward + inner[0], backward + inner[1]
                    continue
                times, count = step
                loss = victim(clips(count)).sum()
                for _ in range(times):
                    loss.backward(retain_graph=True)
                forward, backward = forward + count, backward + times * count
        assert passes(block.cost) == (forward, backward)
        return forward, backward

    work(steps)


def test_what_was_spent_can_be_read_on_the_way_and_in_spite_of_an_error(victim):
    def fail():
        victim(clips(2))
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), metered() as block:
        victim(clips(1))
        assert {**block.spent(), "seconds": 0} == {"forward": 1, "backward": 0, "seconds": 0}
        fail()
    assert passes(block.cost) == (3, 0)
    with metered() as after:
        pass
    assert passes(after.cost) == (0, 0)


def test_work_that_goes_on_costs_what_it_would_have_cost_at_once(victim):
    with metered() as before:
        victim(clips(2)).sum().backward()
        spent = before.spent()
    with metered() as stage, metered() as training:
        meter.carry({**spent, "seconds": 100.0})
        victim(clips(3))
    for block in (training, stage):
        assert passes(block.cost) == (5, 2)
        assert 100.0 <= block.cost.seconds < 160.0


def test_seconds_are_those_on_the_wall():
    with metered() as outer:
        time.sleep(0.05)
        with metered() as inner:
            time.sleep(0.05)
    assert 0.05 <= inner.cost.seconds <= outer.cost.seconds - 0.05 + 1e-6


# ---- memory --------------------------------------------------------------------------------------


def touch() -> None:
    """Take memory, write to all of it, and give it back.

    From the system itself: an allocator may hand out what an earlier test has left in its heap.
    """
    with mmap.mmap(-1, SIZE) as fresh:
        for page in range(0, SIZE, mmap.PAGESIZE):
            fresh[page] = 1


def peak(*steps):
    """The peak of a block of steps in bytes."""
    with metered() as block:
        for step in steps:
            step()
    return block.cost.memory


def test_memory_is_a_number_of_bytes_where_it_is_known():
    memory = peak()
    assert (memory is not None) == LINUX
    assert not LINUX or 10 * MEGABYTES < memory < 2**40


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks cannot be reset")
class TestPeaks:
    def test_what_was_touched_inside_is_seen_and_forgotten_after(self):
        before, during, after = peak(), peak(touch), peak()
        assert during - before > 0.9 * SIZE
        assert during - after > 0.9 * SIZE

    def test_memory_that_is_only_reserved_is_none(self):
        before, during = peak(), peak(lambda: np.empty(16 * SIZE, np.uint8))
        assert during - before < 0.5 * SIZE

    def test_an_outer_block_keeps_what_it_reached_before_and_in_an_inner_one(self):
        before, inner = peak(), []
        for steps in ([touch, lambda: inner.append(peak())], [lambda: inner.append(peak(touch))]):
            outer = peak(*steps)
            assert outer - before > 0.9 * SIZE
            assert outer >= inner[-1]
        assert inner[-1] - before > 0.9 * SIZE
