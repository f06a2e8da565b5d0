"""Any network of your own: built by a function that you name, loaded from a file of weights.

Naming a function runs your own code, as importing it would. The weights are another matter: they
are read as data and never run, whoever made them (``weights.py``).
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from vidoor.errors import RecipeError
from vidoor.registry import register
from vidoor.victims.weights import Pretrained

Triple = tuple[float, float, float]


@register("victim", "custom")
@dataclass(frozen=True, kw_only=True)
class Custom(Pretrained):
    """A network of your own: any ``nn.Module`` from B×3×T×H×W to B×classes."""

    factory: str
    """Who builds it, as ``package.module:function``; a class will do. It must be importable: in an
    installed package, or in a folder of ``PYTHONPATH``."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """What it is called with, by keyword, beside the number of classes."""

    classes: str = "num_classes"
    """The keyword that it takes the number of classes by; empty: it is not told."""

    mean: Triple = (0.0, 0.0, 0.0)
    """Per channel, taken from inputs in [0, 1] before the network sees them."""

    std: Triple = (1.0, 1.0, 1.0)
    """Per channel, what they are divided by after that."""

    head: str | None = None
    """Path of the classifying layer; none: the last linear or convolutional one."""

    penultimate: str | None = None
    """Path of the layer whose output, averaged over time and space, the head reads; none: the
    module defined last before the head."""

    stages: tuple[str, ...] | None = None
    """Paths of the stages, from shallow to deep; none: the network's own children."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[\w.]+:[\w.]+", self.factory):
            raise ValueError(
                f"factory must be written as package.module:function, not {self.factory!r}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be > 0 in each channel, not {self.std}")

    def build(self, classes: int) -> nn.Module:
        """The network that the factory builds. RecipeError, one line, if it builds none."""
        told = {self.classes: classes} if self.classes else {}
        factory = _find(self.factory)
        try:
            network = factory(**told, **self.options)
        except Exception as error:  # whatever the user's code may raise
            raise RecipeError(
                f"victim.factory {self.factory} failed: {_line(error)}; it was called with "
                f"{', '.join([*told, *self.options]) or 'nothing'}"
            ) from None
        if not isinstance(network, nn.Module):
            raise RecipeError(
                f"victim.factory {self.factory} returned a {type(network).__name__}, "
                "not a torch.nn.Module"
            )
        return network


def _find(name: str) -> Any:
    """The object that ``package.module:path`` names. RecipeError says what is not there."""
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # whatever the user's module may do on import
        raise RecipeError(
            f"victim.factory: module {module!r} cannot be imported ({_line(error)}); install it, "
            "or put its folder on PYTHONPATH"
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise RecipeError(f"victim.factory: {module!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise RecipeError(f"victim.factory {name} is a {type(found).__name__}, not a function")
    return found


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
