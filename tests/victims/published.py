"""Published networks at their full size, without memory or arithmetic."""

import torch

from vidoor.victims import victim as victims


def published(config, classes=400):
    """The victim on the meta device: names and shapes alone."""
    with torch.device("meta"):
        return victims.build(config, classes, 0).eval()


def parameters(victim) -> int:
    return sum(parameter.numel() for parameter in victim.parameters())


def lacking(victim, names: dict[str, tuple[int, ...]]) -> dict[str, object]:
    """The published names that the victim has not, or has in another shape."""
    state = victim.network.state_dict()
    shapes = {name: tuple(state[name].shape) if name in state else None for name in names}
    return {name: shape for name, shape in shapes.items() if shape != names[name]}


def shapes(victim, layers: list[str], *clip: int) -> list[tuple[int, ...]]:
    """What the layers give for one clip of T×H×W, without the batch axis."""
    batch = torch.empty(1, 3, *clip, device="meta")
    return [tuple(features.shape[1:]) for features in victim.taps(batch, layers)[1]]
