"""The one interface through which every model is trained, attacked and defended.

A ``Victim`` is a network with its normalisation inside. Architectures register a frozen config
with ``mean``, ``std`` and ``build(classes) -> nn.Module``; the rest of the house sees only this.
Optional, by duck typing: ``head``, ``penultimate`` and ``stages`` (see ``Victim``), ``presets``,
and what ``weights.Pretrained`` has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from vidoor import meter
from vidoor.data.video import sample
from vidoor.errors import WeightsError
from vidoor.files import whole
from vidoor.types import Batch, FramesBatch
from vidoor.victims import _taps, weights


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

    Layers are named by the path of their module. What a layer gives is one tensor with a row for
    each clip: what its module returns, or the first of it where it returns several (the hidden
    states of a transformer's layer, B×N×D; the slow pathway of SlowFast, B×C×T×H×W). Some paths are
    known for every network; where the architecture does not name them they are guessed:

    ``head``         the classifying layer: the last linear or convolutional one
    ``penultimate``  what the head reads, once averaged over time and space: the module before it
    ``stages``       what defences look at, from shallow to deep: the children of the network
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, architecture: Architecture, frames: int | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.frames = frames
        for name in ("mean", "std"):
            value = torch.tensor(getattr(architecture, name)).reshape(1, 3, 1, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.head: str = getattr(architecture, "head", None) or _taps.guess_head(network)
        before = getattr(architecture, "penultimate", None)
        self.penultimate: str = before or _taps.guess_penultimate(network, self.head)
        stages = getattr(architecture, "stages", None)
        self.stages = _taps.guess_stages(network, self.head) if stages is None else tuple(stages)
        self.frozen: set[str] = set()
        for layer in (self.head, self.penultimate, *self.stages):
            self._module(layer)

    def forward(self, batch: Batch) -> Float[Tensor, "b classes"]:
        """Logits of a batch; the normalisation happens here, and passes are counted."""
        return self.taps(batch, ())[0]

    def logits(self, batch: Batch) -> Float[Tensor, "b classes"]:
        """Logits of a batch, as ``forward``."""
        return self.forward(batch)

    def taps(
        self, batch: Batch, layers: Sequence[str]
    ) -> tuple[Float[Tensor, "b classes"], list[Tensor]]:
        """Logits, and the features of several layers, from one pass; see ``features``."""
        seen: dict[str, Tensor | None] = {}
        copies: dict[str, Tensor] = {}

        def see(layer: str, output: object) -> None:
            found = seen[layer] = _taps.tensor(output)
            if found is not None:
                # A copy, because the module that follows may work in place (ReLU often does).
                copies[layer] = found.clone()

        modules = {layer: self._module(layer) for layer in layers}
        if self.frames is not None:
            batch = batch[:, :, sample(batch.shape[2], self.frames)]
        with _taps.hooked(modules, see):
            logits: Tensor = self.network((batch - self.mean) / self.std)
        meter.count("forward", len(batch))
        for layer in layers:
            if layer not in copies or copies[layer].shape[:1] != batch.shape[:1]:
                raise WeightsError(_taps.useless(layer, seen, len(batch)))
        features = [logits if seen[layer] is logits else copies[layer] for layer in layers]
        _taps.count_backward([logits, *features])
        return logits, features

    def features(self, batch: Batch, layer: str) -> Tensor:
        """What the layer at a path gives for a batch, one row for each clip.

        WeightsError if there is no such layer, if no pass calls it, or if its rows are not clips.
        """
        return self.taps(batch, (layer,))[1][0]

    def embeddings(self, batch: Batch) -> Float[Tensor, "b d"]:
        """What the head reads, one vector for each clip: the penultimate layer, averaged over time
        and space."""
        features = self.features(batch, self.penultimate)
        return features.flatten(2).mean(2) if features.dim() > 2 else features

    def layers(self, batch: Batch | None = None) -> list[str]:
        """Every path that ``features`` accepts for clips such as ``batch``, of two clips or more.

        A pass finds them; without a batch, of two black clips of 8×32×32. Left out are modules that
        are not called (containers), and those whose rows are not clips.
        """
        if batch is None:
            batch = torch.zeros(2, 3, 8, 32, 32, device=self.mean.device)
        rows: dict[str, int] = {}

        def see(layer: str, output: object) -> None:
            found = _taps.tensor(output)
            rows[layer] = 0 if found is None or not found.dim() else len(found)

        modules = {name: module for name, module in self.network.named_modules() if name}
        training = self.training
        try:
            with _taps.hooked(modules, see), torch.no_grad():
                self.eval()(batch)
        finally:
            self.train(training)
        return [name for name in modules if rows.get(name) == len(batch)]

    def train(self, mode: bool = True) -> "Victim":
        """As of any module; what is frozen stays in evaluation, so that its statistics stay too."""
        super().train(mode)
        for layer in self.frozen:
            self._module(layer).eval()
        return self

    def freeze(self, layers: Sequence[str]) -> None:
        """Keep the modules at these paths as they are in training: weights and statistics."""
        for layer in layers:
            self._module(layer).requires_grad_(False).eval()
        self.frozen |= set(layers)

    def unfreeze(self) -> None:
        """Let every weight be trained again."""
        self.frozen.clear()
        self.requires_grad_(True).train(self.training)

    def replace_head(self, classes: int, seed: int = 0) -> None:
        """Put a fresh head with ``classes`` outputs in the place of the old one. WeightsError where
        that is no linear layer and no 1×1×1 convolution."""
        old = self._module(self.head)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if isinstance(old, nn.Linear):
                new: nn.Module = nn.Linear(old.in_features, classes, old.bias is not None)
            elif isinstance(old, nn.Conv3d) and set(old.kernel_size) == {1}:
                new = nn.Conv3d(old.in_channels, classes, 1, bias=old.bias is not None)
            else:
                raise WeightsError(
                    f"the head {self.head!r} is a {type(old).__name__}; only a linear layer and a "
                    "1×1×1 convolution can be replaced"
                )
        weight = next(old.parameters())
        self.network.set_submodule(self.head, new.to(weight.device, weight.dtype))

    def _module(self, layer: str) -> nn.Module:
        return _taps.module_at(self.network, layer, [*self.stages, self.penultimate, self.head])


def build(
    architecture: Architecture,
    classes: int,
    seed: int,
    frames: int | None = None,
    *,
    pretrained: bool = True,
) -> Victim:
    """A victim whose fresh weights depend on the config and the seed alone.

    With ``pretrained``, weights that the architecture asks for take their place: WeightsError if
    they cannot be had or do not fit. Without, it is ready for ``load``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        victim = Victim(architecture.build(classes), architecture, frames)
    if pretrained:
        weights.begin(victim.network, architecture, victim.head)
    return victim


def save(victim: Victim, path: Path) -> None:
    """Write the network's weights as safetensors, whole, under the architecture's own names."""
    state = {name: value.contiguous() for name, value in victim.network.state_dict().items()}
    with whole(path) as partial:
        save_file(state, partial)


def load(victim: Victim, path: Path) -> None:
    """Load weights strictly, by name and shape, from safetensors or a PyTorch file of tensors.
    WeightsError lists what does not fit; nothing in the file is run."""
    weights.adopt(victim.network, weights.read(path), str(path))
