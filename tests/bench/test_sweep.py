"""Sweeps in this process: what is made, found and healed, and what a failure takes with it."""

import json

import numpy as np
import pytest
import torch
from records import finished, records, timeless

from vidoor.bench import make as making
from vidoor.bench import store
from vidoor.data import video
from vidoor.errors import TrainingError


def record(folder):
    return json.loads((folder / "result.json").read_text())


DAMAGES = {
    "truncated record": ("*/result.json", b'{"schema": 1,'),
    "empty record": ("*/result.json", b"{}"),
    "truncated weights": ("stages/*/weights.safetensors", b"\x00\x01"),
    "no epochs": ("stages/*/history.json", b"[]"),
    "truncated clips": ("stages/*/train.npy", b"\x93NUMPY"),
    "no verdict": ("stages/*/verdict.json", None),
    "torn end": ("stages/*/done.json", b"{"),
    "no pictures": ("*/frames.npz", None),
    "no scores": ("*/scores.npz", None),
    "empty page": ("*/report.html", b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_healed_with_the_same_result(perform, tmp_path, damage):
    overrides = ["detector.coherence.seed=0"]
    (folder,) = perform(*overrides).folders
    before = records(tmp_path)
    pattern, content = DAMAGES[damage]
    paths = list(tmp_path.glob(pattern))
    assert paths
    if "stages" in pattern:
        (folder / "result.json").unlink()
    for path in paths:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    perform(*overrides)
    assert records(tmp_path) == before
    assert (folder / "report.html").stat().st_size > 1000
    assert (folder / "frames.npz").exists()


def test_a_victim_from_the_store_gives_the_numbers_of_a_fresh_one(perform):
    overrides = ["training.precision=bf16", "training.epochs=2"]
    (folder,) = perform(*overrides).folders
    first = record(folder)
    assert first["acc"] == first["curves"]["poisoned"][-1]["acc"]
    assert first["asr"] == first["curves"]["poisoned"][-1]["asr"]
    (folder / "result.json").unlink()
    perform(*overrides)
    assert timeless(record(folder)) == timeless(first)


def test_more_settings_make_only_what_is_new(perform, tmp_path):
    base = ["grid.seeds=2", "detector.coherence.seed=0"]
    assert perform(*base, "grid.trigger.rms=[2.0]").made == 2 * 6
    before = finished(tmp_path)
    # Two more runs: each a new attack, victim, verdict and record; the data and clean victims stay.
    assert perform(*base, "grid.trigger.rms=[2.0, 3.0]").made == 2 * 4
    assert before.items() <= finished(tmp_path).items()
    assert perform(*base, "grid.trigger.rms=[3.0, 2.0]").made == 0


def test_the_record_says_what_was_asked_what_it_came_to_and_what_it_cost(perform):
    (folder,) = perform("detector.coherence.seed=0", "training.epochs=2").folders
    found = record(folder)
    assert found["trigger"]["rms"] == 4.0
    assert found["trigger"]["transform_frames"] == 45
    assert np.isfinite(found["trigger"]["delta"])
    assert found["recipe"]["training"]["epochs"] == 2
    assert "runtime" not in found["recipe"]
    assert found["environment"]["threads"] == 1
    cost = found["cost"]
    stages = {"data", "poison", "train clean", "train poisoned", "detect coherence", "evaluate"}
    assert set(cost) == stages
    # 24 training clips twice, and after each epoch 16 test clips, clean and triggered.
    assert cost["train clean"]["backward"] == cost["train poisoned"]["backward"] == 2 * 24
    assert cost["train clean"]["forward"] == 2 * (24 + 16)
    # At the end the test clips pass once more, and runs on one victim share what was measured.
    assert cost["train poisoned"]["forward"] == 2 * (24 + 16 + 16) + 16 + 16
    assert cost["evaluate"]["forward"] == 0
    assert found["seconds"]["total"] == pytest.approx(sum(c["seconds"] for c in cost.values()))
    assert found["detectors"]["coherence"]["cost"]["seconds"] > 0


def test_mitigations_share_the_victim_and_are_in_the_record(perform, tmp_path):
    one = ["mitigation.fine-tuning.epochs=1"]
    (folder,) = perform(*one).folders
    found = record(folder)["mitigations"]["fine-tuning"]
    assert set(found) == {"acc", "asr", "asr_paper", "cost"}
    assert found["cost"]["backward"] == 4  # one clip of each class
    before = finished(tmp_path)
    two = [*one, "mitigation.long={kind='fine-tuning', epochs=2}"]
    assert perform(*two).made == 2  # the new mitigation, and the record
    assert before.items() <= finished(tmp_path).items()


def broken(kind, error, when):
    """The makers of stages, of which that of ``kind`` raises ``error`` where ``when`` says so."""
    original = making.MAKERS[kind]

    def maker(work):
        if when(work):
            raise error
        original(work)

    return {**making.MAKERS, kind: maker}


@pytest.mark.parametrize(
    ("error", "line", "fault"),
    [
        (TrainingError("the loss is no longer finite"), "the loss is no longer finite", False),
        (ValueError("a bug"), "ValueError: a bug", True),
        (MemoryError("Unable to allocate 9 PiB"), "out of memory (Unable to allocate", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of m", False),
        (OSError(28, "No space left on device", "x.npy"), "x.npy: No space left on device", False),
    ],
)
def test_a_failure_takes_its_runs_and_no_others(perform, tmp_path, monkeypatch, error, line, fault):
    axes = ["grid.poisoning.rate=[0.2, 0.4]", "grid.seeds=2", "detector.coherence.seed=0"]
    with monkeypatch.context() as patched:

        def when(work):
            return "poison" in work.needs and work["poisoning"].rate == 0.4

        patched.setattr(making, "MAKERS", broken("train", error, when))
        swept = perform(*axes)
    assert len(swept.folders) == 2
    assert len(swept.failures) == 2
    for failure in swept.failures:
        assert "0.4" in failure.cell.label
        assert failure.stage == "train poisoned"
        assert failure.outcome.problem.startswith(line)
        assert "\n" not in failure.outcome.problem
        assert bool(failure.outcome.details) == fault
        folder = tmp_path / failure.cell.stage.folder
        told = json.loads((folder / store.ERROR).read_text())
        assert told["problem"] == failure.outcome.problem
        assert not list(folder.glob("*.npz"))
    again = perform(*axes)
    assert len(again.folders) == 4
    assert not again.failures
    assert not list(tmp_path.glob("*/error.json"))
    assert not list(tmp_path.rglob(".partial*"))


def test_a_folder_that_changes_under_a_sweep_is_noticed(perform, tmp_path):
    """Labels of another listing must never meet the pixels of this one."""
    for part in ("train", "test"):
        for label in ("run", "walk"):
            (tmp_path / "in" / part / label).mkdir(parents=True)
            for index in range(4):
                clip = torch.full((4, 3, 16, 16), 9 * index, dtype=torch.uint8)
                video.write(tmp_path / "in" / part / label / f"{index}.mkv", clip)
    data = f"data={{kind='folder', root='{tmp_path / 'in'}', frames=4, size=[16, 16]}}"
    document = [data, "poisoning.rate=0.5"]
    original = making.MAKERS["data"]

    def changing(work):
        original(work)
        video.write(tmp_path / "in" / "train" / "run" / "new.mkv", clip)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(making, "MAKERS", {**making.MAKERS, "data": changing})
        (failure,) = perform(*document).failures
    assert "changed since they were read" in failure.outcome.problem
    assert len(perform(*document).folders) == 1


def test_a_method_that_draws_from_global_generators_draws_alike(perform, tmp_path, monkeypatch):
    drawn = []
    original = making.MAKERS["detect"]

    def drawing(work):
        drawn.append((np.random.rand(), torch.rand(1).item()))  # noqa: NPY002
        original(work)

    monkeypatch.setattr(making, "MAKERS", {**making.MAKERS, "detect": drawing})
    for _ in range(2):
        perform("detector.coherence.seed=0")
        for path in tmp_path.glob("**/done.json"):
            path.unlink()
    assert drawn[0] == drawn[1]
