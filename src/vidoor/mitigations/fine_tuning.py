"""Fine-tuning on clean clips and nothing else.

No paper's own: it is the control. On images, distillation without its attention loss was as good as
with it, so what a mitigation does beyond fine-tuning is the part that it can claim.
"""

import copy
from dataclasses import dataclass

from vidoor.data.subset import draw
from vidoor.registry import register
from vidoor.types import ClipSet
from vidoor.victims.training import Training, fit
from vidoor.victims.victim import Victim


@register("mitigation", "fine-tuning")
@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """The control: train on with a few clean clips, at a constant learning rate (AdamW)."""

    fraction: float = 0.05
    """Share of the clean training clips of each class, at least one, that is used."""

    epochs: int = 5
    """Passes over these clips."""

    batch_size: int = 16
    """Clips per step."""

    lr: float = 3e-4
    """Learning rate."""

    seed: int = 0
    """Seed of the draw of clips and of their order."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be in (0, 1], not {self.fraction}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in 0..2**63 - 1, not {self.seed}")
        self._training()

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A fine-tuned copy of ``victim``, on the same device."""
        chosen = draw(clean, self.fraction, self.seed)
        cpu = next(victim.parameters()).device.type == "cpu"
        tuned, _ = fit(
            copy.deepcopy(victim),
            chosen,
            self._training(),
            seed=self.seed,
            name="fine-tuning",
            device="cpu" if cpu else "auto",
        )
        return tuned

    def _training(self) -> Training:
        return Training(epochs=self.epochs, batch_size=self.batch_size, lr=self.lr)
