"""The fused kernel: every separable trigger in one pass over the bytes of a clip.

The bases of the paper are linear and separable and its index sets are products F × X × Y, so
perturbing a transform and inverting it adds one fixed rank-one pattern to the clip:

    embed(v) = project(v + a ⊗ b ⊗ c)

No clip is transformed. The bytes are those of float64 arithmetic, hence equal to transform → add →
invert → project in float64 wherever that path is itself defined: where its exact result lies
halfway between two grey levels, its own rounding noise decides, ours does not.

What a pattern does to a byte depends on its position and its value alone. From the second clip of a
geometry on, that is looked up in a table of a few bytes per position (`_kernels`) that gives the
same bytes several times as fast. Making one takes as long as computing a dozen clips, so clips of
ever other sizes are computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Complex128, Inexact, Int8, Int64, UInt8
from torch import Tensor

from vidoor.errors import TriggerError
from vidoor.triggers import _kernels
from vidoor.types import Geometry

Clips = UInt8[Tensor, "*b t c h w"]
"""One clip, or a batch of clips of one geometry."""

Projection = Literal["clip", "stretch"]
"""How v + z becomes a valid clip. For a complex pattern its magnitude is taken first.

``clip`` (paper): clip to 0..255, round half to even. ``stretch`` (the paper's released code): every
frame of every channel is stretched to 0..255 and truncated. It changes a clip without any pattern,
unless all its frames hold both 0 and 255; a frame of one level comes out black.
"""

KEPT = 8
"""Patterns whose tables are kept, the most recently used ones."""

LARGEST_TABLE = 2**22
"""Positions of the largest table, of at most six bytes each; larger clips are computed. The paper's
32×224×224 are 1.6 million."""

SPARE = 64
"""One position in so many of a frame may be left out of its table."""


def geometry_of(clip: Clips) -> Geometry:
    """Of a clip, or of each clip of a batch."""
    frames, _, height, width = clip.shape[-4:]
    return Geometry(frames, height, width)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A rank-one pattern ``frames ⊗ rows ⊗ columns`` in grey levels, alike on every channel.

    All three factors are complex (the clip's magnitude is taken) or all three are real (it is not:
    what falls below 0 is clipped).
    """

    frames: Inexact[np.ndarray, " t"]
    rows: Inexact[np.ndarray, " h"]
    columns: Inexact[np.ndarray, " w"]

    @property
    def geometry(self) -> Geometry:
        """Frames, height and width of the clips that it fits."""
        return Geometry(len(self.frames), len(self.rows), len(self.columns))

    def volume(self) -> Inexact[np.ndarray, "t h w"]:
        """The pattern written out, complex or real."""
        volume: Inexact[np.ndarray, "t h w"] = np.multiply.outer(
            np.outer(self.frames, self.rows), self.columns
        )
        return volume

    def rms(self) -> float:
        """Root mean square of the real part, in grey levels, without writing the volume out."""
        factors = (self.frames, self.rows, self.columns)
        # Re(z)² = (|z|² + Re z²)/2, and both terms are separable.
        power = np.prod([np.mean(np.abs(f) ** 2) for f in factors])
        square = np.prod([np.mean(f**2) for f in factors])
        # Rounding can make a pattern without a real part come out slightly below zero.
        return float(np.sqrt(np.clip((power + square.real) / 2, 0, None)))


class _Table(NamedTuple):
    """What the kernel looks up; t frames, n positions in a frame."""

    computed: Bool[np.ndarray, " t"]
    """Frames that are computed instead."""
    offsets: Int8[np.ndarray, "t n"]
    planes: UInt8[np.ndarray, "k n"]
    """Steps; frame t has the planes first[t] to first[t + 1] - 1."""
    first: Int64[np.ndarray, " t1"]
    odd: Int64[np.ndarray, " m"]
    """Positions that are computed instead; frame t's are first_odd[t] to first_odd[t + 1] - 1."""
    first_odd: Int64[np.ndarray, " t1"]


class _Plan:
    """A pattern made ready for the kernel, and what is kept of it between clips."""

    def __init__(self, pattern: Pattern) -> None:
        self.sheet: Complex128[np.ndarray, "t h"] = np.outer(pattern.frames, pattern.rows) + 0j
        self.columns: Complex128[np.ndarray, " w"] = pattern.columns + 0j
        self.floor = -np.inf if np.iscomplexobj(pattern.frames) else 0.0
        self.used = False

    def __call__(
        self,
        clip: UInt8[np.ndarray, "t c h w"],
        projection: Projection,
        out: UInt8[np.ndarray, "t c h w"],
    ) -> None:
        # The kernels are compiled for contiguous clips; another order costs a copy.
        clip, pattern = np.ascontiguousarray(clip), (self.sheet, self.columns, self.floor)
        if projection == "stretch":
            _kernels.stretch(clip, *pattern, out)
            return
        tabled = self.used and self.sheet.size * len(self.columns) <= LARGEST_TABLE
        _kernels.apply(clip, *pattern, *(self.table if tabled else self.nothing), out)
        self.used = True

    @property
    def nothing(self) -> _Table:
        """The table that looks nothing up."""
        frames = len(self.sheet)
        empty, ends = np.zeros(0, np.int64), np.zeros(frames + 1, np.int64)
        offsets, planes = np.zeros((frames, 0), np.int8), np.zeros((0, 0), np.uint8)
        return _Table(np.ones(frames, bool), offsets, planes, ends, empty, ends)

    @cached_property
    def table(self) -> _Table:
        """One plane of steps for each step that all but 1/SPARE of a frame's positions need."""
        offsets, counts = _kernels.survey(self.sheet, self.columns, self.floor)
        rank = counts.shape[1] - 1 - counts.shape[1] // SPARE
        needed = np.partition(counts, rank, axis=1)[:, rank].astype(np.int64)
        computed = needed > _kernels.MOST_STEPS
        needed[computed] = 0
        first = np.concatenate([[0], np.cumsum(needed)])
        planes = _kernels.fill(self.sheet, self.columns, self.floor, offsets, counts, first)
        frame, odd = np.nonzero((counts > needed[:, None]) & ~computed[:, None])
        first_odd = np.searchsorted(frame, np.arange(len(first)))
        return _Table(computed, offsets, planes, first, odd, first_odd)


_plan = lru_cache(maxsize=KEPT)(_Plan)


def embed(
    clip: Clips, pattern: Pattern, *, projection: Projection = "clip", out: Clips | None = None
) -> Clips:
    """Add ``pattern`` to every channel of one clip or of each clip of a batch, and project.

    The clip may lie in memory in any order and is not modified; the result is contiguous, on the
    clip's device, and is ``out`` where that is given: memory that is used again saves a loader the
    time to obtain it. Away from the CPU the same float64 operations run one by one in torch; each
    is rounded as IEEE 754 says, so the bytes are the same.

    Raises TriggerError if the clip is not of the pattern's geometry, ValueError if ``out`` cannot
    hold the result.
    """
    _check_clip(clip, pattern)
    if out is None:
        out = _empty(clip)
    else:
        _check_out(out, clip)
    plan = _plan(pattern)
    if clip.device.type != "cpu":
        _embed_in_torch(clip, plan, projection, out)
    else:
        for one, into in zip(_clips(clip), _clips(out), strict=True):
            plan(one.numpy(), projection, into.numpy())
    return out


def _check_clip(clip: Tensor, pattern: Pattern) -> None:
    if clip.dtype != torch.uint8 or clip.ndim not in (4, 5):
        raise TriggerError(
            "a trigger needs uint8 clips, frames×channels×height×width or a batch of them, not "
            f"{clip.dtype} of {_sizes(clip.shape)}"
        )
    frames, _, height, width = clip.shape[-4:]
    if pattern.geometry != (frames, height, width):
        raise TriggerError(
            f"the pattern is for {_sizes(pattern.geometry)} clips, not {frames}×{height}×{width}"
        )


def _check_out(out: Tensor, clip: Tensor) -> None:
    same = out.shape == clip.shape and out.dtype == clip.dtype and out.device == clip.device
    shared = out.untyped_storage().data_ptr() == clip.untyped_storage().data_ptr()
    if not (same and out.is_contiguous()) or (shared and out.numel()):
        raise ValueError(
            f"out must be contiguous uint8 of {_sizes(clip.shape)} on {clip.device}, in memory of "
            f"its own; got {out.dtype} of {_sizes(out.shape)} on {out.device}"
        )


def _sizes(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _clips(batch: Tensor) -> tuple[Tensor, ...]:
    return batch.unbind() if batch.ndim == 5 else (batch,)


def _empty(clip: Tensor) -> Tensor:
    """A contiguous result for ``clip``."""
    if clip.device.type != "cpu":
        return torch.empty(clip.shape, dtype=torch.uint8, device=clip.device)
    # numpy asks for large pages, torch does not: four times as fast on fresh memory.
    return torch.from_numpy(np.empty(clip.shape, np.uint8))


def _embed_in_torch(clip: Tensor, plan: _Plan, projection: Projection, out: Tensor) -> None:
    """What the kernels do, on any device, frame by frame, in the same float64 operations."""

    def parts(z: Complex128[np.ndarray, "..."]) -> tuple[Tensor, Tensor]:
        whole = torch.view_as_real(torch.from_numpy(z).to(clip.device))
        return whole[..., 0], whole[..., 1]

    sheet, columns = parts(plan.sheet[:, :, None]), parts(plan.columns)
    for t in range(clip.shape[-4]):
        a, b = sheet[0][t], sheet[1][t]
        real = a * columns[0] - b * columns[1]
        imaginary = a * columns[1] + b * columns[0]
        levels = (clip[..., t, :, :, :].double() + real).clamp_(min=plan.floor)
        # Not addcmul: fused, it would round once where the reference rounds twice.
        levels = (levels * levels + imaginary * imaginary).sqrt_()
        if projection == "stretch":
            low = levels.amin((-2, -1), keepdim=True)
            contrast = levels.amax((-2, -1), keepdim=True) - low
            levels = (255 * (levels - low) / contrast).nan_to_num_(0.0)
        else:
            levels = levels.clamp_(max=255).round_()
        out[..., t, :, :, :] = levels.to(torch.uint8)
