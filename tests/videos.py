"""Video files for tests: pictures, an oracle that reads files, and ways to make odd ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def scene(frames: int, height: int = 48, width: int = 64) -> Tensor:
    """A smooth moving picture: every frame differs from every other, and codecs keep it well."""
    t, y, x = np.ogrid[:frames, :height, :width]
    planes = [
        128 + 100 * np.sin(x / 9 + t / 5) + 0 * y,
        128 + 100 * np.cos(y / 7 - t / 6) + 0 * x,
        40 + 2.5 * (t % 60) + 0 * x + 0 * y,
    ]
    return torch.from_numpy(np.stack(planes, 1).clip(0, 255).astype(np.uint8))


def decode(path: Path) -> Tensor:
    """The oracle: PyAV from the first frame to the last, nothing left out."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def encode(
    path: Path,
    clip: Tensor,
    encoder: str,
    pixels: str = "yuv420p",
    times: Iterable[int] = range(999),
    **options: str,
) -> Path:
    """Write a clip in a way that the package itself does not."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[2:], pixels
        for time, frame in zip(times, clip.permute(0, 2, 3, 1).contiguous().numpy(), strict=False):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixels)
            picture.pts = time
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def keep(index: int, packet: Any) -> Any:
    return packet


def remux(
    source: Path, target: Path, change: Any = keep, *, title: str = "", **options: str
) -> Path:
    """Copy the packets to another container; ``change`` may put another one in a packet's place."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        new.metadata["title"] = title
        stream = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(p for p in old.demux(video=0) if p.size):
            changed = change(index, packet)
            changed.stream = stream
            new.mux(changed)
    return target


def replaced(packet: Any, data: bytes) -> Any:
    other = av.Packet(data)
    other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
    other.time_base = packet.time_base
    return other


def jpeg_frames(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """Motion JPEG whose pictures (height, width) are not all of the size that its header gives."""
    packets = []
    for index, (height, width) in enumerate(sizes):
        grey = torch.full((1, 3, height, width), 90, dtype=torch.uint8)
        one = encode(path.with_name(f"{index}.avi"), grey, "mjpeg", "yuvj420p")
        with av.open(str(one)) as container:
            packets += [bytes(packet) for packet in container.demux(video=0) if packet.size]

    def swap(index: int, packet: Any) -> Any:
        return replaced(packet, packets[index])

    first = encode(path.with_name("first.avi"), scene(len(sizes), *sizes[0]), "mjpeg", "yuvj420p")
    return remux(first, path, swap)
