"""Which clips of a sketch agree on a pattern, and how much agreement chance accounts for: what
moves, beside what stands still (``standing``).

Chance is searched just as the clips are: their spectra under random shifts.
"""

from collections.abc import Iterator
from functools import partial

import torch

from vidoor.detectors._coherence import groups, standing
from vidoor.detectors._coherence.groups import Group, Spectra, View
from vidoor.detectors._coherence.leads import Lead, Leads
from vidoor.detectors._coherence.seen import SAMPLE, Seen
from vidoor.spread import half_beside, in_two

DRAWS, MARGIN = 3, 2.0  # sets of chance that are searched too; a lead exceeds their J by this
MOST_GROUPS, LEFT = 6, 8  # searches, at most; clips that are worth another one
BETTER = 1.25  # clips that a phase of their own must add, as a ratio


def search(seen: Seen, floor: float, fpr: float, rng: torch.Generator) -> Leads:
    """All leads of at least three clips whose coherence J exceeds ``floor`` and what chance has.
    What stands still is sought in a thread of its own, its chance by draws of its own."""
    other = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=rng)))
    with half_beside("still patterns") as thread:
        guessing = thread.submit(standing.guesses, seen, floor)
        chance = thread.submit(standing.least_of_chance, seen, floor, other)
        found = _going(seen, floor, fpr, rng)
        shared = standing.candidates(seen, guessing.result(), partial(in_two, thread))
        still = standing.leads(seen, shared, floor, chance.result())
    return found._replace(leads=(*found.leads, *still))


def _going(seen: Seen, floor: float, fpr: float, rng: torch.Generator) -> Leads:
    """Those that move."""
    spectra, probe, count = seen.spectra, seen.probe, len(seen.labels)
    chances: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(DRAWS):
        pick = torch.randperm(count, generator=rng)[:SAMPLE]
        part = spectra.shifted(pick, rng)
        view = View(groups.gram(part, probe), probe, seen.labels[pick])
        for free, found in chances.items():
            found.append(groups.search(part, view, free, rng).coherence())
    levels = {free: max(floor, MARGIN * max(found)) for free, found in chances.items()}
    pairs = groups.gram(spectra, probe)
    one_phase, own_phases = (
        list(_moving(spectra, View(pairs.clone(), probe, seen.labels), kind, level, fpr, rng))
        for kind, level in levels.items()
    )
    leads = [Lead(one, levels[one.free]) for one in _either(one_phase, own_phases)]
    leads = [lead for lead in leads if lead.what.coherence() > lead.level]
    return Leads(tuple(leads), one_phase[0], tuple(chances[False]), levels[False])


def _either(fixed: list[Group], free: list[Group]) -> Iterator[Group]:
    """All groups, but of two of mostly the same clips the one with a phase for each clip if it has
    many more clips, else the other."""
    for one in free:
        same = [other for other in fixed if groups.shared(one.members, other.members) > groups.SAME]
        if all(one.members.sum() >= BETTER * other.members.sum() for other in same):
            yield one
            fixed = [other for other in fixed if not any(other is each for each in same)]
    yield from fixed


def _moving(
    spectra: Spectra, view: View, free: bool, level: float, fpr: float, rng: torch.Generator
) -> Iterator[Group]:
    """The strongest group, whatever it is worth; then what is found until a search finds nothing.
    The pairs of the clips found are taken out of the ``view``."""
    gone = torch.zeros(len(view.labels), dtype=torch.bool)
    for _ in range(MOST_GROUPS):
        group = groups.search(spectra, view, free, rng)
        yield group
        gone |= group.members | (group.scores > max(group.bounds(fpr)))
        if group.coherence() <= level or (~gone).sum() < LEFT:
            return
        view.pairs.masked_fill_(gone[:, None] | gone, 0.0)
