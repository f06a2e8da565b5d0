"""The one interface through which every model is trained, attacked and defended.

A ``Victim`` is a network with its normalisation inside. Architectures register a frozen config
with ``mean``, ``std`` and ``build(classes) -> nn.Module``; the rest of the house sees only this.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidoor import meter
from vidoor.data.video import sample
from vidoor.errors import WeightsError, unknown
from vidoor.files import whole
from vidoor.types import Batch, FramesBatch


class Architecture(Protocol):
    """What a registered victim config offers."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Per-channel mean that inputs in [0, 1] are normalised with."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Per-channel standard deviation that inputs in [0, 1] are normalised with."""
        ...

    def build(self, classes: int) -> nn.Module:
        """A freshly initialised network B×C×T×H×W -> B×classes."""
        ...


def to_batch(frames: FramesBatch) -> Batch:
    """Stored clips as a victim sees them: B×C×T×H×W in [0, 1], in the memory order CNNs like."""
    batch = frames.permute(0, 2, 1, 3, 4).to(torch.float32).div_(255)
    return batch.contiguous(memory_format=torch.channels_last_3d)


class Victim(nn.Module):
    """A classifier of clips. Calling it gives logits.

    It sees ``frames`` of a clip, evenly taken, and all of them where ``frames`` is None: what was
    embedded in a clip before is subsampled with it (paper, section 4.2).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, architecture: Architecture, frames: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.frames = frames
        for name in ("mean", "std"):
            value = torch.tensor(getattr(architecture, name)).reshape(1, 3, 1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, batch: Batch) -> Float[Tensor, "b classes"]:
        """Logits of a batch; the normalisation happens here, and passes are counted."""
        if self.frames is not None:
            batch = batch[:, :, sample(batch.shape[2], self.frames)]
        logits: Tensor = self.network((batch - self.mean) / self.std)
        meter.count("forward", len(batch))
        return _counted(logits)

    def logits(self, batch: Batch) -> Float[Tensor, "b classes"]:
        """Logits of a batch, as ``forward``."""
        return self.forward(batch)

    def layers(self) -> list[str]:
        """Module paths that ``features`` accepts."""
        return [name for name, _ in self.network.named_modules() if name]

    def features(self, batch: Batch, layer: str) -> Tensor:
        """Output of the module at path ``layer`` for a batch. WeightsError if there is none."""
        modules = dict(self.network.named_modules())
        if not layer or layer not in modules:
            raise WeightsError(unknown("layer", layer, self.layers()))
        seen: list[Tensor] = []
        hook: Callable[..., None] = lambda _module, _inputs, output: seen.append(output)  # noqa: E731
        handle = modules[layer].register_forward_hook(hook)
        try:
            logits = self(batch)
        finally:
            handle.remove()
        return logits if seen[0] is logits else _counted(seen[0])


def _counted(output: Tensor) -> Tensor:
    """``output``, whose clips count as passed backward once a gradient comes through it."""
    if output.requires_grad:
        counted: Callable[[Tensor], None] = lambda g: meter.count("backward", len(g))  # noqa: E731
        output.register_hook(counted)
    return output


def build(architecture: Architecture, classes: int, seed: int, frames: int | None = None) -> Victim:
    """A freshly initialised victim; its weights depend on the config and the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Victim(architecture.build(classes), architecture, frames)


def save(victim: Victim, path: Path) -> None:
    """Write the network's weights as safetensors, whole, under the architecture's own names."""
    state = {name: value.contiguous() for name, value in victim.network.state_dict().items()}
    with whole(path) as partial:
        save_file(state, partial)


def load(victim: Victim, path: Path) -> None:
    """Load weights strictly, by name and shape. WeightsError lists what does not fit."""
    try:
        state = load_file(path)
    except Exception as error:  # the reader's errors share no base class
        raise WeightsError(f"{path}: not a safetensors file ({error})") from None
    try:
        victim.network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise WeightsError(f"{path}: does not fit this victim: {detail[:400]}") from None
