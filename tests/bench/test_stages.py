"""What a stage's key depends on, so what runs share; and what detectors are given."""

import pytest
import torch

from vidoor.bench import verdicts
from vidoor.bench.plan import plan
from vidoor.data.shapes import Shapes
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.triggers.spectral import DFT

WITH_DETECTOR = "detector.coherence.seed=0"
LABELS = ("data", "poison", "train clean", "train poisoned", "detect coherence")


def stages(document, label: str) -> list[str]:
    """The folder of the stage ``label`` of every cell."""
    return [cell.stage.needs[label].folder for cell in plan(document)]


@pytest.mark.parametrize(
    ("axis", "changed"),
    [
        ("seed=[0, 1]", set(LABELS)),
        ("data.train=[24, 32]", set(LABELS)),
        ("trigger.rms=[2.0, 3.0]", {"poison", "train poisoned", "detect coherence"}),
        ("poisoning.rate=[0.2, 0.3]", {"poison", "train poisoned", "detect coherence"}),
        ("victim.width=[4, 8]", {"train clean", "train poisoned"}),
        ("training.epochs=[1, 2]", {"train clean", "train poisoned"}),
        ("detector.coherence.seed=[0, 1]", {"detect coherence"}),
        ("name=['a', 'b']", set()),
        ("note=['a', 'b']", set()),
    ],
)  # fmt: skip
def test_a_change_reaches_the_stages_that_depend_on_it_and_no_others(tiny, axis, changed):
    document = tiny(f"grid.{axis}", WITH_DETECTOR)
    runs = [cell.stage.folder for cell in plan(document)]
    assert runs[0] != runs[1]
    for label in LABELS:
        first, second = stages(document, label)
        assert (first != second) == (label in changed), label


def test_forty_defences_share_one_victim(tiny):
    detectors = [f"detector.d{i}={{kind='coherence', seed={i}}}" for i in range(40)]
    (cell,) = plan(tiny(*detectors))
    trained = {stage.folder for stage in cell.stage.tree() if stage.kind == "train"}
    detected = {stage.folder for stage in cell.stage.tree() if stage.kind == "detect"}
    assert (len(trained), len(detected)) == (2, 40)


def test_the_same_detector_under_two_names_is_run_once(tiny):
    (cell,) = plan(tiny("detector.a.kind=coherence", "detector.b.kind=coherence"))
    assert len({stage.folder for stage in cell.stage.tree() if stage.kind == "detect"}) == 1


def test_detectors_get_neither_the_plan_nor_names_that_tell():
    clean = Shapes(train=24, test=4, frames=4, size=(16, 16), classes=4).open(0).train
    plan = Poisoner(rate=0.5).plan(clean, 0)
    poisoned = apply(clean, plan, DFT(rms=3.0))
    suspects = verdicts.anonymous(poisoned)
    assert not {"clean", "trigger", "chosen"} & set(dir(suspects.read))
    assert not set(suspects.ids) & set(poisoned.ids)
    assert suspects.labels == poisoned.labels
    assert all(torch.equal(suspects.read(i), poisoned.read(i)) for i in range(24))
