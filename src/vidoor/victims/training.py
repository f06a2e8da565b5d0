"""The training loop: every victim, poisoned or clean, on one CPU or many GPUs.

An epoch's order comes from (seed, epoch), what the network draws from (seed, epoch, step) and the
learning rate from the step alone, so an interrupted run continues from its last checkpoint exactly
as if it had not stopped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import nn

from vidoor import meter
from vidoor.progress import say
from vidoor.types import ClipSet
from vidoor.victims import checkpoint as checkpoints
from vidoor.victims._loop import Loop, optimizer_of
from vidoor.victims._processes import Processes, launched, pick_device
from vidoor.victims.checkpoint import Checkpoint, Keeper
from vidoor.victims.config import Training
from vidoor.victims.loading import Clips, Order, loader, reading
from vidoor.victims.prediction import predict
from vidoor.victims.tracking import tracking

__all__ = ["Training", "fit", "launched", "pick_device", "predict"]

V = TypeVar("V", bound=nn.Module)

CHECKPOINT_EVERY = 300.0
"""Seconds between two checkpoints within an epoch."""


def fit(
    victim: V,
    clips: ClipSet,
    config: Training,
    *,
    seed: int,
    checkpoint: Path | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    name: str = "training",
    device: str = "auto",
    workers: int = 0,
    together: bool = False,
    tracker: str | None = None,
    logs: Path | None = None,
    measure: Callable[[V], dict[str, float]] = lambda _: {},
) -> tuple[V, list[dict[str, float]]]:
    """Train ``victim`` in place on ``clips`` and return it with what was measured at each epoch.

    ``measure`` is called after each epoch. ``checkpoint`` is written after each epoch and every
    ``checkpoint_every`` seconds, and, where it exists, training goes on from it; without one a
    training that is stopped starts anew. What follows changes no result:

    ``workers``   processes that read clips ahead; 0 is best where clips are held or mapped
    ``together``  all processes that a launcher has started call this, train one victim on the same
                  batches as one process would, and return it; the first one measures and writes,
                  and all must see the checkpoint's folder
    ``tracker``   tensorboard, wandb or mlflow; ``logs`` is the folder of TensorBoard's files

    TrainingError if the loss is no longer finite, a process is lost, or a tracker is not there.
    """
    processes = Processes(device, together=together)
    processes.place(victim)
    optimizer = optimizer_of(victim, config)
    at = checkpoints.load(checkpoint, victim, optimizer) if checkpoint else Checkpoint()
    order = Order(len(clips), config.batch_size, seed, processes.rank, processes.size)
    source = loader(Clips(clips, seed, config.augmentation()), order, workers, processes.device)
    with (
        processes.watched(name),
        reading(),
        tracking(tracker if processes.main else None, logs, name, config) as log,
        meter.metered() as cost,
    ):
        processes.agree(at.epoch, at.step)
        model = processes.wrap(victim)
        loop = Loop(config, processes, victim, model, optimizer, shown=processes.main)
        if at.scaler:
            loop.scaler.load_state_dict(at.scaler)
        tell = say if processes.main else _silent
        if at.epoch or at.step:
            steps = f" and {at.step} steps" if at.step else ""
            tell(f"{name}: goes on after epoch {at.epoch}{steps} of {config.epochs}")
        meter.carry(at.spent)
        keeper = Keeper(checkpoint, checkpoint_every, victim, optimizer, cost.spent)
        for epoch in range(at.epoch, config.epochs):
            what = f"{name}: epoch {epoch + 1} of {config.epochs}"
            at = loop.epoch(source, order, at, what, log=log, keeper=keeper)
            processes.share_buffers(victim)
            measured = processes.share(measure(victim) if processes.main else {})
            log(measured, (epoch + 1) * order.steps)
            told = {"epoch": epoch + 1, "loss": at.loss / at.seen, **measured}
            at = Checkpoint(epoch + 1, [*at.history, told], scaler=at.scaler)
            tell(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in told.items()))
            if processes.main:
                keeper.save(at)
    return victim, at.history


def _silent(line: str) -> None:
    pass
