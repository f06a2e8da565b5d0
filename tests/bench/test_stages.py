"""Stages: what is refused before anything runs, what detectors get, and healing of damage."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vidoor.bench import stages
from vidoor.bench.run import run
from vidoor.data.shapes import Shapes
from vidoor.errors import DataError, VidoorError
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.recipe import override, parse
from vidoor.triggers.spectral import DFT

TINY = {
    "data": {
        "kind": "shapes", "train": 24, "test": 16, "frames": 4, "size": [16, 16], "classes": 4
    },
    "trigger": {"kind": "dft", "rms": 4.0},
    "victim": {"kind": "r2plus1d", "width": 4, "depth": [1]},
    "training": {"epochs": 1, "batch_size": 8},
    "runtime": {"device": "cpu", "workers": 1},
}  # fmt: skip


def recipe(*overrides: str):
    return parse(override(TINY, overrides))


def with_test_labels(base, monkeypatch, keep):
    """``base`` whose data has only those test clips whose label is in ``keep``."""
    original = type(base.data).open

    def opened(self, seed):
        splits = original(self, seed)
        test = splits.test
        chosen = [i for i, label in enumerate(test.labels) if label in keep]
        test = replace(
            test,
            ids=tuple(test.ids[i] for i in chosen),
            labels=tuple(test.labels[i] for i in chosen),
            read=lambda i: splits.test.read(chosen[i]),
        )
        return replace(splits, test=test)

    monkeypatch.setattr(type(base.data), "open", opened)
    return base


@pytest.mark.parametrize("keep", [set(), {0}])
def test_test_sets_that_cannot_show_an_attack_are_refused(monkeypatch, keep):
    with pytest.raises(DataError, match="of another class than the target"):
        stages.check(with_test_labels(recipe(), monkeypatch, keep))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["victim.depth=[1,1,1,1]", "data.train=25", "data.frames=2"], r"batches of 1 clips"),
        (["victim.width=100000000"], r"victim|parameters"),
        (
            [
                "detector.coherence.fpr=0.01",
                "data.size=[16,16]",
                "data.train=7",
                "poisoning.rate=0.5",
            ],
            "8",
        ),
        (["poisoning.target=4"], "out of range"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(overrides, line):
    with pytest.raises(VidoorError, match=line) as error:
        stages.check(recipe(*overrides))
    assert "\n" not in str(error.value)


def test_detectors_get_neither_the_plan_nor_names_that_tell():
    clean = Shapes(train=24, test=4, frames=4, size=(16, 16), classes=4).open(0).train
    plan = Poisoner(rate=0.5).plan(clean, 0)
    poisoned = apply(clean, plan, DFT(rms=3.0))
    suspects = stages.anonymous(poisoned)
    assert not {"clean", "trigger", "chosen"} & set(dir(suspects.read))
    assert not set(suspects.ids) & set(poisoned.ids)
    assert suspects.labels == poisoned.labels
    assert all(torch.equal(suspects.read(i), poisoned.read(i)) for i in range(24))


@pytest.fixture
def finished(tmp_path):
    base = recipe("detector.coherence.seed=0", f"runtime.out='{tmp_path}'")
    return base, run(base)


def record(folder):
    return json.loads((folder / "result.json").read_text())


def timeless(found):
    found.pop("seconds")
    for detector in found["detectors"].values():
        detector["cost"].pop("seconds")
    return found


DAMAGES = {
    "truncated record": ("*/result.json", b'{"schema": 1,'),
    "empty record": ("*/result.json", b"{}"),
    "truncated weights": ("stages/*/weights.safetensors", b"\x00\x01"),
    "no epochs": ("stages/*/history.json", b"[]"),
    "truncated history": ("stages/*/history.json", b"[{"),
    "no pictures": ("*/frames.npz", None),
    "no scores": ("*/scores.npz", None),
    "empty page": ("*/report.html", b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_healed_with_the_same_result(finished, tmp_path, damage):
    base, folder = finished
    before = timeless(record(folder))
    pattern, content = DAMAGES[damage]
    if "stages" in pattern:
        (folder / "result.json").unlink()
    for path in tmp_path.glob(pattern):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    run(base)
    assert timeless(record(folder)) == before
    assert (folder / "report.html").stat().st_size > 1000
    assert (folder / "frames.npz").exists()


def test_a_victim_from_the_store_gives_the_numbers_of_a_fresh_one(tmp_path):
    base = recipe("training.precision=bf16", "training.epochs=2", f"runtime.out='{tmp_path}'")
    folder = run(base)
    first = record(folder)
    assert first["acc"] == first["curves"]["poisoned"][-1]["acc"]
    assert first["asr"] == first["curves"]["poisoned"][-1]["asr"]
    (folder / "result.json").unlink()
    assert timeless(record(run(base))) == timeless(first)


def test_two_precisions_run_in_one_process(tmp_path):
    for precision in ("fp32", "bf16"):
        run(recipe(f"training.precision={precision}", f"runtime.out='{tmp_path}'"))
    assert len(list(tmp_path.glob("*/result.json"))) == 2


def test_clean_victims_are_shared_and_poisoned_ones_are_not(tmp_path):
    out = f"runtime.out='{tmp_path}'"
    run(recipe(out))
    run(recipe(out, "trigger.rms=5.0"))
    assert len(list(tmp_path.glob("stages/train-*"))) == 3


def test_the_record_says_what_was_asked_and_what_it_came_to(finished):
    _, folder = finished
    trigger = record(folder)["trigger"]
    assert trigger["rms"] == 4.0
    assert trigger["transform_frames"] == 45
    assert np.isfinite(trigger["delta"])
