"""Victims that begin anew, for defences that train on the suspects themselves."""

import copy

import torch
from torch import nn

from vidoor.victims import victim as victims
from vidoor.victims.victim import Victim

SPREAD = 0.02
"""Standard deviation of fresh tokens and positions, as transformers publish it."""


def device_of(victim: Victim) -> str:
    """The device to train on, as ``fit`` is told it: the one that a victim is on."""
    return "cpu" if victim.mean.device.type == "cpu" else "auto"


def fresh(victim: Victim, classes: int, seed: int) -> Victim:
    """A victim like this one that has learnt nothing from the suspects, on the same device.

    A victim that keeps its ``architecture`` is built as it was, with the weights that it began
    with. Otherwise every module of a copy draws its weights again, in the way of its kind; weights
    that belong to no layer (tokens, positions) are normal, and vectors of them 0.
    """
    architecture = getattr(victim, "architecture", None)
    if architecture is not None:
        made = victims.build(architecture, classes, seed, victim.frames)
    else:
        made = copy.deepcopy(victim).cpu()
        made.unfreeze()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for module in made.network.modules():
                _draw(module)
    return made.to(victim.mean.device)


def _draw(module: nn.Module) -> None:
    """Give a module's own weights what they begin with."""
    for name in ("reset_parameters", "_reset_parameters"):
        if reset := getattr(module, name, None):
            reset()
            return
    for weight in module.parameters(recurse=False):
        if weight.dim() > 1:
            weight.normal_(std=SPREAD)
        else:
            weight.zero_()
