"""Removing channels of a layer for good: which weights write a channel, and setting them to 0.

What is pruned stays a plain network of the same architecture: nothing but weights changes. A layer
is any module. From what it gives, the graph of a pass is walked back to the modules with weights
that write it (batch norms, mostly), through sums (a channel that shortcuts share is removed from
all that add to it), side-by-side branches, and functions that keep 0 at 0.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vidoor.errors import WeightsError
from vidoor.types import Batch
from vidoor.victims.victim import Victim

WRITING = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm,
)  # fmt: skip
"""Modules whose output channels each have weights of their own."""

KEEPING = {
    "Relu", "LeakyRelu", "Gelu", "Silu", "Tanh", "Hardtanh", "Hardswish", "Elu",
    "MaxPool3DWithIndices", "MaxPool2DWithIndices", "AvgPool3D", "AdaptiveAvgPool3D", "Mean",
    "Clone", "View", "UnsafeView", "Transpose", "Permute", "Squeeze", "Unsqueeze",
}  # fmt: skip
"""Functions, as autograd names them, of one tensor, that leave a channel of zeros one of zeros."""


class Writer(NamedTuple):
    """A module that writes ``width`` channels of a layer, from ``first`` on."""

    path: str
    first: int
    width: int


class Channels(NamedTuple):
    """The ``size`` channels of a layer, and what writes them."""

    layer: str
    size: int
    writers: tuple[Writer, ...]


class _Otherwise(Exception):
    """Something that does not let a channel be removed, in words."""


def axis(features: Tensor) -> int:
    """Where the channels of a layer's output are: B×C×T×H×W, tokens B×N×D, or vectors B×D.
    ValueError for anything else."""
    if features.dim() not in (2, 3, 5):
        shape = "×".join(map(str, features.shape[1:]))
        raise ValueError(f"gives {shape} for each clip, not C×T×H×W, N×D or D")
    return 1 if features.dim() == 5 else features.dim() - 1


def find(victim: Victim, clips: Batch, layer: str | None = None) -> Channels:
    """The channels of a layer, which a pass of ``clips`` finds.

    None is the last of ``victim.stages``; where the last stage only adds to what comes from before
    it (a transformer's), its widest layer, first named: the hidden neurons of its MLP. WeightsError
    if there is no such layer or its channels cannot be removed.
    """
    victim = copy.deepcopy(victim).eval()
    if layer is not None:
        return _found(victim, clips, [layer])
    stage = victim.stages[-1] if victim.stages else victim.penultimate
    inside = [path for path in victim.layers(clips) if f"{path}.".startswith(f"{stage}.")]
    try:
        return _found(victim, clips, [stage])
    except WeightsError:
        return _found(victim, clips, [path for path in inside if path != stage])


def _found(victim: Victim, clips: Batch, layers: Sequence[str]) -> Channels:
    """The widest of ``layers`` that channels can be removed of, the first of those alike."""
    best: Channels | None = None
    reason = "there is no layer to look at"
    with _written(victim) as written, torch.enable_grad():
        _, outputs = victim.taps(clips.detach().requires_grad_(), layers)
        for layer, features in zip(layers, outputs, strict=True):
            try:
                size = features.shape[axis(features)]
                writers = _writers(features.grad_fn, written, 0)
                if _ends(writers) != size:
                    raise _Otherwise("they are not written one by one")
            except (_Otherwise, ValueError) as error:
                reason = f"layer {layer!r}: {error}"
                continue
            if best is None or size > best.size:
                best = Channels(layer, size, tuple(dict.fromkeys(writers)))
    if best is not None and not clips.is_meta and not _silent(victim, clips, best):
        reason = f"layer {best.layer!r}: its weights at 0 do not silence it"
        best = None
    if best is None:
        raise WeightsError(
            f"no channels to prune: {reason}; set layer to one that writes its own, such as a "
            "stage of a CNN or the hidden layer of an MLP"
        )
    return best


@contextmanager
def _written(victim: Victim) -> Iterator[dict[Any, Writer]]:
    """What is at the end of each module with weights in the graph of the passes inside."""
    written: dict[Any, Writer] = {}
    handles = []
    for path, module in victim.network.named_modules():
        if isinstance(module, WRITING) and module.weight is not None:

            def see(module: nn.Module, _: object, output: Tensor, path: str = path) -> None:
                width = len(module.get_parameter("weight"))
                written[output.grad_fn] = Writer(path, 0, width)

            handles.append(module.register_forward_hook(see))
    try:
        yield written
    finally:
        for handle in handles:
            handle.remove()


def _writers(node: Any, written: dict[Any, Writer], first: int) -> list[Writer]:
    """What writes the channels from ``first`` on that come out of a node of the graph."""
    if node in written:
        return [written[node]._replace(first=first)]
    kind = "the input" if node is None else node.name().rpartition("Backward")[0]
    before = [] if node is None else [each for each, _ in node.next_functions]
    if kind in KEEPING:
        return _writers(before[0], written, first)
    if kind == "Add":
        found = [_writers(each, written, first) for each in before]
        if len({_ends(each) for each in found}) == 1:
            return [writer for each in found for writer in each]
    if kind == "Cat":
        found = []
        for each in before:
            found.append(_writers(each, written, _ends(found[-1]) if found else first))
        return [writer for each in found for writer in each]
    raise _Otherwise(f"its output comes from {kind}, not from its own weights alone")


def _ends(writers: Sequence[Writer]) -> int:
    """The channel after the last one that is written."""
    return max(writer.first + writer.width for writer in writers)


def _silent(victim: Victim, clips: Batch, channels: Channels) -> bool:
    """Are every other channel's outputs 0 once they are removed from a copy, as they must be?"""
    victim, chosen = copy.deepcopy(victim), range(0, channels.size, 2)
    silence(victim, channels, chosen)
    with torch.no_grad():
        features = victim.features(clips, channels.layer)
    return not features.movedim(axis(features), 0)[list(chosen)].any()


def _weights(victim: Victim, channels: Channels, chosen: Sequence[int]) -> Iterator[Any]:
    """Parameters, and their rows that write the chosen channels."""
    for path, first, width in channels.writers:
        rows = [channel - first for channel in chosen if first <= channel < first + width]
        yield from ((p, rows) for p in victim.network.get_submodule(path).parameters(recurse=False))


def silence(victim: Victim, channels: Channels, chosen: Sequence[int]) -> None:
    """Remove channels from ``victim`` itself: what writes them writes 0."""
    with torch.no_grad():
        for weight, rows in _weights(victim, channels, chosen):
            weight[rows] = 0


@contextmanager
def held(victim: Victim, channels: Channels, chosen: Sequence[int]) -> Iterator[None]:
    """Training inside leaves removed channels removed: no gradient reaches what writes them."""

    def still(rows: list[int]) -> Any:
        return lambda gradient: gradient.index_fill(
            0, torch.tensor(rows, dtype=torch.long, device=gradient.device), 0
        )

    handles = [
        weight.register_hook(still(rows))
        for weight, rows in _weights(victim, channels, chosen)
        if weight.requires_grad
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
