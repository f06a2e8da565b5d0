"""The stage ``probe``: is a victim taken in by triggers that it was not trained with?

Li et al., section 4.5, call it collateral damage where it is: they perturb other frequencies at the
test than in training. The clean victim is the control: what it takes for the target, it takes for
it without any backdoor.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidoor.bench import mitigated, store, trained
from vidoor.bench.clips import clean, described
from vidoor.bench.stages import probing
from vidoor.bench.work import Work
from vidoor.options import table
from vidoor.poisoning.poisoner import triggered
from vidoor.recipe import Recipe
from vidoor.report.tables import read_json
from vidoor.types import ClipSet
from vidoor.victims.prediction import predict

RATES = "rates.json"


def probe(work: Work) -> None:
    """Stage ``probe``: the ASR of a trigger of the test on a victim, in both variants."""
    clips = clean(work)
    if "mitigated" in work.needs:
        victim = mitigated.load(work, clips)
    else:
        victim = trained.load(work, "victim", clips.train)
    shown = triggered(clips.test, work["probe"])
    if "publication" in work.parts:
        shown = work["publication"](shown)
    predicted = predict(victim, shown, work["training"].views)
    store.write_json(work.folder / RATES, trained.success(work, predicted, clips.test))


def told(work: Work, clips: ClipSet) -> dict[str, dict[str, Any]]:
    """Each probe's part of the record of a run: what ``test`` clips carry, how often they are taken
    for the goal, and how often the clean victim (``control``) takes them for it."""
    recipe: Recipe = work["recipe"]
    return {
        name: {
            "test": {**described(trigger, clips), **table(trigger)},
            **rates(work.needs, name, "train poisoned"),
            "control": rates(work.needs, name, "train clean"),
        }
        for name, trigger in recipe.probe.items()
    }


def after(work: Work, mitigation: str) -> dict[str, dict[str, Any]]:
    """Of a mitigated victim, under ``probes``: what is left of each ASR; empty without any."""
    recipe: Recipe = work["recipe"]
    victim = f"mitigate {mitigation}"
    found = {name: rates(work.needs, name, victim) for name in recipe.probe}
    return {"probes": found} if found else {}


def rates(needs: Mapping[str, Path], name: str, victim: str) -> dict[str, Any]:
    """What the stage in which a probe met a victim has measured."""
    found: dict[str, Any] = read_json(needs[probing(name, victim)] / RATES)
    return found
