from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.report import verdict

TRAINING = {"data": {"train": 1600, "classes": ["left", "up"]}, "poisoning": {"poisoned": 280}}


def said(detector: dict[str, Any], record: dict[str, Any] = TRAINING, **arrays: Any) -> str:
    """The verdict of one detector called d, as one text."""
    whole = {**record, "detectors": {"d": detector}}
    judged = verdict.judge(whole, "d", {f"d.{name}": np.array(a) for name, a in arrays.items()})
    found = verdict.finding(whole, judged)
    return f"[{found.tone}] {found.label}: {found.sentence} {found.numbers}"


def alarm(flagged: int, tpr: float | None, **more: Any) -> dict[str, Any]:
    return {"alarm": True, "flagged": flagged, "tpr": tpr, **more}


QUIET = {"alarm": False, "flagged": 0, "tpr": 0.0, "fpr": 0.0}


@pytest.mark.parametrize(
    ("detector", "planted", "text"),
    [
        (
            alarm(280, 1.0, evidence={"members": ["a", "b"]}), 280,
            "[alarm] Backdoor found: The training clips carry a backdoor. 280 of 1,600 clips "
            "share one hidden pattern. 280 of 280 planted clips found, 0 false alarms.",
        ),
        (
            alarm(141, 0.5), 280,
            "[warn] Partly found: The training clips carry a backdoor, and only a part of it was "
            "found. 141 of 1,600 clips flagged by d. "
            "140 of 280 planted clips found, 140 missed, 1 false alarm.",
        ),
        (
            alarm(12, 0.0), 280,
            "[warn] Backdoor missed: The training clips carry a backdoor, but the alarm points "
            "elsewhere. 12 of 1,600 clips flagged by d. "
            "0 of 280 planted clips found, 280 missed, 12 false alarms.",
        ),
        (
            alarm(12, None), 0,
            "[warn] False alarm: The alarm is false: there is no backdoor. "
            "12 of 1,600 clips flagged by d. Nothing was planted in this run.",
        ),
        (
            QUIET, 280,
            "[warn] Backdoor missed: The backdoor was missed. d raises no alarm over 1,600 "
            "training clips, although 280 of 1,600 were planted.",
        ),
        (
            QUIET, 0,
            "[clear] Clean: No backdoor was found, and none was planted. "
            "d raises no alarm over 1,600 training clips.",
        ),
        (
            {"alarm": False}, None,
            "[clear] No alarm: No backdoor was found. d raises no alarm over 1,600 training "
            "clips. A backdoor weaker than the detector can see would pass unnoticed.",
        ),
        (
            {"alarm": True}, None,
            "[alarm] Alarm: The training clips carry signs of a backdoor. d raises an alarm "
            "without naming any of the training clips. "
            "The truth is not on record: look at what was flagged before you act.",
        ),
    ],
)  # fmt: skip
def test_each_outcome_has_its_own_words(detector: Any, planted: int | None, text: str) -> None:
    assert said(detector, {**TRAINING, "poisoning": {"poisoned": planted}}) == text


def test_what_was_judged_is_read_from_the_scores() -> None:
    classes = said(alarm(1, 1.0), ids=["left", "up"], poisoned=[True, False])
    assert "The model carries a backdoor. 1 of 2 classes flagged by d. 1 of 1 target" in classes
    clips = said(alarm(2, 1.0, fpr=0.5), ids=["a", "b", "c"], poisoned=[True, False, False])
    assert "The clips carry a backdoor. 2 of 3 clips flagged by d. 1 of 1 planted clips" in clips
    assert "1 false alarm." in clips


