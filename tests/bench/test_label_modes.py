"""Label modes and the noise mode from recipe to record, and on folders."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vidoor.bench import probed, trained
from vidoor.bench.plan import plan
from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.data.transcoding import transcode
from vidoor.errors import VidoorError
from vidoor.poisoning import manifest
from vidoor.recipe import document, parse
from vidoor.triggers.spectral import DFT

# 24 training and 16 test clips of four classes, as many of each: half of six are three.
MODES = {
    "all-to-one": ("{rate=0.5, target=1}", 9, {0: 1, 2: 1, 3: 1}),
    "one-to-one": ("{rate=0.5, target=1, labels='one-to-one', sources=[3]}", 3, {3: 1}),
    "many-to-one": ("{rate=0.5, target=1, labels='many-to-one', sources=[3, 0]}", 6, {0: 1, 3: 1}),
    "all-to-all": ("{rate=0.5, labels='all-to-all'}", 12, {0: 1, 1: 2, 2: 3, 3: 0}),
    "clean-label": ("{rate=0.5, target=1, labels='clean-label'}", 3, {1: 1}),
}
# Strict, paper's and others' ASR of a victim that takes every clip of class 3 for class 1, and
# knows all others.
RATES = {
    "all-to-one": (1 / 3, 1 / 2, None),
    "one-to-one": (1, 1 / 2, 0),
    "many-to-one": (1 / 2, 1 / 2, 0),
    "all-to-all": (0, 0, None),
    "clean-label": (1 / 3, 1 / 2, None),
}


def arms() -> list[str]:
    return [f"grid.arms.{mode}.poisoning={options}" for mode, (options, *_) in MODES.items()]


def by_arm(folders) -> dict[str, tuple[dict, dict]]:
    found = {}
    for folder in folders:
        record = json.loads((folder / "result.json").read_text())
        with np.load(folder / "scores.npz") as scores, np.load(folder / "frames.npz") as frames:
            found[record["arm"]] = record, {**scores, **frames}
    return found


def test_every_mode_from_recipe_to_record(perform, tmp_path, monkeypatch):
    def confused(victim, clips, views):
        labels = np.array(clips.labels)
        return np.where(labels == 3, 1, labels)

    monkeypatch.setattr(trained, "predict", confused)
    found = by_arm(perform(*arms(), "detector.coherence.seed=0").folders)
    clean = Shapes(train=24, test=16, frames=4, size=(16, 16), classes=4).open(0)
    for mode, (_, count, sent) in MODES.items():
        record, arrays = found[mode]
        told = record["poisoning"]
        assert (told["labels"], told["poisoned"], told["noisy"]) == (mode, count, 0)
        target = None if mode == "all-to-all" else clean.train.classes[1]
        assert told["target_class"] == target
        poisoned = arrays["coherence.poisoned"]
        assert poisoned.sum() == count
        assert {clean.train.labels[i] for i in np.flatnonzero(poisoned)} == set(sent)
        rates = tuple(record.get(name) for name in ("asr", "asr_paper", "asr_others"))
        assert rates == pytest.approx(RATES[mode]), mode
        assert record["curves"]["poisoned"][-1]["asr"] == rates[0]
        moved = {0, 2, 3} if mode == "clean-label" else set(sent)
        assert set(arrays["labels"]) <= {clean.test.classes[c] for c in moved}
    manifests = [manifest.load(path) for path in tmp_path.glob("stages/poison-*/manifest.jsonl")]
    assert len(manifests) == len(MODES)
    changed = [{(x.label, x.given) for x in lines if x.trigger} for lines in manifests]
    assert all(set(sent.items()) in changed for _, _, sent in MODES.values())


def test_a_real_victim_meets_the_noise_mode(perform, tmp_path):
    noise = "poisoning={rate=0.25, cross_ratio=1.5}"
    wanet = "trigger={kind='wanet', s=4.0}"
    (folder,) = perform(wanet, noise, "detector.coherence.seed=0").folders
    ((record, arrays),) = by_arm([folder]).values()
    told = record["poisoning"]
    assert (told["poisoned"], told["noisy"], told["cross_ratio"]) == (6, 9, 1.5)
    (path,) = tmp_path.glob("stages/poison-*/manifest.jsonl")
    lines = manifest.load(path)
    assert [line.trigger is not None for line in lines] == arrays["coherence.poisoned"].tolist()
    noisy = [line for line in lines if line.noise is not None]
    assert len(noisy) == 9
    assert all(line.trigger is None and line.given == line.label for line in noisy)


def test_a_codec_is_between_the_attacker_and_the_victim(perform, tmp_path, monkeypatch):
    """Of the training clips by the manifest; of those of the test by what the victim is shown."""
    shown = []

    def watched(victim, clips, views):
        shown.append(clips.read(1))
        return np.zeros(len(clips), int)

    monkeypatch.setattr(trained, "predict", watched)
    monkeypatch.setattr(probed, "predict", watched)
    sent = "poisoning={rate=0.25, codec='h264', quality=40}"
    perform(sent, "probe.weaker.rms=2.0", "detector.coherence.seed=0")
    clean = Shapes(train=24, test=16, frames=4, size=(16, 16), classes=4).open(0)
    trigger = DFT(rms=4.0)
    (stage,) = tmp_path.glob("stages/poison-*")
    for index, line in enumerate(manifest.load(stage / manifest.MANIFEST)):
        clip = clean.train.read(index)
        was = transcode(trigger(clip) if line.trigger else clip, "h264", 40)
        assert line.sha256 == manifest.content_hash(was)
    clip = clean.test.read(1)
    for one in (trigger, DFT(rms=2.0)):
        was = transcode(one(clip), "h264", 40)
        assert sum(torch.equal(was, each) for each in shown) == 2  # the victim, and the clean one
    assert any(torch.equal(clip, each) for each in shown)  # what ACC is measured on stays


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["poisoning.labels=one-to-on"], r"poisoning\.labels: .*'one-to-one'"),
        (["poisoning.labels=one-to-one"], "one-to-one labels need one class index as sources"),
        (["poisoning={labels='one-to-one', sources=['run']}"], r"poisoning\.sources.*not 'run'"),
        (["poisoning={labels='all-to-all', target=1}"], "target = 1 means nothing"),
        (["poisoning={labels='many-to-one', sources=[1, 4]}"], r"sources = 4 is out of range"),
        (["poisoning={labels='clean-label', target=1, rate=0.01}"], "selects no clip"),
        (
            ["trigger={kind='badnet'}", "poisoning.cross_ratio=2"],
            "asks for a trigger that has noise, such as wanet, and BadNet",
        ),
        (["poisoning.quality=23"], "quality = 23 is of a codec"),
        (["poisoning={codec='h264', quality=60}"], r"quality 60 does not fit h264; valid: 0\.\.51"),
        (["trigger={kind='wanet'}", "poisoning.cross_ratio=40"], "asks for .* with noise, of the"),
    ],
)
def test_attacks_that_mean_nothing_get_one_line(tiny, overrides, line):
    with pytest.raises(VidoorError, match=line) as error:
        plan(tiny(*overrides))
    assert "\n" not in str(error.value)


def test_test_clips_of_other_classes_than_the_sources_show_no_attack(tiny, monkeypatch):
    original = Shapes.open

    def only_class_2(self, seed):
        splits = original(self, seed)
        index = splits.test.labels.index(2)
        test = replace(splits.test, ids=(splits.test.ids[index],), labels=(2,))
        return replace(splits, test=test)

    monkeypatch.setattr(Shapes, "open", only_class_2)
    with pytest.raises(VidoorError, match=r"none of the 1 .* a class of .*sources = \[3, 1\], so"):
        plan(tiny("poisoning={labels='many-to-one', sources=[3, 1]}"))
    assert plan(tiny("poisoning={labels='many-to-one', sources=[3, 2]}"))


def test_a_mode_is_written_out_and_read_back_and_is_another_run(tiny):
    runs = set()
    for options, *_ in MODES.values():
        (cell,) = plan(tiny(f"poisoning={options}"))
        assert parse(document(cell.recipe)) == cell.recipe
        runs.add(cell.stage.folder)
    (cell,) = plan(tiny("poisoning={rate=0.5, target=1, draw='global'}"))
    assert len(runs | {cell.stage.folder}) == len(MODES) + 1


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of ten grey clips."""
    for label, name in enumerate(("run", "walk")):
        for index in range(10):
            clip = torch.full((4, 3, 16, 16), 100 * label + index, dtype=torch.uint8)
            video.write(tmp_path / "in" / name / f"{index}.mkv", clip)
    return tmp_path / "in"


