"""A poisoned set written to disk and read back: same bytes, same labels, hashes hold."""

import json
from pathlib import Path

import pytest
import torch

from vidoor.data.folder import Folder
from vidoor.data.shapes import Shapes
from vidoor.errors import DataError
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import Poisoner, apply
from vidoor.triggers.spectral import DFT


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("poisoned")
    splits = Shapes(train=24, test=8, frames=5, size=(17, 22), classes=4).open(0)
    plan = Poisoner(rate=0.5).plan(splits.train, 0)
    poisoned = apply(splits.train, plan, DFT(rms=3.0))
    manifest.write_set(folder, splits.train, poisoned, plan, "abc", splits.test)
    return folder, splits, plan, poisoned


def test_read_back_as_a_folder_gives_the_same_bytes_and_labels(written):
    folder, splits, _, poisoned = written
    back = Folder(root=folder, split="01", frames=5, size=(17, 22)).open(0)
    assert back.train.classes == splits.train.classes
    place = {line.file: line.id for line in manifest.load(folder / manifest.MANIFEST)}
    index = {name: i for i, name in enumerate(poisoned.ids)}
    assert len(back.train) == len(poisoned)
    for row, file in enumerate(back.train.ids):
        original = index[place[file]]
        assert back.train.labels[row] == poisoned.labels[original]
        assert torch.equal(back.train.read(row), poisoned.read(original))
    assert len(back.test) == len(splits.test)


def test_the_manifest_tells_the_truth(written):
    folder, splits, plan, poisoned = written
    for index, line in enumerate(manifest.load(folder / manifest.MANIFEST)):
        assert line.id == splits.train.ids[index]
        assert (line.label, line.given) == (splits.train.labels[index], poisoned.labels[index])
        assert (line.trigger == "abc") == (index in plan.relabelled)
        assert line.sha256 == manifest.content_hash(poisoned.read(index))


def test_a_hash_depends_on_content_alone():
    clip = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    strided = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert manifest.content_hash(clip) == manifest.content_hash(strided)
    changed = clip.clone()
    changed[1, 2, 3, 4] += 1
    assert manifest.content_hash(changed) != manifest.content_hash(clip)


@pytest.mark.parametrize("text", ["nonsense", json.dumps({"id": 1}), "[]"])
def test_a_broken_manifest_names_its_line(tmp_path: Path, text: str):
    path = tmp_path / "m.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(DataError, match="line 1: not a manifest line"):
        manifest.load(path)
