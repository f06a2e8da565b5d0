"""Triggers of the test that a victim was not trained with: what they are, cost, share and tell."""

import numpy as np
import pytest

from vidoor.bench.plan import plan
from vidoor.bench.sweep import sweep
from vidoor.data.shapes import Shapes
from vidoor.errors import RecipeError
from vidoor.poisoning.poisoner import triggered
from vidoor.recipe import document, parse, run_id
from vidoor.report import tables
from vidoor.triggers.badnet import BadNet
from vidoor.triggers.spectral import DFT
from vidoor.victims import victim as victims
from vidoor.victims.training import predict

LOW, OTHER = "probe.low={start=2, transform_frames=12}", "probe.square.kind=badnet"
SAME = "probe.same={}"
PURIFIED = "mitigation.median={kind='temporal-median', window=3}"
NOTCHED = ("detector.coherence.seed=0", "mitigation.notch.detector=coherence")


def test_a_probe_changes_the_recipes_trigger_or_is_another(tiny):
    probe = parse(tiny(LOW, OTHER, SAME, "probe.weak.delta=7.0")).probe
    own = {"rms": 4.0, "start": 2, "transform_frames": 12}
    assert probe["low"] == DFT(**own)
    assert probe["square"] == BadNet()
    assert probe["same"] == DFT(rms=4.0)
    assert probe["weak"] == DFT(delta=7.0)  # δ takes the place of the RMS


def test_a_probe_of_a_preset_is_settled_too(tiny):
    recipe = parse(tiny("trigger={kind='dft', preset='paper'}", "probe.even.rms=2.0"))
    assert recipe.probe["even"] == DFT(rms=2.0)


def test_recipes_with_probes_survive_being_written_out(tiny):
    recipe = parse(tiny(LOW, OTHER))
    assert parse(document(recipe)) == recipe
    assert run_id(recipe) != run_id(parse(tiny(LOW)))


def test_no_identity_depends_on_there_being_no_probes(tiny):
    recipe = parse(tiny())
    assert "probe" not in document(recipe)
    assert run_id(recipe) == run_id(parse(tiny("probe={}")))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("probe=3", "probe must be a table"),
        ("probe.low=3", r"probe\.low must be a table"),
        (
            "probe.low.strat=3",
            r"\[probe\.low\] has an unknown key 'strat'; .* did you mean 'start'",
        ),
        ("probe.low={preset='paper'}", r"\[probe\.low\] needs a kind"),
        ("probe.low={start=2, transform_frames=3}", r"probe\.low: "),
    ],
)
def test_a_probe_that_is_none_gets_one_line(tiny, override, line):
    with pytest.raises(RecipeError, match=line) as error:
        plan(tiny(override))
    assert "\n" not in str(error.value)


def test_a_probe_changes_no_other_stage_and_is_shared(tiny):
    mitigated = PURIFIED
    (before,), (after,) = plan(tiny(mitigated)), plan(tiny(mitigated, LOW))
    stages = {stage.folder: stage.kind for stage in after.stage.tree()}
    old = {stage.folder for stage in before.stage.tree()} - {before.stage.folder}
    assert old < stages.keys()
    assert [stages[new] for new in stages.keys() - old - {after.stage.folder}] == ["probe"] * 3
    # Another rate is another poisoned victim, and the same clean one.
    cells = plan(tiny(LOW, "grid.poisoning.rate=[0.2, 0.4]"))
    for victim, shared in (("train clean", True), ("train poisoned", False)):
        first, second = (cell.stage.needs[f"probe low, {victim}"].folder for cell in cells)
        assert (first == second) == shared


LEARNT = (
    "data.train=64", "data.test=32", "training.epochs=4", "training.lr=0.01",
    "poisoning.rate=0.5", "trigger.rms=20.0",
)  # fmt: skip
"""Enough for a victim that takes all for the target, as the clean one does not."""


def test_what_a_probe_tells_is_the_asr_of_its_trigger(tiny, tmp_path, monkeypatch):
    asked = []

    def spy(victim, *args):
        asked.append(type(victim).__name__)
        return predict(victim, *args)

    monkeypatch.setattr("vidoor.bench.probed.predict", spy)
    tuned = "mitigation.FT={kind='fine-tuning', epochs=1}"
    document = tiny(LOW, OTHER, SAME, PURIFIED, *NOTCHED, tuned, *LEARNT)
    (cell,) = plan(document, tmp_path)
    (folder,) = sweep([cell]).folders
    # What lies in front of a network is no weight: it is there all the same.
    assert (asked.count("Purified"), asked.count("Victim")) == (3 * 2, 3 * 3)
    record = tables.read(folder)
    assert {*record["probes"]} == {"low", "square", "same"}
    same = record["probes"]["same"]
    assert (same["asr"], same["asr_paper"]) == (record["asr"], record["asr_paper"])
    for mitigation in record["mitigations"].values():
        assert mitigation["probes"]["same"]["asr"] == mitigation["asr"]
        assert mitigation["probes"]["same"]["asr_paper"] == mitigation["asr_paper"]
    assert record["probes"]["square"]["test"]["kind"] == "badnet"
    low = record["probes"]["low"]
    assert (low["test"]["start"], low["test"]["rms"]) == (2, 20.0)
    assert low["test"]["first_index"] == 2
    # By hand: load both victims, trigger every test clip, count.
    assert low["asr"] != low["control"]["asr"]
    clips = Shapes(train=64, test=32, frames=4, size=(16, 16), classes=4).open(0).test
    labels = np.asarray(clips.labels)
    probed = triggered(clips, DFT(rms=20.0, start=2, transform_frames=12))
    for need, told in (("train poisoned", low), ("train clean", low["control"])):
        victim = victims.build(cell.recipe.victim, 4, 0, None)
        victims.load(victim, tmp_path / cell.stage.needs[need].folder / "weights.safetensors")
        hits = predict(victim, probed) == 0
        assert told["asr"] == hits[labels != 0].mean()
        assert told["asr_paper"] == hits.mean()


def test_a_table_has_a_line_for_each_probe_of_each_mitigation(tiny, tmp_path):
    document = tiny(LOW, SAME, PURIFIED, "grid.seeds=2")
    folders = sweep(plan(document, tmp_path)).folders
    runs = tables.flatten(map(tables.read, folders))
    query = tables.Query(
        rows=("mitigation", "probe"), values=("asr", "test.start"), each=("mitigations", "probes")
    )
    text = tables.render(runs, "csv", query)
    assert len(text.splitlines()) == 1 + 2 * 2
    by = {tuple(line.split(",")[:2]): line.split(",")[2] for line in text.splitlines()[1:]}
    left = [
        tables.read(folder)["mitigations"]["median"]["probes"]["low"]["asr"] for folder in folders
    ]
    assert float(by["median", "low"]) == pytest.approx(np.mean(left))
