"""Input detectors that look into the verdict of another detector, and those that need no victim."""

import json

import numpy as np
import pytest

from vidoor.bench.plan import plan
from vidoor.bench.sweep import sweep
from vidoor.errors import VidoorError

SCREENS = ("detector.matched-filter.fpr=0.1", "detector.in-clip.fpr=0.1")
FOUND = ("data.size=[24, 24]", "data.train=40", "trigger.rms=12.0", "poisoning.rate=0.4")


def needed(stage) -> dict[str, str]:
    return {name: need.label for name, need in stage.needs.items()}


def test_it_waits_for_the_verdict_and_for_no_victim(tiny):
    # Whatever the order of the recipe is.
    (cell,) = plan(tiny(*SCREENS, "detector.coherence.seed=0", "controls=true"))
    assert needed(cell.stage.needs["detect matched-filter"]) == {
        "data": "data",
        "poison": "poison",
        "verdict": "detect coherence",
    }
    assert needed(cell.stage.needs["control matched-filter"]) == {
        "data": "data",
        "verdict": "detect coherence (control)",
    }
    assert needed(cell.stage.needs["detect in-clip"]) == {"data": "data", "poison": "poison"}


def test_another_verdict_is_another_stage(tiny):
    cells = plan(tiny(*SCREENS, "grid.detector.coherence.seed=[0, 1]"))
    for name, count in (("matched-filter", 2), ("in-clip", 1)):
        assert len({cell.stage.needs[f"detect {name}"].folder for cell in cells}) == count


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("detector.m.kind=matched-filter",), "detector.m.detector: .*'coherence'"),
        (
            ("detector.c.kind=coherence", "detector.m={kind='matched-filter', detector='perfect'}"),
            "detector.m.detector: unknown dataset detector 'perfect'; valid: c",
        ),
        (
            ("detector.strip.overlays=4", "detector.m={kind='matched-filter', detector='strip'}"),
            "detector.m.detector: unknown dataset detector 'strip'",
        ),
        (
            ("detector.m={kind='matched-filter', detector='m'}",),
            "detector.m.detector: unknown dataset detector 'm'",
        ),
    ],
)
def test_it_must_name_a_verdict_that_there_will_be(tiny, overrides, line):
    with pytest.raises(VidoorError, match=line):
        plan(tiny(*overrides))


def test_what_is_found_in_training_clips_is_found_in_test_clips(tiny, tmp_path):
    document = tiny(*SCREENS, *FOUND, "detector.coherence.floor=5.0", "controls=true")
    (folder,) = sweep(plan(document, tmp_path)).folders
    found = json.loads((folder / "result.json").read_text())["detectors"]
    assert found["coherence"]["alarm"]
    screened = found["matched-filter"]
    assert "template(s) of coherence" in screened["calibration"]
    assert (screened["tpr"], screened["auroc"]) == (1.0, 1.0)
    with np.load(folder / "scores.npz") as scores:
        assert len(scores["matched-filter.ids"]) == 16 + 12
        assert np.isfinite(scores["in-clip.scores"]).all()
    # Where there is nothing to be found there is no template, hence no flag.
    assert not found["coherence"]["control"]["alarm"]
    assert screened["control"]["flagged"] == 0
    assert "holds no template" in screened["control"]["calibration"]
