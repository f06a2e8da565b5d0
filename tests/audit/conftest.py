"""Small sets on disk, clean and poisoned, as ``vidoor embed`` writes them."""

import os
from pathlib import Path

import pytest

from vidoor.audit.command import Request, audit
from vidoor.bench.embed import embed_set
from vidoor.bench.sources import data_set
from vidoor.data import video
from vidoor.data.shapes import Shapes
from vidoor.poisoning import manifest
from vidoor.poisoning.poisoner import Poisoner
from vidoor.triggers.spectral import DFT

SHAPES = Shapes(train=72, test=8, frames=12, size=(32, 32), classes=4)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A clip cache of our own, for this process and those that it starts."""
    before = os.environ.get("VIDOOR_CACHE")
    os.environ["VIDOOR_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["VIDOOR_CACHE"]
    else:
        os.environ["VIDOOR_CACHE"] = before


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of lossless clips."""
    root = tmp_path_factory.mktemp("sets") / "clean"
    clips = SHAPES.open(5).train
    for index, label in enumerate(clips.labels):
        video.write(root / clips.classes[label] / f"{index:03d}.mkv", clips.read(index))
    return root


@pytest.fixture(scope="session")
def poisoned(clean: Path) -> Path:
    """The same with a trigger in a fifth of the clips of other classes."""
    root = clean.parent / "poisoned"
    data = data_set(clean, None, {"frames": 12, "size": [32, 32]})
    embed_set(data, root, DFT(rms=4.0), Poisoner(rate=0.2, target=1), seed=2)
    return root


@pytest.fixture(scope="session")
def planted(poisoned: Path) -> set[str]:
    """The clips that carry the trigger."""
    lines = manifest.load(poisoned / manifest.MANIFEST)
    return {str(line.file) for line in lines if line.trigger}


@pytest.fixture(scope="session")
def finished(poisoned: Path, tmp_path_factory: pytest.TempPathFactory):
    """The audit of the poisoned set: its record, and its folder."""
    out = tmp_path_factory.mktemp("audit") / "out"
    return audit(Request(clips=poisoned, out=out)), out
