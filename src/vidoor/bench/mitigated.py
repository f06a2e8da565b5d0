"""The stage ``mitigate``: another victim, made from a poisoned one by what a defender has."""

from vidoor.bench import trained
from vidoor.bench.clips import Attacked, Clean, attacked, clean
from vidoor.bench.given import given
from vidoor.bench.work import Work
from vidoor.victims.victim import Victim


def mitigate(work: Work) -> None:
    """Stage ``mitigate``: another victim made from a poisoned one and clean clips."""
    clips = clean(work)
    attack = attacked(work, clips)
    trained.keep(work, _made(work, clips, attack), clips, attack)


def _made(work: Work, clips: Clean, attack: Attacked) -> Victim:
    asked = given(work, work["mitigation"], clips, attack)
    victim = trained.load(work, "victim", clips.train)
    mitigated: Victim = work["mitigation"](victim, clips.train, **asked)
    return mitigated


def load(work: Work, clips: Clean) -> Victim:
    """The victim that the stage ``mitigated`` has made, in a stage that needs what that one needs.

    A purifier lies in front of a network and is no weight of it. It is made again, as all is whose
    weights are still those of the poisoned victim: nothing was trained there.
    """
    before, after = (
        trained.measured(work.needs[need])["victim"]["weights_sha256"]
        for need in ("victim", "mitigated")
    )
    if before != after:
        return trained.load(work, "mitigated", clips.train)
    return _made(work, clips, attacked(work, clips))
