"""The engine of trigger inversion: the smallest trigger that sends clean clips to each class.

Every detector by inversion is a space of triggers, a schedule, what else a trigger is weighed by,
and a rule for outliers among the classes' norms. The engine seeks all goals at once: a pass holds
clips of several goals, whose gradients come apart by themselves. A step sees all clips of a goal
(in parts where they do not fit), so success is exact and a search depends on the seed alone; the
originals step on mini-batches.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from vidoor.detectors._racing import Race
from vidoor.detectors._schedules import Numbers, Rows, Schedule
from vidoor.detectors._search import Space, Trigger, View
from vidoor.errors import WeightsError
from vidoor.types import ClipSet, Geometry
from vidoor.victims.victim import Victim, to_batch

Precision = Literal["fp32", "bf16"]
End = Literal["finished", "settled", "spent"]
"""All goals are done or out of steps; the verdict can no longer change; out of passes."""


class Sample(NamedTuple):
    """Clean clips, read once, on the victim's device."""

    clips: Tensor  # b c t h w in [0, 1]
    labels: Tensor  # [b]


class Goals(NamedTuple):
    """What is sought: clips that are to be sent to a class."""

    classes: Tensor  # [g]
    clips: tuple[Tensor, ...]  # which clips of the sample, one tensor of indices for each goal


@dataclass(frozen=True, kw_only=True)
class Search:
    """One kind of inversion. The loss of a goal is the mean cross entropy of its clips with the
    trigger, λ · size, ``penalty`` and the weighted cross entropies of ``views``."""

    space: Space
    schedule: Schedule
    penalty: Callable[[Trigger], Tensor] | None = None
    views: tuple[View, ...] = ()


class Found(NamedTuple):
    """What was found for each of g goals. ``triggers`` are the smallest that were successful, and
    the last one seen where none was (``reached`` is False)."""

    triggers: Trigger
    success: Numbers
    reached: NDArray[np.bool_]
    steps: Rows
    passes: int
    end: End


@contextmanager
def resting(victim: Victim) -> Iterator[None]:
    """Evaluation mode and no gradients for weights inside; as it was afterwards."""
    modes = [(module, module.training) for module in victim.modules()]
    weights = [(weight, weight.requires_grad) for weight in victim.parameters()]
    victim.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, required in weights:
            weight.requires_grad_(required)


def sample(clean: ClipSet, count: int, seed: int, device: torch.device) -> Sample:
    """At most ``count`` clips, of each class as many as of any other or all that it has."""
    rng = np.random.default_rng([seed, 5])
    labels = np.asarray(clean.labels)
    order = rng.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)  # how many of the same class come before
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    chosen = order[np.argsort(turn[order], kind="stable")][:count]
    frames = torch.stack([clean.read(int(index)) for index in chosen])
    return Sample(to_batch(frames.to(device)), torch.from_numpy(labels[chosen]).to(device))


def goals_of(given: Sample, classes: int, *, own: bool) -> Goals:
    """One goal for each class: all clips, or (``own`` False) those of other classes."""
    labels = given.labels.cpu()
    each = tuple(
        torch.arange(len(labels)) if own else (labels != goal).nonzero().flatten()
        for goal in range(classes)
    )
    return Goals(torch.arange(classes), each)


class _Look(NamedTuple):
    """What one step saw of some goals: their triggers, how they fare, and which way is down."""

    triggers: Trigger
    success: Numbers
    size: Numbers
    slope: list[Tensor]


