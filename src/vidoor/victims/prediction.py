"""What a victim says of clips: one view of each, or several whose probabilities are averaged."""

from collections.abc import Iterator
from math import prod

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from vidoor.data.video import sample
from vidoor.types import ClipSet, FramesBatch
from vidoor.victims.victim import Victim, to_batch

EVALUATION_BATCH = 64
"""Most clips per batch where no gradient is kept."""

EVALUATION_BYTES = 2**28
"""Most bytes of such a batch, as bytes and as float32 together: 64 clips of 16×112×112, 11 of the
paper's 32×224×224."""


def evaluation_batch(clips: ClipSet) -> int:
    """Clips per batch where no gradient is kept."""
    each = 5 * 3 * prod(clips.geometry)
    return max(1, min(EVALUATION_BATCH, EVALUATION_BYTES // each))


@torch.no_grad()
def predict(
    victim: Victim, clips: ClipSet, views: tuple[int, int] = (1, 1)
) -> Int[np.ndarray, " n"]:
    """Predicted class of every clip, on the device where the victim is.

    ``views``: temporal × spatial views, whose softmax probabilities are averaged. Temporal ones
    take the victim's frames from windows that start at other frames of the clip (of T // frames
    starts there are no more; a victim that sees all frames has one). The three spatial ones are
    squares at both ends and in the middle of the longer side (of a square clip, one).
    """
    victim.eval()
    device = next(victim.parameters()).device
    predicted, size = [], evaluation_batch(clips)
    for start in range(0, len(clips), size):
        indices = range(start, min(start + size, len(clips)))
        frames = torch.stack([clips.read(index) for index in indices]).to(device)
        if views == (1, 1):
            scores = victim.logits(to_batch(frames))
        else:
            told = [victim.logits(to_batch(v)) for v in views_of(frames, victim.frames, *views)]
            scores = torch.stack(told).softmax(-1).mean(0)
        predicted.append(scores.argmax(1).cpu())
    return torch.cat(predicted).numpy()


def views_of(
    frames: FramesBatch, seen: int | None, temporal: int, spatial: int
) -> Iterator[FramesBatch]:
    """The distinct views of clips for a victim that sees so many frames (None: all)."""
    length, (height, width) = frames.shape[1], frames.shape[-2:]
    seen, side = seen or length, min(height, width)
    slack = max(0, length // seen - 1)  # a later start would skip more than a victim does
    for first in _starts(slack, temporal):
        picked = [first + index for index in sample(length - slack, seen)]
        view = frames if temporal == 1 else frames[:, picked]
        for left in _starts(max(height, width) - side, spatial):
            yield view if spatial == 1 else _window(view, left, side)


def _starts(slack: int, count: int) -> list[int]:
    """At most ``count`` distinct whole numbers, evenly over 0..slack."""
    return sorted({round(slack * k / max(1, count - 1)) for k in range(count)})


def _window(frames: Tensor, start: int, side: int) -> Tensor:
    """The square that begins at ``start`` of the longer side."""
    return frames.narrow(-2 if frames.shape[-2] > side else -1, start, side)
