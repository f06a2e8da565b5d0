"""From decoded pictures to RGB arrays of the size asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from PIL import Image

from vidoor.data._container import check_extent, check_size
from vidoor.types import Frames, Geometry

# From 17 on PyAV converts with a thread for each core; to start them takes longer than the work.
ALONE: Mapping[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


class Canvas:
    """A clip that is being filled, T×3×H×W, black where nothing has been put.

    Pictures become RGB of 8 bits: deeper ones are rounded by swscale, grey ones repeated, and an
    alpha channel is dropped, as the usual loaders do, so that colours under it show. With a
    ``geometry`` they are scaled to cover its height × width and cropped about the centre, each by
    itself; without one the clip has ``count`` frames, and all must have the size of the first.
    """

    def __init__(self, path: Path, count: int, geometry: Geometry | None) -> None:
        self._path, self._count, self._geometry = path, count, geometry
        self._reformatter = VideoReformatter()
        self._array: np.ndarray | None = None
        if geometry is not None:
            self._array = np.zeros((geometry.frames, 3, *geometry[1:]), np.uint8)

    def check(self, picture: VideoFrame) -> None:
        """ClipError for a picture that is too large, whatever the header says."""
        check_size(self._path, picture.width, picture.height)

    def put(self, at: int, picture: VideoFrame) -> None:
        """Make a decoded picture frame ``at``, turned and mirrored as its display matrix says."""
        rgb = self._reformatter.reformat(picture, format="rgb24", **ALONE).to_ndarray()
        self.paint(at, _upright(rgb, picture))

    def paint(self, at: int, image: np.ndarray) -> None:
        """Make an H×W×3 array frame ``at``; ValueError for a size that does not fit the others."""
        if self._geometry is not None:
            image = _fit(image, *self._geometry[1:])
        tall, wide = image.shape[:2]
        if self._array is None:
            check_extent(self._path, self._count, (tall, wide))
            self._array = np.zeros((self._count, 3, tall, wide), np.uint8)
        height, width = self._array.shape[2:]
        if (tall, wide) != (height, width):
            raise ValueError(f"frame {at + 1} is {wide}×{tall}, the first {width}×{height}")
        self._array[at] = image.transpose(2, 0, 1)

    def clip(self) -> Frames:
        """What has been put."""
        return torch.from_numpy(
            np.zeros((0, 3, 0, 0), "u1") if self._array is None else self._array
        )


def _upright(image: np.ndarray, picture: VideoFrame) -> np.ndarray:
    data = picture.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return image
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):  # a quarter turn: rows become columns
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _fit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale to cover height × width, crop about the centre: one antialiased bilinear resampling."""
    tall, wide = image.shape[:2]
    if (tall, wide) == (height, width):
        return image
    scale = max(height / tall, width / wide)
    rows, columns = max(height, round(tall * scale)), max(width, round(wide * scale))
    top, left = (rows - height) // 2, (columns - width) // 2
    box = (
        left * wide / columns,
        top * tall / rows,
        (left + width) * wide / columns,
        (top + height) * tall / rows,
    )
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
