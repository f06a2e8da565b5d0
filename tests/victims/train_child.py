"""A small training as a process of its own, which tests kill, launch together and resume.

    python train_child.py FOLDER '{"option": value}'

FOLDER gets ``checkpoint.safetensors`` and, in the end, ``weights.safetensors`` and
``history.json``. Options that are not ``Training``'s name what goes wrong, and in which process.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from vidoor import meter
from vidoor.data.shapes import Shapes
from vidoor.errors import ClipError, VidoorError
from vidoor.victims import victim as victims
from vidoor.victims.company import company, first, summon
from vidoor.victims.r2plus1d import R2Plus1D
from vidoor.victims.training import Training, fit

RANK = int(os.environ.get("RANK", "0"))
CLIPS = 41


@dataclass
class Bomb:
    """Reads clips until ``left`` are read: then this process is killed, or cannot read the next."""

    clips: object
    left: int
    kill: bool

    def __call__(self, index):
        self.left -= 1
        if self.left < 0 and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.left < 0:
            raise ClipError(f"clip {index}", "is damaged")
        return self.clips.read(index)


class Plain(nn.Module):
    """No batch norm: what it learns from a batch does not depend on who sees which part."""

    def __init__(self, spoilt):
        super().__init__()
        torch.manual_seed(0)
        self.spoilt = spoilt
        self.network = nn.Sequential(
            nn.Conv3d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 4)
        )

    def forward(self, batch):
        logits = self.network(batch - 0.5)
        meter.count("forward", len(batch))
        return logits * float("nan") if self.spoilt else logits


def norm(victim):
    """What is measured of it."""
    return {"norm": sum(float(p.detach().norm()) for p in victim.parameters())}


def main(
    folder, *, seed=1, die=None, damaged=None, nan=None, elsewhere=None, batch_norm=False,
    together=False, every=0.0, **options,
):  # fmt: skip
    """``die`` and ``damaged``: [rank, clips read before]; ``nan`` and ``elsewhere``: a rank whose
    loss is no number, and one that sees another folder."""
    clips = Shapes(train=CLIPS, test=4, frames=4, size=(16, 16), classes=4).open(0).train
    network = Plain(nan == RANK)
    if batch_norm:
        network = victims.build(R2Plus1D(width=4, depth=(1,)), 4, 0)
    for bomb in (die, damaged):
        if bomb is not None and bomb[0] == RANK:
            clips = replace(clips, read=Bomb(clips, bomb[1], kill=bomb is die))
    with meter.metered() as spent:
        trained, history = fit(
            network,
            clips,
            Training(**options),
            seed=seed,
            checkpoint=folder / ("nowhere" if elsewhere == RANK else "checkpoint.safetensors"),
            checkpoint_every=every,
            device="cpu",
            together=together,
            measure=norm,
        )
    if first():
        save_file(trained.state_dict(), folder / "weights.safetensors")
        (folder / "history.json").write_text(json.dumps([history, spent.cost.forward]))


def command(folder, tasks):
    """Several trainings, one after another, each of which all processes join."""

    def train(options):
        (folder / options["name"]).mkdir(exist_ok=True)
        main(folder / options.pop("name"), together=True, **options)

    with company("cpu", train) as working:
        print("first" if working else "done", file=sys.stderr)
        for task in tasks if working else []:
            summon(task)
            train(task)


if __name__ == "__main__":
    torch.set_num_threads(1)
    place, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        command(place, asked) if isinstance(asked, list) else main(place, **asked)
    except VidoorError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
