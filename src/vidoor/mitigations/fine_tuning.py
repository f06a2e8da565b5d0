"""Fine-tuning on clean clips and nothing else.

No paper's own: it is the control. On images, distillation without its attention loss was as good as
with it, so what a mitigation does beyond fine-tuning is the part that it can claim.
"""

import copy
from dataclasses import dataclass

from vidoor.mitigations._clean import OnCleanClips
from vidoor.registry import register
from vidoor.types import ClipSet
from vidoor.victims.victim import Victim


@register("mitigation", "fine-tuning")
@dataclass(frozen=True, kw_only=True)
class FineTuning(OnCleanClips):
    """The control: train on with a few clean clips, at a constant learning rate (AdamW)."""

    epochs: int = 5
    """Passes over these clips."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._training(self.epochs)

    def __call__(self, victim: Victim, clean: ClipSet) -> Victim:
        """A fine-tuned copy of ``victim``, on the same device."""
        return self._tune(copy.deepcopy(victim), self._draw(clean), self.epochs, "fine-tuning")
