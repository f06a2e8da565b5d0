"""From hand-made verdicts to findings: who is accused, of what, and who is not."""

import json
from math import inf
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from vidoor.audit import findings
from vidoor.audit.checks import ACCUSERS, DEFAULT, UNTRIED, Check, Measured, plan
from vidoor.detectors.coherence import Coherence
from vidoor.detectors.volume_inversion import VolumeInversion
from vidoor.errors import RecipeError
from vidoor.types import ClipSet, Geometry, Verdict

IDS = tuple(f"{label}/{index}.mkv" for label in ("run", "sit") for index in range(4))
CLIPS = ClipSet(
    IDS, (0,) * 4 + (1,) * 4, ("run", "sit"), Geometry(2, 4, 4), lambda i: torch.zeros(2, 3, 4, 4)
)
SPLITS = dict.fromkeys(IDS, "train")


def check(kind: str, level: str = "dataset") -> Check:
    return Check(kind, kind, None, level)


def verdict(scores: dict[str, float], alarm: bool, threshold: float = 5.0, **evidence: object):
    return Verdict(
        ids=tuple(scores), scores=tuple(scores.values()), threshold=threshold,
        calibration="1 in 100", alarm=alarm, evidence=evidence,
    )  # fmt: skip


def scored(**high: float) -> dict[str, float]:
    return {clip: high.get(clip.split(".")[0].replace("/", ""), 0.0) for clip in IDS}


COHERENCE = [check("coherence")]


def test_an_alarm_without_groups_accuses_what_it_flags() -> None:
    found = {"coherence": verdict(scored(run1=9.0, sit2=11.0, sit3=5.0), True, J=40.0, J_level=30)}
    suspects = findings.suspects(COHERENCE, found, CLIPS, SPLITS)
    assert [(s.rank, s.clip, s.label, s.score) for s in suspects] == [
        (1, "sit/2.mkv", "sit", 11.0),
        (2, "run/1.mkv", "run", 9.0),
    ]
    assert suspects[0].reasons == ("coherence: shares a pattern with 1 other (11, above 5)",)
    (finding,) = findings.findings(COHERENCE, found, CLIPS)
    assert (finding.clips, finding.statistic, finding.at) == (2, 40.0, 30.0)
    assert set(finding.classes) == {"run", "sit"}
    assert finding.text.startswith("2 of 8 clips carry one hidden pattern, 1 of them labelled “")


@pytest.mark.parametrize("threshold", [5.0, inf])
def test_no_alarm_accuses_nobody(threshold: float) -> None:
    found = {"coherence": verdict(scored(run1=99.0), False, threshold, members=[IDS[1]])}
    assert findings.suspects(COHERENCE, found, CLIPS, SPLITS) == []
    assert findings.findings(COHERENCE, found, CLIPS) == []


def test_groups_are_taken_for_what_they_are() -> None:
    groups = [
        {"kind": "trigger", "why": "", "J": 90.0, "level": 30.0, "members": list(IDS[4:6]),
         "classes": {"sit": 2}, "target": "sit", "phase": None},
        {"kind": "logo", "why": "it stands still", "J": 80.0, "level": 30.0,
         "members": list(IDS[:3])},
    ]  # fmt: skip
    scores = scored(sit0=9.0, sit1=8.0, run0=30.0, run1=30.0, run2=30.0)
    pairs = ((IDS[0], IDS[1]),)
    found = {"coherence": verdict(scores, True, groups=groups, same_footage=pairs)}
    assert [s.clip for s in findings.suspects(COHERENCE, found, CLIPS, SPLITS)] == list(IDS[4:6])
    (finding,) = findings.findings(COHERENCE, found, CLIPS)
    assert (finding.target, finding.statistic, finding.classes) == ("sit", 90.0, ("sit",))
    assert "all of them labelled “sit”" in finding.text
    logo, same = findings.observations(COHERENCE, found)
    assert (logo.kind, logo.clips) == ("logo", (IDS[:3],))
    assert logo.text == "3 clips share a logo: it stands still; no trigger"
    assert same.clips == pairs
    assert same.text.startswith("2 clips show the same footage as another, in 1 group;")


def test_a_group_that_is_no_trigger_is_seen_without_an_alarm() -> None:
    groups = [
        {"kind": "border", "members": list(IDS[:3])},
        {"kind": "trigger", "members": list(IDS[4:6])},  # below its level
    ]
    found = {"coherence": verdict(scored(), False, groups=groups)}
    assert [seen.kind for seen in findings.observations(COHERENCE, found)] == ["border"]
    assert findings.findings(COHERENCE, found, CLIPS) == []


def test_groups_of_one_kind_are_seen_as_one_thing() -> None:
    groups = [
        {"kind": "scene", "why": "one", "members": list(IDS[:3])},
        {"kind": "border", "members": list(IDS[:2])},
        {"kind": "scene", "why": "two", "members": list(IDS[2:5])},
    ]
    found = {"coherence": verdict(scored(), False, groups=groups)}
    scenes, border = findings.observations(COHERENCE, found)
    assert scenes.text == "2 groups of clips share a scene each, 5 in all; no trigger"
    assert scenes.clips == (IDS[:3], IDS[2:5])
    assert border.text == "2 clips share a border; no trigger"