@pytest.mark.parametrize("members", [270, ["a", "b"]])
def test_members_share_a_pattern_and_no_members_share_none(members: Any) -> None:
    assert "3 of 1,600 clips share one hidden" in said(alarm(3, 1.0, evidence={"members": members}))
    assert "3 of 1,600 clips flagged by d." in said(alarm(3, 1.0, evidence={"members": []}))


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([["a", "b"]], "1 group of near-duplicate clips: a and b."),
        ([["a", "b"], ["c", "d"]], "2 groups of near-duplicate clips: a and b; c and d."),
        ([["a", "b"]] * 5, f"5 groups of near-duplicate clips: {'; '.join(['a and b'] * 5)}."),
        (
            [["a", "b"]] * 1007,
            f"1,007 groups of near-duplicate clips: {'; '.join(['a and b'] * 5)}; and 1,002 more.",
        ),
        ([[*"abcdefg"]], "1 group of near-duplicate clips: a and b and c and d and e and 2 more."),
        ([], ""), (None, ""), (3, ""), ([1, ["a"]], ""),
    ],
)  # fmt: skip
def test_near_duplicates_are_counted_and_a_few_named(groups: Any, text: str) -> None:
    record = {"detectors": {"d": {"evidence": {"same_footage": groups}}}}
    assert verdict.copies(verdict.judge(record, "d", {})) == text
    assert verdict.copies(verdict.judge({"detectors": {"d": {}}}, "d", {})) == ""


def test_without_a_detector_nothing_is_claimed() -> None:
    found = verdict.finding(TRAINING, None)
    assert found.tone == "unknown"
    assert found.numbers.startswith("280 of 1,600 training clips were planted.")
    assert verdict.finding({}, None).numbers.startswith("Whether")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (
            {"acc": 0.975, "clean_acc": 0.98, "asr": 1.0, "poisoning": {"target_class": "left"}},
            "The poisoned model looks healthy: accuracy 97.5 % against 98.0 % clean, but 100 % of "
            "triggered clips go to “left”.",
        ),
        (
            {"acc": 0.8, "clean_acc": 0.98, "asr": 0.95},
            "The poisoned model has lost accuracy: accuracy 80.0 % against 98.0 % clean, and "
            "95.0 % of triggered clips go where the attacker wants them.",
        ),
        (
            {"acc": 0.97, "clean_acc": 0.98, "asr": 0.5},
            "The poisoned model looks healthy: accuracy 97.0 % against 98.0 % clean, and "
            "50.0 % of triggered clips go where the attacker wants them.",
        ),
        (
            {"acc": 0.97, "asr": 0.04},
            "The poisoned model has an accuracy of 97.0 %. The backdoor was hardly learnt: "
            "4.0 % of triggered clips go where the attacker wants them.",
        ),
        (
            {"acc": 0.95, "clean_acc": 1.0},
            "The poisoned model looks healthy: accuracy 95.0 % against 100 % clean.",
        ),
        (
            {"acc": 0.949, "clean_acc": 1.0},
            "The poisoned model has lost accuracy: accuracy 94.9 % against 100 % clean.",
        ),
        ({"acc": 0.9, "poisoning": {"poisoned": 0}}, "The model has an accuracy of 90.0 %."),
        ({"asr": 0.9}, "90.0 % of triggered clips go where the attacker wants them."),
        ({}, ""),
    ],
)
def test_the_attack_in_a_sentence(record: dict[str, Any], text: str) -> None:
    assert verdict.attack(record).replace("\u202f", " ") == text


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(st.floats(0, 1))
def test_only_certainty_reads_as_certainty(fraction: float) -> None:
    text = verdict.percent(fraction)
    assert (text == "100\u202f%") == (fraction == 1)
    assert (text == "0\u202f%") == (fraction == 0)
    if text[0] not in "<>":
        assert float(text.removesuffix("\u202f%")) == pytest.approx(100 * fraction, abs=0.05001)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1600, "1,600"), (True, "yes"), (1.16, "1.16"), (5.0, "5"), (123456.7, "123,456.7"),
        (5.88e-5, "5.88e-05"), (float("nan"), "–"), (float("inf"), "inf"),
        (None, "–"), ("clip", "clip"),
    ],
)  # fmt: skip
def test_numbers_fit_the_eye(value: Any, text: str) -> None:
    assert verdict.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.52, "0.52 s"), (59.0, "59 s"), (101.2, "1 min 41 s"), (7260.0, "2 h 1 min")],
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert verdict.duration(seconds) == text
