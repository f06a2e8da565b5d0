"""Test clips drawn from a set that names none."""

import hashlib
from collections.abc import Iterable

from vidoor.data.layout import Clip
from vidoor.data.lists import encoded
from vidoor.errors import DataError


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Names in an order that hangs on seed and names alone, on no random generator."""
    return sorted(names, key=lambda name: hashlib.sha256(encoded(f"{seed}/{name}")).digest())


def check(kind: str, holdout: float) -> None:
    """ValueError for a fraction that leaves nothing to train on."""
    if not 0 <= holdout < 1:
        raise ValueError(f"{kind}: holdout is {holdout}; give 0 or more and less than 1")


def hold_out(clips: list[Clip], fraction: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """Training and test clips: a ``fraction`` of every class, at least one of each, or none."""
    classes: dict[str, list[str]] = {}
    for clip in clips:
        classes.setdefault(clip.label, []).append(clip.path)
    held: set[str] = set()
    for name, mine in classes.items() if fraction else ():
        if len(mine) < 2:
            raise DataError(f"class {name} has 1 clip: too few to hold out; set holdout = 0")
        count = min(max(1, round(fraction * len(mine))), len(mine) - 1)
        held.update(shuffled(mine, seed)[:count])
    train = [clip for clip in clips if clip.path not in held]
    return train, [clip for clip in clips if clip.path in held]
