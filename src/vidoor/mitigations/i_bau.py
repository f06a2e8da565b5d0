"""I-BAU: unlearn the worst perturbation that all clips share, and how it follows the weights.

Zeng et al., "Adversarial Unlearning of Backdoors via Implicit Hypergradient", ICLR 2022. Each round
climbs to a universal perturbation δ that turns clean clips from what the victim says of them, then
lowers the loss of clips with δ. Since δ depends on the weights, the slope has a second part, which
the implicit function theorem gives and a few fixed-point steps approximate.

Li et al. could not afford it on video. Departures: the fixed point is that of the batch at hand
(the authors' code always takes the first one's). As there, the victim is in evaluation mode
throughout, and nothing is cut off to [0, 1].
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd import grad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from vidoor.mitigations._clean import OnCleanClips, batch, finite
from vidoor.progress import say
from vidoor.registry import register
from vidoor.types import Batch, ClipSet
from vidoor.victims.loading import Order
from vidoor.victims.victim import Victim

DECAY = 1e-3
"""Weight of ‖δ‖² where δ is sought (the authors' code)."""

Loss = Callable[[Tensor], Tensor]


@register("mitigation", "i-bau")
@dataclass(frozen=True, kw_only=True)
class IBAU(OnCleanClips):
    """Adversarial unlearning: minimise the loss under the worst universal perturbation."""

    lr: float = 1e-3
    """Learning rate of the weights (Adam)."""

    rounds: int = 5
    """Times that a perturbation is sought and unlearnt, each over all clips."""

    shared: bool = False
    """One perturbation for all frames. The default has its own values in every frame, the space
    that triggers in motion lie in: a shared one cannot resemble them."""

    inner_lr: float = 10.0
    """Step of the climb to the perturbation (SGD), one for each batch."""

    passes: int = 1
    """Passes of each climb over the clips. The original has one, of some fifty batches."""

    radius: float = 10.0
    """Largest l2 norm of the perturbation, of values in [0, 1], over what clips have added: a
    shared one counts once for every frame."""

    stamped: float = 0.01
    """Share of each batch, at least one clip, that carries the perturbation where weights are
    changed. The default is that of the authors' code; 1 is the paper's formula."""

    fixed_point: int = 5
    """K, steps towards the fixed point, each a second derivative of the batch; 0: δ is taken as if
    it did not depend on the weights."""

    fixed_point_lr: float = 0.1
    """Step of the descent whose fixed point δ is taken to be."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"formula": {"stamped": 1.0}}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("inner_lr", "radius", "fixed_point_lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number > 0, not {getattr(self, name)}")
        for name, least in (("rounds", 1), ("passes", 1), ("fixed_point", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if not 0 < self.stamped <= 1:
            raise ValueError(f"stamped must be in (0, 1], not {self.stamped}")

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A copy of ``victim`` that has unlearnt ``rounds`` perturbations."""
        victim, clips = copy.deepcopy(victim).eval(), self._draw(clean)
        weights = [weight for weight in victim.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(weights, lr=self.lr)
        order, labels = Order(len(clips), self.batch_size, self.seed), torch.tensor(clips.labels)
        labels = labels.to(victim.mean.device)
        # The fast kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            for order.epoch in range(self.rounds):
                batches = [[key.clip for key in keys] for keys in order]
                delta, total = self.climb(victim, clips, batches * self.passes), 0.0
                for rows in batches:
                    seen = batch(clips, rows, victim.mean.device)
                    loss, slopes = self._slopes(victim, seen, labels[rows], delta, weights)
                    for weight, slope in zip(weights, slopes, strict=True):
                        weight.grad = slope
                    optimizer.step()
                    total += finite(loss, "I-BAU") * len(rows)
                told = f"loss {total / len(clips):.4g}, perturbation {self._norm(delta, clips):.4g}"
                say(f"I-BAU: round {order.epoch + 1} of {self.rounds}, {told}")
        optimizer.zero_grad()
        return victim

    def climb(self, victim: Victim, clips: ClipSet, batches: Sequence[Sequence[int]]) -> Tensor:
        """The perturbation, C×T×H×W or C×1×H×W, that turns most clips from what the victim says of
        them: one step for each batch, from 0; then it is brought inside the ball."""
        frames, height, width = clips.geometry
        shape = (3, 1 if self.shared else frames, height, width)
        delta = torch.zeros(shape, device=victim.mean.device)
        for rows in batches:
            seen = batch(clips, rows, delta.device)
            with torch.no_grad():
                said = victim(seen).argmax(1)
            delta.requires_grad_()
            (slope,) = grad(self._inner(victim, seen, said)(delta), delta)
            delta = (delta - self.inner_lr * slope).detach()
        finite(delta.sum(), "I-BAU's perturbation")
        return delta * min(1.0, self.radius / max(self._norm(delta, clips), 1e-12))

    def _norm(self, delta: Tensor, clips: ClipSet) -> float:
        times = clips.geometry.frames / delta.shape[1]
        return float(delta.norm()) * math.sqrt(times)

    def _inner(self, victim: Victim, seen: Batch, labels: Tensor) -> Loss:
        """What the perturbation makes small."""
        times = seen.shape[2] if self.shared else 1
        return lambda delta: (
            DECAY * times * delta.square().sum() - cross_entropy(victim(seen + delta), labels)
        )

    def _slopes(
        self, victim: Victim, seen: Batch, labels: Tensor, delta: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Loss of a batch of which some clips carry δ, and its whole slope by the weights. Batches
        come in random order, so that the first clips are drawn ones."""
        carrying = torch.zeros(len(seen), 1, 1, 1, 1, device=seen.device)
        carrying[: max(1, round(self.stamped * len(seen)))] = 1
        return hypergradient(
            self._inner(victim, seen, labels),
            lambda delta: cross_entropy(victim(seen + carrying * delta), labels),
            delta,
            weights,
            step=self.fixed_point_lr,
            iterations=self.fixed_point,
        )


def hypergradient(
    inner: Loss,
    outer: Loss,
    delta: Tensor,
    weights: Sequence[Tensor],
    *,
    step: float,
    iterations: int,
) -> tuple[Tensor, list[Tensor]]:
    """Value of outer(δ(w), w) and its slope by w, where δ(w) minimises inner(δ, w).

    ``delta`` is taken to be δ(w), a fixed point of δ − step · ∂inner/∂δ, whose Jacobians by δ and w
    are J and M: the slope is ∂outer/∂w + Mᵀ (I − Jᵀ)⁻¹ ∂outer/∂δ, with the first ``iterations``
    terms of the inverse's Neumann series (paper, section 3). It converges where 0 < step · h < 2
    for all eigenvalues h of inner's second derivative.
    """
    delta = delta.detach().requires_grad_()
    value = outer(delta)
    toward, *plain = grad(value, [delta, *weights], allow_unused=True, materialize_grads=True)
    if not iterations:
        return value, plain
    (slope,) = grad(inner(delta), delta, create_graph=True)
    moved = delta - step * slope
    solved = toward
    for _ in range(iterations - 1):
        solved = toward + grad(moved, delta, solved, retain_graph=True)[0]
    through = grad(moved, weights, solved, allow_unused=True, materialize_grads=True)
    return value, [one + other for one, other in zip(plain, through, strict=True)]
