"""Looking inside a network: which modules it has, and what they give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from vidoor import meter
from vidoor.errors import WeightsError, unknown

Hook = Callable[[nn.Module, Any, Any], None]


def module_at(network: nn.Module, layer: str, known: Sequence[str]) -> nn.Module:
    """The module at a path. WeightsError names some that are there, ``known`` among them."""
    modules = dict(network.named_modules())
    if not layer or layer not in modules:
        near = get_close_matches(layer, modules, n=1)
        valid = [name for name in dict.fromkeys([*near, *known]) if name in modules]
        raise WeightsError(f"{unknown('layer', layer, valid)}; all: victim.layers()")
    found: nn.Module = modules[layer]
    return found


@contextmanager
def hooked(modules: Mapping[str, nn.Module], see: Callable[[str, Any], None]) -> Iterator[None]:
    """``see(name, output)`` is called after each of these modules."""

    def hook(name: str) -> Hook:
        return lambda _module, _inputs, output: see(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensor(output: Any) -> Tensor | None:
    """The tensor that a module returns, or the first of what it returns; None if there is none."""
    while isinstance(output, tuple | list | Mapping) and output:
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output if isinstance(output, Tensor) else None


def useless(layer: str, seen: Mapping[str, Any], clips: int) -> str:
    """Why a layer gives no features."""
    if layer not in seen:
        reason = "is not called in a pass"
    elif seen[layer] is None:
        reason = "gives no tensor"
    else:
        reason = f"gives {'×'.join(map(str, seen[layer].shape))} for {clips} clips"
    return f"layer {layer!r} {reason}; take one of victim.layers()"


def guess_head(network: nn.Module) -> str:
    """The last linear or convolutional layer."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    found = [name for name, module in network.named_modules() if isinstance(module, kinds)]
    if not found or not found[-1]:
        raise WeightsError("the network has no layer inside it that could be its head")
    last: str = found[-1]
    return last


def guess_penultimate(network: nn.Module, head: str) -> str:
    """The module, of those without children, that is defined last before the head."""
    leaves = [name for name, module in network.named_modules() if not list(module.children())]
    at = leaves.index(head) if head in leaves else 0
    return leaves[at - 1] if at else head


def guess_stages(network: nn.Module, head: str) -> tuple[str, ...]:
    """The network's children that have weights, without the one that the head is in."""
    return tuple(
        name
        for name, child in network.named_children()
        if any(True for _ in child.parameters()) and not f"{head}.".startswith(f"{name}.")
    )


def count_backward(outputs: Sequence[Tensor]) -> None:
    """Count the clips of a pass as passed backward whenever gradients come through its outputs,
    once however many of them they come through."""
    came = [0] * len(outputs)

    def hook(at: int) -> Callable[[Tensor], None]:
        def count(gradient: Tensor) -> None:
            before, came[at] = max(came), came[at] + 1
            if came[at] > before:
                meter.count("backward", len(gradient))

        return count

    for at, output in enumerate(outputs):
        if output.requires_grad:
            output.register_hook(hook(at))
