"""Audits with a model: whose weights they are, what is asked of it, and what is never run."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from auditing import request

from vidoor.audit import model as models
from vidoor.audit import work
from vidoor.audit.command import audit
from vidoor.detectors.coherence import Coherence
from vidoor.detectors.neural_cleanse import NeuralCleanse
from vidoor.detectors.volume_inversion import VolumeInversion
from vidoor.errors import DataError, VidoorError, WeightsError
from vidoor.registry import lookup
from vidoor.victims import victim as victims

ARCHITECTURE = lookup("victim", "r2plus1d")(width=4, depth=(1,))
SETS = ["victim.kind=r2plus1d", "victim.width=4", "victim.depth=[1]"]
QUICK = [
    f"detector.{name}.{option}"
    for name in ("nc", "pt-red", "volume-inversion")
    for option in ("steps=2", "clips=4")
]
RECIPE = """
[data]
kind = "folder"
frames = 12
size = [32, 32]
[victim]
kind = "{kind}"
width = {width}
depth = [1]
{more}
[training]
frames = 6
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs as the bench leaves them: weights in a stage, recipes in the folders of the runs."""
    out = tmp_path_factory.mktemp("runs")
    stage = out / "stages" / "train-123"
    stage.mkdir(parents=True)
    victims.save(victims.build(ARCHITECTURE, 4, 3), stage / "weights.safetensors")
    for name, width in (("a", 8), ("b", 4)):
        (out / name).mkdir()
        text = RECIPE.format(kind="r2plus1d", width=width, more='weights = "/gone"')
        (out / name / "recipe.toml").write_text(text)
    return out


def test_a_victim_that_no_memory_holds_is_refused(run: Path) -> None:
    path = run / "stages" / "train-123" / "weights.safetensors"
    huge = models.candidates(path, {"victim": {"kind": "r2plus1d", "width": 10**6}})
    with pytest.raises(WeightsError, match="the victim that --set asks for is too large"):
        models.load(path, huge, 4)


def test_the_recipe_whose_victim_fits_tells_the_architecture(run: Path) -> None:
    path = run / "stages" / "train-123" / "weights.safetensors"
    told = models.candidates(path, {})
    assert [one.architecture.width for one in told] == [8, 4]
    model = models.load(path, told, 4)
    assert model.told.by.endswith("b/recipe.toml") and model.victim.frames == 6
    assert model.told.geometry == (12, 32, 32)
    trained = victims.build(ARCHITECTURE, 4, 3)
    for name, value in model.victim.network.state_dict().items():
        assert torch.equal(value.cpu(), trained.network.state_dict()[name])
    assert not model.victim.training
    with pytest.raises(WeightsError, match=r"does not fit this victim: .* clips have 5 classes"):
        models.load(path, told, 5)
    (asked,) = models.candidates(path, {"victim": {"kind": "r2plus1d", "width": 4, "depth": [1]}})
    assert asked.by == "--set" and asked.frames is None


def test_no_recipe_that_lies_there_names_code_to_be_run(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[victim]\nkind = "custom"\nfactory = "their_module:build"\n')
    with pytest.raises(WeightsError, match=r"say it with --set victim\.kind="):
        models.candidates(tmp_path / "weights.safetensors", {})


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("was-run"),))


def test_a_pickle_is_refused_before_anything_is_read(poisoned: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.pt").write_bytes(pickle.dumps(Malicious()))
    monkeypatch.setattr(Coherence, "inspect", None)
    with pytest.raises(WeightsError, match="refused, nothing in it was run"):
        audit(request(clips=poisoned, model=Path("model.pt"), overrides=SETS))
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt"}


def test_clips_and_model_are_judged_and_the_accused_are_no_clean_clips(
    run: Path, poisoned: Path, planted: set[str], tmp_path: Path, monkeypatch
) -> None:
    seen: list[int] = []
    inspect = NeuralCleanse.inspect

    def noted(self, victim, clean):
        seen.append(len(clean))
        return inspect(self, victim, clean)

    monkeypatch.setattr(NeuralCleanse, "inspect", noted)
    monkeypatch.setattr(work, "LEAST_SKILL", -9.0)  # it was never trained
    path = run / "stages" / "train-123" / "weights.safetensors"
    quiet = [*QUICK, "detector.volume-inversion.ratio=1e9"]
    asked = request(clips=poisoned, model=path, out=tmp_path / "out", overrides=quiet)
    record = audit(asked)
    done = {check.name: check for check in record.checks}
    # In two steps it reaches hardly anything, and has no alarm.
    assert done.pop("volume-inversion").state == "impossible"
    assert {check.state for check in done.values()} == {"done"}
    assert {"coherence", "activation-clustering", "spectral-signatures", "nc"} <= set(done)
    assert seen == [72 - len(planted)]
    assert record.verdict.status == "findings" and record.not_done == ("volume-inversion",)
    assert "classes were not reached; give it more steps" in record.verdict.text
    assert {suspect.clip for suspect in record.suspicious} == planted
    assert done["nc"].options["steps"] == 2 and done["nc"].cost and done["nc"].cost["forward"] > 0
    assert record.model and record.model["victim"]["width"] == 4
    hinting = {hint.check for hint in record.hints}
    assert hinting == {name for name, one in done.items() if one.alarm and not one.accuses}
    assert "spectral-signatures" in hinting  # it always flags
    stages = [folder.name for folder in (tmp_path / "out" / "stages").iterdir()]
    assert sum(name.startswith("activations-") for name in stages) == 1  # for two detectors
    again = audit(asked)
    assert seen == [72 - len(planted)] and again.findings == record.findings


def test_an_accuser_that_cannot_judge_clears_nothing(clean: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(work, "LEAST_SKILL", -9.0)
    names = sorted(folder.name for folder in clean.iterdir())[:2]
    copy = tmp_path / "copy"
    for name in names:
        shutil.copytree(clean / name, copy / name)
    victims.save(victims.build(ARCHITECTURE, 2, 0), tmp_path / "two.safetensors")
    record = audit(
        request(
            clips=copy, model=tmp_path / "two.safetensors", out=tmp_path / "out",
            overrides=[*SETS, *QUICK],
        )
    )  # fmt: skip
    states = {check.name: check.state for check in record.checks}
    assert states["nc"] == states["volume-inversion"] == "impossible"
    assert states["coherence"] == states["spectral-signatures"] == "done"
    assert (record.verdict.status, record.verdict.exit) == ("unfinished", 2)
    assert record.not_done == ("volume-inversion",)
    assert "volume-inversion (" in record.verdict.text and "3 classes" in record.verdict.text


def test_an_accuser_whose_own_budget_is_spent_clears_nothing(
    run: Path, clean: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(work, "LEAST_SKILL", -9.0)
    path = run / "stages" / "train-123" / "weights.safetensors"
    few = [*QUICK, "detector.volume-inversion.max_passes=10"]
    record = audit(request(clips=clean, model=path, out=tmp_path / "out", overrides=few))
    (check,) = [one for one in record.checks if one.name == "volume-inversion"]
    assert check.state == "impossible" and "10 passes were spent" in check.reason
    assert (record.verdict.exit, record.not_done) == (2, ("volume-inversion",))


def test_an_alarm_counts_however_few_classes_were_reached(
    run: Path, clean: Path, tmp_path: Path, monkeypatch
) -> None:
    """A strong shortcut beside classes that are hard to reach is what a backdoor looks like."""
    monkeypatch.setattr(work, "LEAST_SKILL", -9.0)
    inspect = VolumeInversion.inspect

    def alarmed(self, victim, clips):
        verdict = inspect(self, victim, clips)
        assert 2 * len(verdict.evidence["not_reached"]) > len(verdict.ids)
        return replace(verdict, alarm=True, scores=(9.0, 0.0, 0.0, 0.0))

    monkeypatch.setattr(VolumeInversion, "inspect", alarmed)
    path = run / "stages" / "train-123" / "weights.safetensors"
    record = audit(request(clips=clean, model=path, out=tmp_path / "out", overrides=QUICK))
    assert (record.verdict.exit, record.not_done) == (1, ())
    assert [finding.check for finding in record.findings] == ["volume-inversion"]


def test_a_model_that_knows_nothing_of_the_clips_is_not_accused(
    run: Path, clean: Path, tmp_path: Path
) -> None:
    """It sends all clips to one class, which looks like a target that takes nothing at all."""
    path = run / "stages" / "train-123" / "weights.safetensors"
    record = audit(request(clips=clean, model=path, out=tmp_path / "out", overrides=QUICK))
    assert (record.verdict.status, record.findings) == ("unfinished", ())
    assert "hardly agrees with the labels of the clips" in record.verdict.text
    states = {check.name: check.state for check in record.checks}
    assert states["volume-inversion"] == states["nc"] == "impossible"
    assert states["activation-clustering"] == states["spectral-signatures"] == "impossible"
    assert states["coherence"] == "done" and not record.hints


def test_skill_is_agreement_beyond_the_best_constant(run: Path, clean: Path, monkeypatch) -> None:
    labels = [0] * 6 + [1] * 4
    clips = SimpleNamespace(labels=labels)
    for predicted, skill in (
        ([0] * 10, 0.0), (labels, 1.0), ([0] * 6 + [1, 1, 0, 0], 0.5), ([1] * 10, -0.5),
    ):  # fmt: skip
        monkeypatch.setattr(work, "predict", lambda *_, told=predicted: np.asarray(told))
        assert work.skill(None, clips) == pytest.approx(skill)


def test_a_model_needs_labels(run: Path, poisoned: Path, tmp_path: Path) -> None:
    path = run / "stages" / "train-123" / "weights.safetensors"
    asked = request(clips=poisoned, kind="unlabelled", model=path, out=tmp_path / "out")
    with pytest.raises(DataError, match="has no labels, and a model is judged by them"):
        audit(asked)


def test_what_does_not_say_what_it_is(poisoned: Path, tmp_path: Path) -> None:
    victims.save(victims.build(ARCHITECTURE, 4, 0), tmp_path / "w.safetensors")
    asked = request(clips=poisoned, model=tmp_path / "w.safetensors", out=tmp_path / "out")
    with pytest.raises(WeightsError, match="does not say what network it is of"):
        audit(asked)
    with pytest.raises(VidoorError, match="does not fit this victim"):
        audit(
            request(
                clips=poisoned, model=tmp_path / "w.safetensors", out=tmp_path / "out",
                overrides=["victim.kind=r2plus1d", "victim.width=8", "victim.depth=[1]"],
            )
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
