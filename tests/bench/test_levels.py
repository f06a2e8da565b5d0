"""Detectors of three levels through the bench: what they are asked, and how they are judged."""

import json

import numpy as np
import pytest

from vidoor.bench.judge import Truth, judge
from vidoor.bench.plan import plan
from vidoor.bench.sweep import sweep
from vidoor.errors import VidoorError
from vidoor.types import Verdict

DETECTORS = (
    "detector.activation-clustering={}",
    "detector.spectral-signatures={}",
    "detector.strip.overlays=4",
    "detector.nc={steps=5, clips=4}",
)


def record(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    document = tiny("controls=true", "poisoning.target=1", *DETECTORS)
    cells = plan(document, tmp_path_factory.mktemp("levels"))
    return cells, sweep(cells).folders[0]


def test_every_level_is_judged_by_what_it_was_asked(done):
    _, folder = done
    found = record(folder)["detectors"]
    assert set(found) == {"activation-clustering", "spectral-signatures", "strip", "nc"}
    with np.load(folder / "scores.npz") as scores:
        # 24 training clips; four classes, one of them the target; 16 test clips twice, without the
        # triggered ones of the target, which count as successes of any attack.
        assert len(scores["activation-clustering.ids"]) == 24
        assert scores["nc.poisoned"].tolist() == [False, True, False, False]
        assert len(scores["strip.ids"]) == 16 + 12
        assert scores["strip.poisoned"].sum() == 12
    for each in found.values():
        assert {"tpr", "fpr", "auroc", "tpr_at_5", "top", "highest", "highest_true"} <= set(each)
        assert 0 <= each["control"]["fpr"] <= 1
        assert each["control"]["cost"]["seconds"] > 0


def test_detectors_of_one_layer_share_one_pass(done):
    (cell,), folder = done
    assert {name for name in record(folder)["cost"] if name.startswith("activations")} == {
        "activations penultimate, mean",
        "activations penultimate, mean (control)",
    }
    tree = {stage.folder: stage for stage in cell.stage.tree()}.values()
    assert sum(stage.kind == "activations" for stage in tree) == 2  # attacked, and the control
    assert sum(stage.kind == "detect" for stage in tree) == 2 * len(DETECTORS)


def test_controls_are_shared_by_all_attacks(tiny):
    cells = plan(tiny("controls=true", "grid.trigger.rms=[2.0, 3.0]", *DETECTORS))
    for name in ("strip", "nc", "activation-clustering"):
        assert len({cell.stage.needs[f"control {name}"].folder for cell in cells}) == 1
        assert len({cell.stage.needs[f"detect {name}"].folder for cell in cells}) == 2


def test_without_controls_nothing_else_is_run(tiny):
    (cell,) = plan(tiny(*DETECTORS))
    assert not [need for need in cell.stage.needs if need.startswith("control")]


def test_a_verdict_beside_the_truth():
    verdict = Verdict(
        ids=("a", "b", "c", "d"),
        scores=(0.9, 0.2, 0.8, 0.1),
        threshold=0.5,
        calibration="by hand",
        alarm=True,
    )
    positive = np.array([True, False, False, True])
    found = judge(verdict, Truth(positive, np.array([True, True, True, True])))
    assert (found["tpr"], found["fpr"], found["flagged"], found["top"]) == (0.5, 0.5, 2, True)
    assert found["auroc"] == 0.5  # of four pairs two are in order
    # The last one does not count: half of what there was to be found is out of reach.
    found = judge(verdict, Truth(positive, np.array([True, True, True, False])))
    assert (found["tpr"], found["fpr"], found["auroc"]) == (1.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("mitigation", "line"),
    [
        ("{kind='nc-m', detector='nobody'}", "unknown model detector 'nobody'"),
        ("{kind='nc-m', detector='strip'}", "unknown model detector 'strip'; valid: nc"),
    ],
)
def test_a_mitigation_must_name_a_verdict_that_there_will_be(tiny, mitigation, line):
    with pytest.raises(VidoorError, match=line):
        plan(tiny(*DETECTORS, f"mitigation.m={mitigation}"))


@pytest.mark.parametrize(("few", "told"), [(1, False), (4, False), (5, True)])
def test_an_interval_needs_some_on_either_side(few, told):
    scores = tuple(float(n) for n in range(12))
    for positive in (np.arange(12) < few, np.arange(12) >= few):
        ids = tuple(map(str, scores))
        verdict = Verdict(ids=ids, scores=scores, threshold=9.5, calibration="", alarm=True)
        found = judge(verdict, Truth(positive, np.ones(12, bool)))
        assert (found["auroc_low"] is not None) is (found["auroc_high"] is not None) is told
        if told:
            assert 0 <= found["auroc_low"] <= found["auroc"] <= found["auroc_high"] <= 1
