"""What the searches hand on: patterns that clips share, before they have a name."""

from typing import NamedTuple

from vidoor.detectors._coherence.groups import Group
from vidoor.detectors._coherence.stamps import Stamp

LUCK = 0.01  # chances that a pattern's clips are of one class without having been moved there


class Lead(NamedTuple):
    """A pattern before it has a name."""

    what: Group | Stamp
    level: float
    apart: bool = True  # whether its clips are of different scenes
    certain: float = LUCK  # chances below which its clips are of one class
    clear: bool = False  # whether its clips are alike beside it as no scene is


class Leads(NamedTuple):
    """What was found, and what it is compared with."""

    leads: tuple[Lead, ...]
    strongest: Group  # moving, of one phase, whatever it is worth
    chance: tuple[float, ...]  # J of such groups in sets of chance
    level: float  # that such a group has to exceed
