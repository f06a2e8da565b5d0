"""Curves of a training, live, in TensorBoard, Weights & Biases or MLflow, through accelerate."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from accelerate import Accelerator

from vidoor.errors import TrainingError, unknown
from vidoor.victims.config import Training

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Each is the name of its package, too."""


Log: TypeAlias = Callable[[Mapping[str, float], int], None]
"""Takes numbers by name, and the step of the whole training that they belong to."""


def _nothing(values: Mapping[str, float], step: int) -> None:
    pass


def check(tracker: str | None) -> None:
    """TrainingError if there is no such tracker, or its package is not installed."""
    if tracker is None:
        return
    if tracker not in TRACKERS:
        raise TrainingError(unknown("tracker", tracker, TRACKERS))
    if find_spec(tracker) is None:
        raise TrainingError(
            f"the tracker {tracker!r} needs the package {tracker}; run: pip install {tracker}"
        )


@contextmanager
def tracking(
    tracker: str | None, folder: Path | None, name: str, config: Training
) -> Iterator[Log]:
    """Log to the tracker until the block ends; to none where it is None.

    ``folder`` (``logs`` where it is None) is for TensorBoard's files; W&B and MLflow find their
    place in environment variables of their own. TrainingError if the tracker cannot be used.
    """
    check(tracker)
    if tracker is None:
        yield _nothing
        return
    place = Path("logs") if folder is None else folder
    # An accelerator of its own: it holds the trackers of one training, and states are shared.
    accelerator = Accelerator(log_with=tracker, project_dir=place)
    told = {k: v if isinstance(v, int | float | str) else str(v) for k, v in asdict(config).items()}
    accelerator.init_trackers(name, config=told)

    def log(values: Mapping[str, float], step: int) -> None:
        accelerator.log(dict(values), step=step)

    try:
        yield log
    finally:
        for each in accelerator.trackers:
            each.finish()
