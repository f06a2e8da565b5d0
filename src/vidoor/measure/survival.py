"""What a codec leaves of a trigger: clips written as lossy video, read back, and compared.

A poisoned set reaches its victim as video files, and videos on the web are compressed again. A
codec is not linear: what remains of the trigger is the difference of two decoded clips, the
triggered one and the clean one, and only part of that difference is the trigger. The rest is coding
noise that came out differently, which is why several numbers are reported (``compare``).

A trigger may change clips by what is in them: a warp moves their texture. A codec that smooths the
texture leaves less to move, and the difference of the two decoded clips shrinks though nothing
happened to the warp. So the difference is compared with what the trigger does to the decoded clean
clip, too.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Inexact

from vidoor import metrics
from vidoor.bench.samples import Clips, published, samples
from vidoor.data.transcoding import transcode
from vidoor.progress import track
from vidoor.report.layout import Column, Mean, Table, Unit
from vidoor.types import Frames, Geometry, Trigger

Volume = Float64[np.ndarray, "t c h w"]


class Condition(NamedTuple):
    """How clips are written, see ``data.video.write``."""

    codec: str
    quality: int | None = None
    """CRF or quantiser, smaller is better; None: the codec's usual one."""

    def __str__(self) -> str:
        return self.codec if self.quality is None else f"{self.codec} {self.quality}"


CONDITIONS = (
    Condition("ffv1"),  # lossless: what the numbers are when nothing is lost
    *(Condition("h264", crf) for crf in (18, 23, 28, 35)),
    Condition("mpeg4", 3),
)

SHOWN = {
    "gain": "What is left of the change that the trigger made, as a fraction (gain)",
    "coded_gain": "The same, of the change that it makes in the decoded clip (coded_gain)",
    "correlation": "How much of all that differs is the trigger's change (correlation)",
    "coded_correlation": "How much is the change it makes in the decoded clip (coded_correlation)",
}
"""Numbers that are shown to people, and what stands above them."""

NOTES = {
    "gain": "Mean ± standard deviation over clips.",
    "coded_gain": "It differs from the gain where the change depends on the clip: WaNet moves the "
    "clip's texture, and a codec that smooths it leaves less to move, but the warp is there.",
}

EMBEDDED = 4
"""Embedded clips that are measured."""

_TWO_DIGITS = Unit("", 1, ".2f")


def survival(
    clip: Frames, trigger: Trigger, codec: str, quality: int | None = None
) -> dict[str, float]:
    """What is left of ``trigger`` in ``clip`` after ``codec``, by the names of ``compare``.

    DataError (one line) for an unknown codec or a quality that does not fit it.
    """
    triggered = trigger(clip)
    coded, coded_triggered = (transcode(each, codec, quality) for each in (clip, triggered))
    pattern = _pattern(trigger, clip)
    return compare(clip, triggered, coded, coded_triggered, trigger(coded), pattern)


def compare(
    clean: Frames,
    triggered: Frames,
    coded_clean: Frames,
    coded_triggered: Frames,
    triggered_coded: Frames,
    pattern: Inexact[np.ndarray, "t h w"] | None = None,
) -> dict[str, float]:
    """How much of r = triggered − clean is in d = coded triggered − coded clean.

    ``gain``                   the amplitude of r in d (least squares): ⟨d, r⟩ / ⟨r, r⟩
    ``correlation``            ⟨d, r⟩ / |d||r|: how much of d is the trigger; no mean is taken off
    ``coded_gain``,            the same with ``triggered_coded`` − coded clean instead of r: what
    ``coded_correlation``      the trigger does to the clip after the codec. They differ where the
                               change depends on the clip (a warp), not where it is a pattern
    ``pattern_correlation``    the same of d and the trigger's ``pattern``, where it has one
    ``rms``, ``coded_rms``     RMS of r and of d over all samples, in grey levels
    ``rms_ratio``              the second over the first, hence ``gain`` / ``correlation``
    ``psnr``                   of the coded triggered clip to the clean original, in dB
    ``psnr_to_coded``          of the coded triggered clip to the coded clean one, in dB

    A lossless codec has gains, correlations and ratio 1, exactly. NaN where there is nothing to
    compare: a trigger that changes nothing, or of which nothing is left.
    """
    r, d = _residual(clean, triggered), _residual(coded_clean, coded_triggered)
    found = {}
    for prefix, change in (("", r), ("coded_", _residual(coded_clean, triggered_coded))):
        found[f"{prefix}gain"] = _ratio(_dot(d, change), _dot(change, change))
        found[f"{prefix}correlation"] = _correlation(d, change)
    if pattern is not None:
        found["pattern_correlation"] = _correlation(d, np.broadcast_to(pattern[:, None], d.shape))
    rms, coded_rms = (float(np.sqrt(_dot(v, v) / v.size)) for v in (r, d))
    return {
        **found,
        "rms": rms,
        "coded_rms": coded_rms,
        "rms_ratio": _ratio(coded_rms, rms),
        "psnr": metrics.psnr(clean.numpy(), coded_triggered.numpy()),
        "psnr_to_coded": metrics.psnr(coded_clean.numpy(), coded_triggered.numpy()),
    }


