"""What a lossy codec does to a poisoned set between the attacker and whoever trains on it."""

from dataclasses import dataclass, replace

import torch

from vidoor.data.transcoding import transcode
from vidoor.data.video import Codec
from vidoor.types import ClipSet, Frames, Geometry


@dataclass(frozen=True, kw_only=True)
class Publication:
    """All clips of a set, poisoned or not, written as lossy video and read back.

    All of them, since a victim could take the codec itself for the trigger if only those that carry
    it were compressed.
    """

    codec: Codec
    """As of ``data.video.write``."""

    quality: int | None = None
    """CRF of h264 (0..51) or quantiser of mpeg4 (1..31): smaller is better. None: 23 or 3."""

    def check(self, geometry: Geometry) -> None:
        """DataError if there is no such codec, or if it does not take such frames or quality."""
        transcode(torch.zeros(1, 3, *geometry[1:], dtype=torch.uint8), self.codec, self.quality)

    def __call__(self, clips: ClipSet) -> ClipSet:
        """The set as it is read from such files; each clip is written when it is read."""
        return replace(clips, read=_Published(clips, self))


@dataclass(frozen=True, slots=True)
class _Published:
    clips: ClipSet
    by: Publication

    def __call__(self, index: int) -> Frames:
        return transcode(self.clips.read(index), self.by.codec, self.by.quality)
