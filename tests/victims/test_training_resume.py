"""Kill a training anywhere and start it again: the weights are those of one that was left alone."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import train_child
from train_child import CLIPS

from vidoor.data.shapes import Shapes
from vidoor.victims.training import Training, fit

CHILD = Path(__file__).with_name("train_child.py")
READS = 3 * CLIPS
"""Clips that are read in three epochs, of six steps each."""

OPTIONS = {"epochs": 3, "batch_size": 8}


def killed(folder, **options):
    """Train in a process that ends itself in the middle."""
    folder.mkdir()
    command = [sys.executable, CHILD, folder, json.dumps({**OPTIONS, **options})]
    return subprocess.run(command, capture_output=True, check=False).returncode == -9


def finished(folder, **options):
    """Train to the end; weights, what was measured, and clips passed forward."""
    folder.mkdir(exist_ok=True)
    train_child.main(folder, **OPTIONS, **options)
    history, forward = json.loads((folder / "history.json").read_text())
    return (folder / "weights.safetensors").read_bytes(), history, forward


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "accumulate": 3, "batch_norm": True, "schedule": "one-cycle"},
        {"optimizer": "adamw", "clip_norm": 0.5, "flip": True, "crop": "pad"},
        {"optimizer": "sgd", "precision": "fp16", "schedule": "cosine"},
    ],
)
def test_a_killed_training_ends_like_one_that_was_left_alone(tmp_path, capsys, options):
    whole, curve, _ = finished(tmp_path / "whole", **options)
    reads = random.Random(str(options)).randrange(9, READS)
    assert killed(tmp_path / "cut", **options, die=[0, reads])
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    weights, history, _ = finished(tmp_path / "cut", **options)
    epochs, steps = reads // CLIPS, reads % CLIPS // 8
    place = f"epoch {epochs} and {steps} steps of 3" if steps else f"epoch {epochs} of 3"
    assert f"goes on after {place}" in capsys.readouterr().err
    assert weights == whole
    assert history == curve


def test_time_decides_when_a_checkpoint_is_written_within_an_epoch(tmp_path, capsys):
    """An hour between two: the epoch that was cut starts over."""
    assert killed(tmp_path / "cut", die=[0, CLIPS + 20], every=3600.0)
    _, history, forward = finished(tmp_path / "cut", every=3600.0)
    assert "goes on after epoch 1 of 3" in capsys.readouterr().err
    assert len(history) == 3
    assert forward == READS  # those of the epoch that was lost are not known


class Stopped(Exception):
    """What interrupts a training in this process."""


class Dropping(torch.nn.Module):
    """Draws while it trains; remembers what, and stops at a step."""

    def __init__(self, stop_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.head = torch.nn.Linear(3 * 4 * 16 * 16, 4)
        self.stop_at, self.drawn = stop_at, []

    def forward(self, batch):
        if len(self.drawn) == self.stop_at:
            raise Stopped
        kept = torch.nn.functional.dropout(torch.ones_like(batch))
        self.drawn.append(kept.numpy().tobytes())
        return self.head((batch * kept).flatten(1))


def test_dropout_goes_on_where_it_was(tmp_path):
    """What a network draws hangs on the step, not on how often training was interrupted."""
    clips = Shapes(train=40, test=4, frames=4, size=(16, 16), classes=4).open(0).train
    config = Training(epochs=2, batch_size=8, lr=1e-2)

    def train(network, path):
        fit(network, clips, config, seed=0, checkpoint=path, checkpoint_every=0, device="cpu")
        return network

    whole, cut = train(Dropping(), tmp_path / "whole.safetensors"), Dropping(stop_at=8)
    with pytest.raises(Stopped):
        train(cut, tmp_path / "cut.safetensors")
    resumed = train(Dropping(), tmp_path / "cut.safetensors")
    assert len(set(whole.drawn)) == 10  # another mask at every step
    assert cut.drawn + resumed.drawn == whole.drawn
    assert all(map(torch.equal, whole.state_dict().values(), resumed.state_dict().values()))
