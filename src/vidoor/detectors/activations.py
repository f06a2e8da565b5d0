"""What a victim makes of clips at some of its layers: one pass, in bounded memory, for everyone.

Activation clustering, spectral signatures and others look at nothing else. ``collect`` streams the
clips through the victim once for all layers that are asked for; ``load`` finds them again.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Float32, Float64, Int, Int64
from torch import Tensor

from vidoor.errors import DataError, VidoorError, WeightsError, unknown
from vidoor.files import make_folder, write_text
from vidoor.meter import metered
from vidoor.progress import track
from vidoor.types import ClipSet, Verdict
from vidoor.victims import _taps
from vidoor.victims.prediction import evaluation_batch
from vidoor.victims.victim import Victim, to_batch

Pool: TypeAlias = Literal["mean", "cls", "flat"]
"""How a layer's output becomes one row for each clip. Maps B×C×T×H×W: ``mean`` over T×H×W. Tokens
B×N×D: their ``mean``, or the first one (``cls``). ``flat``: all numbers. Rows stay as they are,
and several pathways are laid side by side, each pooled for itself."""

POOLS: tuple[Pool, ...] = get_args(Pool)

INDEX = "activations.json"
"""Written last, so that a folder with it is complete."""

SPREAD = 1e-6
"""Least standard deviation of features, relative to their size, that is more than the rounding of
float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Activations:
    """A victim's view of a set at one layer: a row for each clip, in the order of the set."""

    layer: str
    features: Float32[np.ndarray, "n d"]
    logits: Float32[np.ndarray, "n k"]
    labels: Int64[np.ndarray, " n"]
    """The given ones, which may be wrong."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def predicted(self) -> Int64[np.ndarray, " n"]:
        """The class that the victim predicts for each clip."""
        found: Int64[np.ndarray, " n"] = self.logits.argmax(1)
        return found

    def groups(self) -> Iterator[tuple[str, Int[np.ndarray, " m"]]]:
        """The name of each class that has clips, and which clips are labelled so.

        They come in an order that their features alone decide, so that what is made of them does
        not depend on the order of the set, not even in its last bit.
        """
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            keys = [blake2b(np.ascontiguousarray(self.features[i]).data).digest() for i in members]
            order = sorted(range(len(members)), key=keys.__getitem__)
            yield self.classes[label], members[order]


@dataclass(frozen=True, kw_only=True)
class OfActivations(ABC):
    """Options shared by data-set detectors that look at one layer of a victim and nothing else."""

    layer: str | None = None
    """Module whose output is looked at; None: the penultimate one."""

    pool: Pool = "mean"
    """How it becomes one row for each clip: mean, cls or flat, see ``activations.Pool``."""

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ValueError(unknown("pool", self.pool, POOLS))

    @abstractmethod
    def judge(self, found: Activations) -> Verdict:
        """The verdict on clips whose activations are known."""

    def inspect(self, suspects: ClipSet, *, victim: Victim | None = None) -> Verdict:
        """Score the clips by what the victim makes of them, in one pass.

        VidoorError without a victim; else errors as those of ``collect``.
        """
        if victim is None:
            raise VidoorError("this detector looks at a victim's activations; give it the victim")
        with metered() as meter:
            layers = () if self.layer is None else (self.layer,)
            (found,) = collect(victim, suspects, layers, pool=self.pool).values()
            verdict = self.judge(found)
        return replace(verdict, cost=meter.cost)


@torch.no_grad()
def collect(
    victim: Victim,
    clips: ClipSet,
    layers: Sequence[str] = (),
    *,
    pool: Pool = "mean",
    folder: Path | None = None,
) -> dict[str, Activations]:
    """Activations at ``layers`` (none: the penultimate one) by layer, from one pass.

    Rows are kept in memory, or in a ``folder``, which ``load`` reads: memory then does not grow
    with the set. The victim, on whichever device it is, is left as it was. All batches are of one
    size, the last one filled up with copies, since sums may round differently in another size.
    WeightsError for a layer that the victim lacks or that gives no row for each clip, DataError
    for an empty set.
    """
    if not len(clips):
        raise DataError("there are no clips to look at; give some")
    wanted = tuple(dict.fromkeys(layers)) or (victim.penultimate,)
    device = next(victim.parameters()).device
    files = None if folder is None else make_folder(folder)
    if files is not None:
        (files / INDEX).unlink(missing_ok=True)
    kept: dict[str, np.ndarray] = {}
    batches, size = _batches(len(clips), evaluation_batch(clips))
    with evaluating(victim), tapped(victim, wanted, pool) as seen:
        for batch in track(batches, "activations", len(clips), size):
            frames = torch.stack([clips.read(index) for index in batch])
            copies = frames[-1:].expand(size - len(frames), -1, -1, -1, -1)
            seen.clear()
            seen[""] = victim.logits(to_batch(torch.cat([frames, copies]).to(device)))
            for layer in (*wanted, ""):
                rows = _rows(seen, layer, size)[: len(frames)].float().cpu().numpy()
                if not np.isfinite(rows).all():
                    where = f"layer {layer}" if layer else "the output"
                    raise WeightsError(f"{where} gives numbers that are not finite; train it anew")
                if layer not in kept:
                    kept[layer] = _room((len(clips), rows.shape[1]), _file(files, layer))
                kept[layer][batch.start : batch.stop] = rows
    if files is not None:
        for array in kept.values():
            if isinstance(array, np.memmap):
                array.flush()
        about = {"ids": clips.ids, "labels": clips.labels, "classes": clips.classes}
        write_text(files / INDEX, json.dumps({**about, "pool": pool, "layers": wanted}))
    labels = np.asarray(clips.labels, np.int64)
    return {
        layer: Activations(layer, kept[layer], kept[""], labels, clips.ids, clips.classes)
        for layer in wanted
    }


def load(folder: Path) -> dict[str, Activations]:
    """What ``collect`` left in a folder, mapped and not read. DataError if it is not complete."""
    try:
        about = json.loads((folder / INDEX).read_bytes())
        arrays = {
            layer: np.load(_named(folder, layer), mmap_mode="r", allow_pickle=False)
            for layer in (*about["layers"], "")
        }
        labels = np.asarray(about["labels"], np.int64)
        ids, classes = tuple(about["ids"]), tuple(about["classes"])
        return {
            layer: Activations(layer, arrays[layer], arrays[""], labels, ids, classes)
            for layer in about["layers"]
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{folder}: no complete activations ({error}); collect them again"
        ) from None


def _batches(count: int, most: int) -> tuple[list[range], int]:
    """Ranges over ``count`` clips, and their size: few, and the last one hardly shorter."""
    size = ceil(count / ceil(count / most))
    return [range(at, min(at + size, count)) for at in range(0, count, size)], size


def _named(folder: Path, layer: str) -> Path:
    return folder / (f"layer-{layer}.npy" if layer else "logits.npy")


def _file(folder: Path | None, layer: str) -> Path | None:
    return None if folder is None else _named(folder, layer)


def _room(shape: tuple[int, int], file: Path | None) -> np.ndarray:
    if file is None:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(file, "w+", np.float32, shape)


def _rows(seen: Mapping[str, Tensor], layer: str, size: int) -> Tensor:
    if layer not in seen:
        raise WeightsError(f"layer {layer!r} is not run in a forward pass; choose another")
    if len(seen[layer]) != size:
        raise WeightsError(
            f"layer {layer!r} gives {len(seen[layer])} rows for {size} clips; choose one that "
            "works on whole clips"
        )
    return seen[layer]


@contextmanager
def evaluating(victim: Victim) -> Iterator[None]:
    """The victim as it predicts; every part of it is back in its own mode afterwards."""
    modes = [(module, module.training) for module in victim.modules()]
    victim.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def tapped(victim: Victim, layers: Sequence[str], pool: Pool) -> Iterator[dict[str, Tensor]]:
    """Pooled outputs of ``layers`` in the last forward pass; of several in one pass, the first.

    They are pooled at once: what comes next may work in place. WeightsError for unknown layers.
    """
    known = [*victim.stages, victim.penultimate]
    modules = {layer: _taps.module_at(victim.network, layer, known) for layer in layers}
    seen: dict[str, Tensor] = {}

    def see(layer: str, output: Any) -> None:
        if layer not in seen:
            seen[layer] = reduce(output, pool)

    with _taps.hooked(modules, see):
        yield seen


def reduce(output: Any, pool: Pool = "mean") -> Float[Tensor, "b d"]:
    """One row for each clip of a layer's output, see ``Pool``: a tensor, or several of them."""
    if not isinstance(output, Tensor):
        parts = output.values() if isinstance(output, Mapping) else output
        rows = [reduce(part, pool) for part in parts if isinstance(part, Tensor)]
        return torch.cat(rows, 1) if rows else torch.empty(0, 0)
    if pool == "flat" or output.ndim < 3:
        return output.reshape(len(output), -1).clone()
    if output.ndim == 3:
        return output[:, 0].clone() if pool == "cls" else output.mean(1)
    return output.flatten(2).mean(2)


def principal(rows: Float32[np.ndarray, "n d"], count: int) -> Float64[np.ndarray, "n k"]:
    """Centred rows along their first principal directions, those with the most variance first.

    The singular vectors of the centred rows, from the smaller of their two Gram matrices; at most
    ``count``, fewer (or none) where there is no more variance than float32's rounding.
    """
    centred = rows - rows.mean(0, dtype=np.float64)
    n, d = centred.shape
    gram = centred @ centred.T if n <= d else centred.T @ centred
    first = max(0, len(gram) - count)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=[first, len(gram) - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = max(n * (SPREAD * float(np.abs(rows).max())) ** 2, 1e-10 * values[0], 0.0)
    real = values > floor
    if n <= d:
        found: Float64[np.ndarray, "n k"] = vectors[:, real] * np.sqrt(values[real])
    else:
        found = centred @ vectors[:, real]
    return found