def _residual(clean: Frames, triggered: Frames) -> Volume:
    residual: Volume = np.subtract(triggered.numpy(), clean.numpy(), dtype=np.float64)
    return residual


def _dot(a: Volume, b: Volume) -> float:
    return float(np.einsum("tchw,tchw->", a, b))


def _correlation(a: Volume, b: Volume) -> float:
    return _ratio(_dot(a, b), float(np.sqrt(_dot(a, a) * _dot(b, b))))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _pattern(trigger: Trigger, clip: Frames) -> Inexact[np.ndarray, "t h w"] | None:
    pattern: Callable[[Geometry], Any] | None = getattr(trigger, "pattern", None)
    if pattern is None or getattr(trigger, "varies", False):
        return None
    frames, _, height, width = clip.shape
    volume: Inexact[np.ndarray, "t h w"] = pattern(Geometry(frames, height, width)).volume().real
    return volume


def survey(
    clips: Clips,
    triggers: Mapping[str, Trigger],
    conditions: Sequence[Condition] = CONDITIONS,
) -> list[dict[str, Any]]:
    """A row for each trigger and condition, in this order: ``survival`` averaged over ``clips``.

    A row holds ``trigger`` (its key), ``codec``, ``quality``, ``clips`` (how many), and each number
    of ``compare`` with its sample standard deviation under ``<name>_sd`` (None for one clip). Every
    clean clip is coded once for all triggers.
    """
    found = defaultdict[tuple[str, Condition], list[dict[str, float]]](list)
    total = len(clips) * len(conditions) * len(triggers)
    cells = _cells(clips, triggers, conditions)
    for name, condition, numbers in track(cells, "coding triggered clips", total):
        found[name, condition].append(numbers)
    return [
        {"trigger": name, **condition._asdict(), **_mean(found[name, condition])}
        for name, condition in product(triggers, conditions)
    ]


def _cells(
    clips: Clips, triggers: Mapping[str, Trigger], conditions: Sequence[Condition]
) -> Iterator[tuple[str, Condition, dict[str, float]]]:
    for clip in clips:
        triggered = {name: trigger(clip) for name, trigger in triggers.items()}
        patterns = {name: _pattern(trigger, clip) for name, trigger in triggers.items()}
        for condition in conditions:
            coded = transcode(clip, *condition)
            for name, other in triggered.items():
                again, pattern = triggers[name](coded), patterns[name]
                coded_other = transcode(other, *condition)
                numbers = compare(clip, other, coded, coded_other, again, pattern)
                yield name, condition, numbers


def _mean(numbers: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    columns = {name: [each[name] for each in numbers] for name in numbers[0]}
    row: dict[str, Any] = {"clips": len(numbers)}
    for name, values in columns.items():
        row |= {name: fmean(values), f"{name}_sd": stdev(values) if len(values) > 1 else None}
    return row


def table(rows: Sequence[Mapping[str, Any]], value: str = "gain") -> Table:
    """The rows of ``survey`` as a table of one of its numbers: triggers by conditions.

    ``rows`` are one or more, all of one survey.
    """
    conditions = dict.fromkeys(Condition(row["codec"], row["quality"]) for row in rows)
    cells = {
        (row["trigger"], row["codec"], row["quality"]): Mean(
            row[value], row[f"{value}_sd"], row["clips"]
        )
        for row in rows
    }
    lines = [
        [trigger, *(cells[trigger, *condition] for condition in conditions)]
        for trigger in dict.fromkeys(row["trigger"] for row in rows)
    ]
    columns = [Column(value, str(at), _TWO_DIGITS, f"[{at}]") for at in conditions]
    return Table([Column("trigger", "trigger"), *columns], lines, 1, rows[0]["clips"], value)


def benchmark(clips: Path | None = None) -> dict[str, Any]:
    """``survey`` of the paper's triggers at the paper's size, 32×224×224.

    In the videos of the folder ``clips``, or in four embedded clips.
    """
    found = samples(clips, EMBEDDED)
    rows = survey(found, published())
    return {"rows": rows, "quarantined": list(map(asdict, found.unread))}


def tables(document: Mapping[str, Any]) -> list[Table]:
    """What ``benchmark`` returned, for people: a table for each number of ``SHOWN``."""
    return [
        replace(table(document["rows"], value), head=head, note=NOTES.get(value, ""))
        for value, head in SHOWN.items()
    ]
