"""Victims that begin anew, for defences that train on the suspects themselves."""

from vidoor.victims import victim as victims
from vidoor.victims.victim import Victim


def device_of(victim: Victim) -> str:
    """The device to train on, as ``fit`` is told it: the one that a victim is on."""
    return "cpu" if victim.mean.device.type == "cpu" else "auto"


def fresh(victim: Victim, classes: int, seed: int) -> Victim:
    """A victim like this one that has learnt nothing from the suspects, on the same device, with
    the weights that it began with."""
    made = victims.build(victim.architecture, classes, seed, victim.frames)
    return made.to(victim.mean.device)