def test_a_folder_is_poisoned_by_any_rule(folder, vidoor_command, tmp_path):
    rule = ("--set", "poisoning.labels=clean-label", "--target", 1, "--rate", 0.3)
    noise = ("--set", "poisoning.cross_ratio=2", "--set", "s=3.0")
    size = ("--frames", 4, "--size", "16x16")
    out = tmp_path / "out"
    done = vidoor_command(
        "embed", folder, out, "--trigger", "wanet", *rule, *noise, *size, "--json"
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts == {"clips": 20, "poisoned": 3, "noisy": 6, "test": 0, "quarantined": []}
    told = json.loads((out / "poisoning.json").read_text())
    assert told["poisoning"]["labels"] == "clean-label"
    assert (told["trigger"]["kind"], told["trigger"]["s"], told["seed"]) == ("wanet", 3.0, 0)
    lines = manifest.load(out / manifest.MANIFEST)
    assert [(x.label, x.given) for x in lines if x.trigger] == [(1, 1)] * 3
    assert sum(x.noise is not None for x in lines) == 6


def test_a_rule_that_means_nothing_is_refused_before_anything_is_written(
    folder, vidoor_command, tmp_path
):
    options = ("--trigger", "dft", "--set", "rms=2.0", "--set", "poisoning.labels=one-to-one")
    done = vidoor_command("embed", folder, tmp_path / "out", *options)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        "vidoor: poisoning: one-to-one labels need one class index as sources, not []"
    ]
    assert not (tmp_path / "out").exists()
