"""Weights from elsewhere: found, checked, read without running anything, and fitted by name.

A checkpoint is data from a stranger. It is read as safetensors, or by PyTorch's reader that knows
tensors and plain containers alone (``weights_only``); everything else is refused.
"""

import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vidoor.errors import WeightsError, unknown
from vidoor.progress import say
from vidoor.victims._download import Source, digest, fetch, source

State = dict[str, Tensor]
Checkpoints = Mapping[str, Source]
Presets = Mapping[str, Mapping[str, Any]]
Aliases = Sequence[tuple[str, str]]

NESTED = ("state_dict", "model_state", "model_state_dict", "model")
"""Where trainers put the weights in a checkpoint of theirs."""

SHOWN = 3
"""Names that an error lists of each kind."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What every architecture offers beside its size: weights to begin with."""

    weights: str | None = None
    """Weights to begin with; none: fresh ones. The name of a public checkpoint, a file
    (safetensors, or a PyTorch file of tensors), or a URL that ends in ``#sha256=`` and 64 digits.
    Every name and shape must fit; a head for another number of classes alone stays fresh."""

    checkpoints: ClassVar[Checkpoints] = {}
    """Public checkpoints by name."""

    aliases: ClassVar[Aliases] = ()
    """Patterns, and what they become, that turn another publisher's names into ours."""

    def __post_init__(self) -> None:
        if self.weights is None or self.weights in self.checkpoints:
            return
        if "://" in self.weights:
            source(self.weights)
        elif not self.weights or re.fullmatch(r"[\w-]+", self.weights):
            raise ValueError(
                unknown("weights", self.weights, self.checkpoints)
                + "; or give a file, or a URL with #sha256="
            )

    def check(self) -> None:
        """WeightsError if the weights are a file that is not there. Nothing is fetched."""
        if self.local is not None and not self.local.is_file():
            raise WeightsError(f"victim.weights: there is no file {self.weights}")

    @property
    def local(self) -> Path | None:
        """The file that the weights are, unless they are none, or on the net."""
        if self.weights is None or self.weights in self.checkpoints or "://" in self.weights:
            return None
        return Path(self.weights).expanduser()

    def identity(self) -> dict[str, Any]:
        """The options, a file of weights by its content."""
        options = {name: value for name, value in asdict(self).items() if value is not None}
        if self.local is not None:
            self.check()
            options["weights"] = f"sha256={digest(self.local)}"
        return options


def begin(network: nn.Module, architecture: Any, head: str) -> None:
    """Give ``network`` the weights that its architecture asks for, if any. WeightsError tells why
    they cannot be had, or which of them do not fit."""
    named = getattr(architecture, "weights", None)
    if named is None:
        return
    known = architecture.checkpoints.get(named)
    if known is None and architecture.local is None:
        known = source(named)
    if known is None:
        architecture.check()
    path = architecture.local if known is None else fetch(known)
    adopt(network, read(path), named, head=head, aliases=architecture.aliases)


def read(path: Path) -> State:
    """The tensors of a checkpoint, by name, on the CPU. WeightsError if it is anything but that;
    nothing in the file is run."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if start[8:] == b"{":
                content = load_file(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # the readers' errors share no base class
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):
            found = re.search(r"GLOBAL ([\w.]+)", reason)
            reason = f"it asks to run {found[1]}" if found else "it holds more than tensors"
        elif isinstance(error, LookupError):  # an opcode or a reference that is none
            reason = "it is cut short or something else"
        raise WeightsError(
            f"{path}: refused, nothing in it was run: neither a safetensors file nor a PyTorch "
            f"file of tensors ({reason[:160]}); save the bare state dict as safetensors"
        ) from None
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> State:
    """The state dict in what a PyTorch file holds, without the prefix of a parallel wrapper."""
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no state dict (tensors by name)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise WeightsError(f"{path}: {str(name)[:80]!r} is a {kind}, not a tensor; {_WANTED}")
        if (odd := _oddity(value)) is not None:
            raise WeightsError(
                f"{path}: {name[:80]!r} is a tensor that is {odd}; give dense, real, finite ones"
            )
    prefix = "module."
    wrapped = all(name.startswith(prefix) for name in content)
    return {name.removeprefix(prefix) if wrapped else name: content[name] for name in content}


PLAIN = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}
"""Types of numbers that parameters and buffers have."""


def _oddity(tensor: Tensor) -> str | None:
    """What keeps a tensor from being a parameter, if anything does."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "empty (on the meta device)"
    if tensor.layout is not torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    if tensor.dtype not in PLAIN:
        return "complex" if tensor.is_complex() else f"of {str(tensor.dtype).split('.')[-1]}"
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        return "larger than its numbers in the file"
    return None if bool(tensor.isfinite().all()) else "not finite"


_WANTED = "give a state dict, bare or under " + ", ".join(NESTED)


def adopt(
    network: nn.Module,
    state: State,
    where: str,
    *,
    head: str = "",
    aliases: Aliases = (),
) -> None:
    """Load ``state`` into ``network``, strictly: WeightsError tells what is missing, unexpected or
    of another shape. With ``head`` given, a head for another number of classes is left fresh."""
    own = network.state_dict()
    state = {renamed(name, own, aliases): value for name, value in state.items()}
    fresh = {
        name
        for name, value in own.items()
        if head and name.startswith(f"{head}.") and name in state and _other(state[name], value)
    }
    if fresh:
        classes = {len(state[name]) for name in fresh}
        say(f"{where}: of {min(classes)} classes; the head ({head}) stays freshly initialised")
    state = {name: value for name, value in state.items() if name not in fresh}
    # Batch norm's count of steps came later than some of the checkpoints, and is never used.
    missing = [
        name
        for name in own
        if name not in state and name not in fresh and not name.endswith(".num_batches_tracked")
    ]
    problems = {
        "missing": missing,
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {_shape(value)} instead of {_shape(own[name])}"
            for name, value in state.items()
            if name in own and value.shape != own[name].shape
        ],
    }
    if any(problems.values()):
        told = [_listed(kind, names) for kind, names in problems.items() if names]
        raise WeightsError(f"{where}: does not fit this victim: {'; '.join(told)}")
    network.load_state_dict(state, strict=False)


def _other(arrived: Tensor, own: Tensor) -> bool:
    """Are these the weights of heads that differ in the number of classes alone?"""
    return arrived.shape[1:] == own.shape[1:] and len(arrived) != len(own)


def renamed(name: str, own: State, aliases: Aliases) -> str:
    """Our name for a tensor; another publisher's is translated where it is none of ours."""
    if name in own:
        return name
    for pattern, ours in aliases:
        name = re.sub(pattern, ours, name)
    return name


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "scalar"


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{kind}: {', '.join(name[:120] for name in names[:SHOWN])}{more}"