def invert(
    victim: Victim,
    given: Sample,
    goals: Goals,
    search: Search,
    *,
    seed: int,
    batch_size: int = 64,
    precision: Precision = "fp32",
    max_passes: int | None = None,
    race: Race | None = None,
) -> Found:
    """Search for all goals, which start alike, until each is done, or ``race`` calls it settled, or
    the next step would take more than ``max_passes`` clips forward (each goes back as well).

    ``batch_size``: clips in one pass, whichever goals they are for. WeightsError if the victim's
    output is not finite. The victim should be ``resting``.
    """
    engine = _Engine(victim, given, goals, search, batch_size, precision)
    free, state = engine.start(seed), search.schedule.begin(len(goals.clips))
    kept = [part.clone() for part in search.space.trigger(free)]
    success, steps = np.zeros(len(state.done)), np.zeros(len(state.done), np.int64)
    passes, end = 0, "finished"
    for step in range(1, search.schedule.steps + 1):
        rows = np.flatnonzero(~state.done)
        price = engine.price(rows)
        if not len(rows) or (max_passes is not None and passes + price > max_passes):
            end = "spent" if len(rows) else end
            break
        look = engine.look(rows, free, state.weight)
        passes, steps[rows] = passes + price, step
        better = state.see(rows, look.success, look.size)
        # Until a goal is reached its last trigger stands for it, as in Neural Cleanse.
        keep = better | np.isinf(state.best[rows])
        for old, new in zip(kept, look.triggers, strict=True):
            old[rows[keep]] = new[torch.from_numpy(keep)]
        success[rows[keep]] = look.success[keep]
        if race and race.settled(step, tuple(kept), np.isfinite(state.best), state.done):
            end = "settled"
            break
        going = ~state.done[rows]
        state.move(rows[going], free, [x[torch.from_numpy(going)] for x in look.slope])
    triggers = tuple(part.cpu() for part in kept)
    return Found(triggers, success, np.isfinite(state.best), steps, passes, cast(End, end))


@dataclass(frozen=True)
class _Engine:
    """One step of a search. ``rows`` are the goals that are still sought."""

    victim: Victim
    given: Sample
    goals: Goals
    search: Search
    batch_size: int
    precision: Precision

    def start(self, seed: int) -> list[Tensor]:
        """The same free numbers for every goal: what differs later is due to the victim."""
        frames, height, width = self.given.clips.shape[2:]
        rng = torch.Generator().manual_seed(seed)
        one = self.search.space.start(Geometry(frames, height, width), rng)
        device, count = self.given.clips.device, len(self.goals.clips)
        return [x.to(device).expand(count, *x.shape).clone() for x in one]

    def price(self, rows: Rows) -> int:
        """Clips that a step passes forward, and backward."""
        clips = sum(len(self.goals.clips[row]) for row in rows)
        views = self.search.views
        return clips + sum(clips if view.every else len(rows) for view in views)

    def look(self, rows: Rows, free: list[Tensor], weight: Numbers) -> _Look:
        """Loss, its slope by the free numbers, and how the triggers fare as they are."""
        search = self.search
        mine = [x[torch.from_numpy(rows)].requires_grad_() for x in free]
        trigger = search.space.trigger(mine)
        size = search.space.size(trigger)
        loss = (size * torch.from_numpy(weight[rows]).to(size)).sum()
        if search.penalty is not None:
            loss = loss + search.penalty(trigger).sum()
        # The passes meet the triggers as leaves, in parts that fit; from there it is one way back.
        leaves = tuple(part.detach().requires_grad_() for part in trigger)
        hits = self._pass(rows, leaves, View(1.0, search.space.paint, "goal"))
        for view in search.views:
            self._pass(rows, leaves, view)
        slopes = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
        slope = torch.autograd.grad([*trigger, loss], mine, [*slopes, None], allow_unused=True)
        zeros = [torch.zeros_like(x) if s is None else s for x, s in zip(mine, slope, strict=True)]
        success, sizes = (x.detach().double().cpu().numpy() for x in (hits, size))
        return _Look(tuple(part.detach() for part in trigger), success, sizes, zeros)

    def _pass(self, rows: Rows, leaves: Trigger, view: View) -> Tensor:
        """Add a view's slope to the leaves; the share of clips that reach its aim, [rows]."""
        device = self.given.clips.device
        clips = [self.goals.clips[row][: None if view.every else 1] for row in rows]
        counts = torch.tensor([len(each) for each in clips], device=device)
        owner = torch.arange(len(rows), device=device).repeat_interleave(counts)
        goals = self.goals.classes.to(device)[torch.from_numpy(rows).to(device)]
        which, hits = torch.cat(clips).to(device), torch.zeros_like(goals)
        for part in range(0, len(which), self.batch_size):
            row, clip = (x[part : part + self.batch_size] for x in (owner, which))
            painted = view.paint(tuple(leaf[row] for leaf in leaves), self.given.clips[clip])
            aim = goals[row] if view.aim == "goal" else self.given.labels[clip]
            with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits = self.victim(painted).float()
            entropy = cross_entropy(logits, aim, reduction="none")
            if not entropy.isfinite().all():
                raise WeightsError("the victim's output for clean clips is not finite; retrain it")
            (view.weight * entropy / counts[row]).sum().backward()
            hits.index_add_(0, row, (logits.argmax(1) == aim).to(hits))
        return hits.double() / counts
