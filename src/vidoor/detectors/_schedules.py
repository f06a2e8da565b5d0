"""How a search goes on: how free numbers move, how size is weighed against success, when to end.

A schedule is a frozen config; ``begin`` gives the state of a search for some goals, each of which
goes its own way: what one goal does never depends on the others that are sought with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidoor.detectors._search import l2

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]


class State(Protocol):
    """Where the searches for g goals stand. ``rows`` are the goals that a call is about."""

    weight: Numbers
    """What the size of a trigger is weighed with in the loss, [g]."""
    best: Numbers
    """Smallest size that was successful, infinite where none was, [g]."""
    done: NDArray[np.bool_]
    """Goals that are not sought any longer, [g]."""

    def see(self, rows: Rows, success: Numbers, size: Numbers) -> NDArray[np.bool_]:
        """Take in the share of clips that reach the goal, 0 to 1, and the size of the trigger
        that did so; tell which of these triggers are the best yet."""
        ...

    def move(self, rows: Rows, free: Sequence[Tensor], slope: Sequence[Tensor]) -> None:
        """Change the rows of ``free`` [g, ...] in place, by the slope [rows, ...] of the loss."""
        ...


class Schedule(Protocol):
    """A way to search. ``shrinking``: a goal's best size only falls, from the first success on;
    else sizes grow until the first success, which ends the search for the goal."""

    @property
    def steps(self) -> int:
        """Most steps."""
        ...

    @property
    def shrinking(self) -> bool:
        """Which of the two."""
        ...

    def begin(self, goals: int) -> State:
        """The state before the first step."""
        ...


@dataclass(frozen=True, kw_only=True)
class Annealing:
    """Neural Cleanse's: Adam on cross entropy + λ · size; λ follows the success.

    λ is 0 until ``patience`` successes in a row, then ``cost``; ``patience`` successes in a row
    raise it by ``up``, as many failures divide it by ``down``. A goal is done once λ has gone both
    ways and its best size has not fallen for ``idle`` steps. The first step sees the start itself.
    """

    steps: int = 1000
    lr: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    cost: float = 1e-3
    success: float = 0.99
    patience: int = 5
    up: float = 2.0
    down: float = 2.0**1.5
    fall: float = 1.0
    """A best size counts as fallen where it is below this share of the best before."""
    idle: int = 25
    shrinking: bool = True

    def begin(self, goals: int) -> State:
        """λ = 0 and nothing found."""
        return _Annealed(self, goals)


@dataclass
class _Annealed:
    config: Annealing
    goals: int
    moments: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weight = np.zeros(self.goals)
        self.best, self.low = np.full(self.goals, np.inf), np.full(self.goals, np.inf)
        self.done = np.zeros(self.goals, bool)
        self.moved = np.zeros(self.goals, np.int64)
        # Steps in a row: successes and failures, of these before λ is set, without a fall.
        self.good, self.bad, self.free_good, self.still = np.zeros((4, self.goals), np.int64)
        self.rose, self.fell = np.zeros((2, self.goals), bool)

    def see(self, rows: Rows, success: Numbers, size: Numbers) -> NDArray[np.bool_]:
        better = (success >= self.config.success) & (size < self.best[rows])
        self.best[rows] = np.where(better, size, self.best[rows])
        for row, good in zip(rows.tolist(), success >= self.config.success, strict=True):
            self._end(row)
            self._weigh(row, bool(good))
        return better

    def _end(self, row: int) -> None:
        if np.isfinite(self.best[row]):
            fallen = self.best[row] < self.config.fall * self.low[row]
            self.still[row] = 0 if fallen else self.still[row] + 1
            self.low[row] = min(self.low[row], self.best[row])
        both = self.rose[row] and self.fell[row]
        self.done[row] = both and self.still[row] >= self.config.idle

    def _weigh(self, row: int, good: bool) -> None:
        config = self.config
        if self.weight[row] == 0:
            self.free_good[row] = self.free_good[row] + 1 if good else 0
            if self.free_good[row] >= config.patience:
                self.weight[row] = config.cost
                self.good[row] = self.bad[row] = 0
                self.rose[row] = self.fell[row] = False
        self.good[row], self.bad[row] = (self.good[row] + 1, 0) if good else (0, self.bad[row] + 1)
        if self.good[row] >= config.patience:
            self.weight[row] *= config.up
            self.good[row], self.rose[row] = 0, True
        elif self.bad[row] >= config.patience:
            self.weight[row] /= config.down
            self.bad[row], self.fell[row] = 0, True

    def move(self, rows: Rows, free: Sequence[Tensor], slope: Sequence[Tensor]) -> None:
        """Adam with a count of steps for each goal."""
        self.moments = self.moments or [(torch.zeros_like(x), torch.zeros_like(x)) for x in free]
        self.moved[rows] += 1
        first, second = self.config.betas
        at = torch.from_numpy(rows).to(free[0].device)
        for values, (mean, square), by in zip(free, self.moments, slope, strict=True):
            count = _rows(torch.from_numpy(self.moved[rows]).to(by), by)
            mean[at] = mean[at].lerp(by, 1 - first)
            square[at] = square[at].lerp(by.square(), 1 - second)
            root = (square[at] / (1 - second**count)).sqrt() + 1e-8
            values[at] -= self.config.lr * mean[at] / (1 - first**count) / root


@dataclass(frozen=True, kw_only=True)
class Growing:
    """PT-RED's: down the cross entropy from nothing until a share of the clips flips; then done.

    A step has a length of its own, whatever the slope: ``rate`` times the size so far and at least
    ``least`` times the root of the number of free values. The step that flips is then halved
    ``halvings`` times, so a size is exact to about ``rate`` / 2^``halvings``.
    """

    steps: int = 1000
    success: float = 0.9
    rate: float = 0.05
    least: float = 0.5 / 255
    halvings: int = 5
    shrinking: bool = False

    def begin(self, goals: int) -> State:
        """Nothing found."""
        return _Grown(self, goals)


@dataclass
class _Grown:
    config: Growing
    goals: int
    ends: tuple[Tensor, Tensor] | None = (
        None  # where a goal failed last, where it flipped, [g, ...]
    )

    def __post_init__(self) -> None:
        self.weight, self.best = np.zeros(self.goals), np.full(self.goals, np.inf)
        self.done, self.flipped = np.zeros((2, self.goals), bool)
        self.halved, self.moved = np.zeros((2, self.goals), np.int64)

    def see(self, rows: Rows, success: Numbers, size: Numbers) -> NDArray[np.bool_]:
        self.flipped[rows] = success >= self.config.success
        better = self.flipped[rows] & (size < self.best[rows])
        self.best[rows] = np.where(better, size, self.best[rows])
        halving = np.isfinite(self.best[rows]) & (self.moved[rows] > 0)
        self.done[rows] = np.where(
            halving, self.halved[rows] >= self.config.halvings, self.flipped[rows]
        )
        self.halved[rows] += halving
        return better

    def move(self, rows: Rows, free: Sequence[Tensor], slope: Sequence[Tensor]) -> None:
        """On by a step or, once a goal has flipped, to the middle between its two ends."""
        (values,), (by,) = free, slope
        low, high = self.ends = self.ends or (values.clone(), values.clone())
        at = torch.from_numpy(rows).to(values.device)
        flipped = torch.from_numpy(self.flipped[rows]).to(values.device)
        low[at[~flipped]], high[at[flipped]] = values[at[~flipped]], values[at[flipped]]
        length = (self.config.rate * l2(values[at])).clamp(
            min=self.config.least * values[0].numel() ** 0.5
        )
        stepped = values[at] - _rows(length, by) * _direction(by)
        halving = torch.from_numpy(np.isfinite(self.best[rows])).to(values.device)
        middle = (low[at] + high[at]) / 2
        values[at] = torch.where(_rows(halving, by), middle, stepped)
        self.moved[rows] += 1


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """One value for each row of ``like``, in its number of dimensions."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _direction(slope: Tensor) -> Tensor:
    """Rows of unit length; rows of zeros stay. Slopes may be so small that squares vanish."""
    largest = slope.flatten(1).abs().amax(1)
    scaled = slope / _rows(torch.where(largest > 0, largest, 1.0), slope)
    return scaled / _rows(l2(scaled).clamp(min=1.0), slope)
