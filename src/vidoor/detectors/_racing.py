"""When is a verdict settled, although the searches could go on?

All classes are sought side by side, step by step, so that at any step their norms are of the same
age, and the rules for outliers do not care for a factor that all norms have in common. So what can
still turn a verdict is how far classes will *differ* in what is to come. At every rung many futures
are drawn, and the race is over once the verdict, that is whether there is an alarm and about which
class, is as now in 95 % of them. All searches end together: a class that was dropped earlier would
be compared with others at another age.

Half of the classes must have been reached before anything can be told.
Growing searches: a class that is done keeps its norm, and one that has not flipped will have a
larger one than now; futures have its reciprocal anywhere between 0 and now.
Annealed searches: in a future the norm of each class that is still sought is off by a factor
exp(σ z), z normal; σ is how far the classes have differed in what they lost since an earlier rung,
two thirds of the steps so far, if half of the classes had been reached by then.

Guaranteed: a race never takes more passes than the full schedule, and gives the same numbers where
it is not cut short, as each search is the beginning of the full one (up to rounding, which depends
on what else is in a batch). Empirical: that differences to come are no larger than those seen (they
shrink, as the searches converge) and that a growing class does not fall below its present norm.
``benchmarks/inversion.py`` counts how often a verdict comes out differently.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vidoor.detectors._search import Trigger
from vidoor.detectors.outliers import Norms, Rule

FIRST, RATIO = 24, 1.2
"""Steps of the first rung, and of a rung as a multiple of the one before."""

PAST = 2 / 3
"""Share of the steps so far, from which on differences are taken."""

FUTURES, SAME = 1000, 0.95
"""Futures that are drawn, and the share of them that must agree with the present."""

ENOUGH = 0.5
"""Share of the goals that must have been reached for anything to be told."""


@dataclass
class Race:
    """Goals of one search against each other: ``norm`` is what ``rule`` judges of their triggers.

    ``shrinking`` as the schedule's.
    """

    rule: Rule
    norm: Callable[[Trigger], Norms]
    shrinking: bool
    seed: int
    rungs: dict[int, tuple[Norms, NDArray[np.bool_]]] = field(default_factory=dict)
    """Norms by step, and which goals had been reached."""

    def settled(
        self, step: int, kept: Trigger, reached: NDArray[np.bool_], done: NDArray[np.bool_]
    ) -> bool:
        """Whether the verdict is the same in nearly all futures after ``step``; False between
        rungs. ``kept`` is the best trigger of each goal or, where none was, the last one."""
        if step < FIRST * RATIO ** len(self.rungs):
            return False
        norms = self.norm(kept)
        self.rungs[step] = norms, reached.copy()
        rng = np.random.default_rng([self.seed, 6, step])
        futures = self._futures(step, ~done, rng)
        if futures is None:
            return False
        scores = self.rule.scores(np.vstack([norms, futures]))
        accused = np.where(scores.max(1) > self.rule.threshold, scores.argmax(1), -1)
        return bool((accused[1:] == accused[0]).mean() >= SAME)

    def _futures(
        self, step: int, going: NDArray[np.bool_], rng: np.random.Generator
    ) -> Norms | None:
        """Norms that the goals may end with, [futures, g]; None where nothing can be told yet."""
        norms, reached = self.rungs[step]
        if reached.mean() < ENOUGH:
            return None
        if not self.shrinking:
            share = rng.uniform(np.finfo(float).eps, 1, (FUTURES, len(norms)))
            futures: Norms = np.where(going, norms / share, norms)
            return futures
        past = [at for at in self.rungs if at <= PAST * step]
        if not past:
            return None
        before, then = self.rungs[past[-1]]
        if (then & reached).mean() < ENOUGH:
            return None
        lost = np.log(norms / before)[then & reached]
        spread = np.sqrt(np.mean((lost - np.median(lost)) ** 2))
        offs: Norms = np.exp(going * spread * rng.standard_normal((FUTURES, len(norms))))
        return norms * offs