def test_a_weak_detector_gives_hints_and_reasons_and_accuses_nobody() -> None:
    checks = [check("coherence"), check("spectral-signatures"), check("nc", "model")]
    quiet = {
        "coherence": verdict(scored(), False),
        "spectral-signatures": verdict(scored(run1=9.0), True),
        "nc": verdict({"run": 9.0, "sit": 0.0}, True),
    }
    assert findings.suspects(checks, quiet, CLIPS, SPLITS) == []
    assert findings.findings(checks, quiet, CLIPS) == []
    signatures, patch = findings.hints(checks, quiet)
    assert signatures.text == "spectral-signatures flags 1 clip"
    assert "a fixed share of each class" in signatures.weakness
    assert patch.text == "nc flags class “run”" and patch.weakness
    loud = quiet | {"coherence": verdict(scored(run1=9.0, run2=8.0), True)}
    first, second = findings.suspects(checks, loud, CLIPS, SPLITS)
    assert first.reasons[1] == "spectral-signatures: flagged as well (9)"
    assert len(second.reasons) == 1


def test_a_model_is_accused_by_class() -> None:
    checks = [check("volume-inversion", "model")]
    found = {"volume-inversion": verdict({"run": 1.0, "sit": 7.5}, True)}
    (finding,) = findings.findings(checks, found, CLIPS)
    assert (finding.level, finding.classes, finding.statistic) == ("model", ("sit",), 7.5)
    assert "shortcut to class “sit”" in finding.text and "7.5, above 5" in finding.text
    assert findings.accused(checks, found) == {}


def test_clips_that_are_given_another_name_are_not_known() -> None:
    groups = [{"kind": "trigger", "members": ["nobody.mkv", IDS[0]]}]
    found = {"coherence": verdict(scored(run0=9.0), True, groups=groups)}
    assert [s.clip for s in findings.suspects(COHERENCE, found, CLIPS, SPLITS)] == [IDS[0]]


def test_how_often_it_accuses_what_is_clean_is_told_as_far_as_it_was_tried() -> None:
    for alarms, trials, share in ((0, 50, 1 - 0.05 ** (1 / 50)), (2, 100, 0.06162)):
        told = Measured(alarms, trials, "clean sets").said()
        assert told.startswith(f"{alarms} of {trials} clean sets")
        assert told.endswith(f"less than {share:.1%} of such")
    # The bound for 2 of 100: of a law with that rate 5 % of the draws are 0, 1 or 2.
    assert binom.cdf(2, 100, 0.06162) == pytest.approx(0.05, abs=1e-4)
    (usual,) = plan({"coherence": {"seed": 3}}, model=False, seed=0)
    assert all(one.said() in usual.measured for one in ACCUSERS["coherence"])
    overlapping = Measured(0, 100, "draws from one set", independent=False)
    assert overlapping.said() == "0 of 100 draws from one set"  # no bound: they are no 100 trials
    (other,) = plan({"coherence": {"floor": 5.0}}, model=False, seed=0)
    assert other.measured == UNTRIED


def test_what_is_told_is_what_was_measured() -> None:
    results = Path(__file__).parents[2] / "results"
    lines = (results / "clean-models" / "victims.jsonl").read_text().splitlines()
    models = [json.loads(line) for line in lines]
    told = ACCUSERS["volume-inversion"][0]
    assert (sum(one["alarm"] for one in models), len(models)) == told[:2]
    assert {one["threshold"] for one in models} == {VolumeInversion().ratio}
    for file, told in zip(("shapes", "arid6"), ACCUSERS["coherence"], strict=True):
        lines = map(json.loads, (results / "audits" / f"{file}.jsonl").read_text().splitlines())
        clean = [line for line in lines if line["trigger"] == "clean"]
        assert (sum(line["alarm"] for line in clean), len(clean)) == told[:2]
        assert {line["revision"] for line in clean} == {Coherence.revision}


def test_the_plan() -> None:
    alone = plan({}, model=False, seed=7)
    assert [(one.name, one.accuses, one.detector.seed) for one in alone] == [("coherence", True, 7)]
    both = plan({"tabor": {}, "nc": {"steps": 3, "seed": 1}}, model=True, seed=7)
    names = [one.name for one in both]
    assert names == [name for name in DEFAULT if name in names] + ["tabor"]
    assert {one.name for one in both if one.accuses} == set(ACCUSERS) & set(names)
    assert all(bool(one.weakness) is not one.accuses for one in both)
    by_name = {one.name: one for one in both}
    assert (by_name["nc"].detector.seed, by_name["nc"].detector.steps) == (1, 3)
    assert by_name["pt-red"].detector.seed == 7 and by_name["nc"].level == "model"
    again = plan({"finer": {"kind": "coherence", "fpr": 1e-4}}, model=False, seed=0)
    assert [(one.name, one.kind) for one in again] == [
        ("coherence", "coherence"), ("finer", "coherence"),
    ]  # fmt: skip
    for options, line in (
        ({"strip": {}}, "one clip at a time"),
        ({"coherense": {}}, "did you mean 'coherence'"),
        ({"nc": 3}, "must be a table"),
    ):
        with pytest.raises(RecipeError, match=line):
            plan(options, model=True, seed=0)


def test_volumes_of_the_evidence() -> None:
    from vidoor.audit.outputs import _volumes

    three = np.ones((2, 4, 4), np.float32)
    assert [v.shape for v in _volumes(three, channels=False)] == [(2, 4, 4)]
    assert [v.shape for v in _volumes(np.stack([three, three]), channels=False)] == [(2, 4, 4)] * 2
    (mean,) = _volumes(torch.stack([torch.zeros(2, 4, 4), torch.ones(2, 4, 4)]), channels=True)
    assert mean.shape == (2, 4, 4) and (mean == 0.5).all()
    assert _volumes([1.0], channels=False) == _volumes(np.ones((2, 4)), channels=False) == []
