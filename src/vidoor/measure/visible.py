"""How visible the paper's triggers are, beside what the paper prints: its Tables 4 and 6.

Li et al. (AAAI 2024, section 4.4 and appendix H) measure on the test clips of UCF-101, which
``clips`` can be. On others the figures of triggers that add a pattern stay nearly the same, and
those of triggers whose change depends on the clip (BadNet, Blend, WaNet) do not.

X and Y are drawn, and the figures of windows depend on the draw. ``draws`` says how much, from the
patterns alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Inexact

from vidoor import imperceptibility, metrics
from vidoor.bench.samples import PAPER, Clips, published, samples
from vidoor.imperceptibility import WINDOW, Clip, Grid
from vidoor.metrics import PEAK, PSNR_FLOOR
from vidoor.progress import track
from vidoor.report import paper
from vidoor.report.layout import Column, Mean, Table, Unit
from vidoor.triggers._spectral import Spectral
from vidoor.triggers.embedding import Pattern
from vidoor.triggers.fttrojan import FTtrojan
from vidoor.types import Geometry, Trigger

EMBEDDED = 8
"""Embedded clips that are measured, one of each of the simple motions."""

DRAWS = 200
"""Seeds over which X and Y (and the matrices of RT) are drawn."""

MEASURED = {
    "dft": {"rms": 1.16, "min": 42.1, "max": 49.0, "mean": 47.1},
    "dct": {"rms": 3.11, "min": 35.1, "max": 42.3, "mean": 39.0},
    "dwt": {"min": 33.3, "max": 36.5, "mean": 33.8},
    "rt": {"rms": 1.87},
}
"""RMS in grey levels and PSNR in windows as another program found them, once: transform, add,
invert, clip and round, in clips and with a draw of its own. Not to be reached, but one of the
draws."""

QUANTILES = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "largest": 1.0}


def benchmark(clips: Path | None = None) -> dict[str, Any]:
    """``survey`` and ``draws`` of the paper's triggers at 32×224×224.

    In the videos of the folder ``clips``, or in eight embedded clips. FTtrojan is measured in both
    readings of its definition (see ``triggers.fttrojan``).
    """
    original = FTtrojan(**FTtrojan.presets["original"])
    triggers = {**published(), "fttrojan, original": original}
    found = samples(clips, EMBEDDED)
    rows = survey(found, triggers)
    return {
        "rows": rows,
        "draws": draws({n: t for n, t in triggers.items() if isinstance(t, Spectral)}, PAPER),
        "quarantined": list(map(asdict, found.unread)),
    }


def survey(clips: Clips, triggers: Mapping[str, Trigger]) -> list[dict[str, Any]]:
    """A row for each trigger, averaged over ``clips``.

    ``trigger``, ``clips`` (how many), ``psnr`` and ``ssim`` of whole clips, ``flicker`` and
    ``relative_flicker``, and of ``psnr``, ``ssim`` and ``wrapped_psnr`` in windows of 28×28 pixels
    the ``_min``, ``_max``, ``_mean`` and ``_std``; ``psnr_min_paper`` and so on is what the paper's
    Table 6 has instead, None where it has nothing.
    """
    return [{"trigger": name, **_row(name, trigger, clips)} for name, trigger in triggers.items()]


def _row(name: str, trigger: Trigger, clips: Clips) -> dict[str, Any]:
    whole: list[dict[str, float]] = []

    def pairs() -> Iterator[tuple[Clip, Clip]]:
        for clip in track(clips, f"measuring {name}", len(clips)):
            clean, other = clip.numpy(), trigger(clip).numpy()
            whole.append(_whole(clean, other))
            yield clean, other

    windows = imperceptibility.localised(pairs())
    means = {key: float(np.mean([each[key] for each in whole])) for key in whole[0]}
    ours = {f"{m}_{key}": value for m, spread in windows.items() for key, value in spread.items()}
    return {"clips": len(whole), **means, **ours, **paper.column(name)}


def _whole(clean: Clip, other: Clip) -> dict[str, float]:
    return {
        "psnr": metrics.psnr(clean, other),
        "ssim": metrics.ssim(clean, other),
        "flicker": imperceptibility.flicker(clean, other),
        "relative_flicker": imperceptibility.relative_flicker(clean, other),
    }


def draws(
    triggers: Mapping[str, Spectral], geometry: Geometry, count: int = DRAWS
) -> list[dict[str, Any]]:
    """How much a trigger's figures depend on its seed: four rows for each, over seeds 0, 1, ….

    ``trigger``, ``measure`` (``rms`` in grey levels; ``min``, ``max`` and ``mean`` over windows of
    the PSNR in dB), the ``QUANTILES``, and ``measured``, see ``MEASURED``.
    """
    rows = []
    for name, trigger in triggers.items():
        found = [_figures(replace(trigger, seed=seed).pattern(geometry)) for seed in range(count)]
        for measure in found[0]:
            levels = np.quantile([each[measure] for each in found], list(QUANTILES.values()))
            rows.append(
                {
                    "trigger": name,
                    "measure": measure,
                    **dict(zip(QUANTILES, levels.tolist(), strict=True)),
                    "measured": MEASURED.get(name, {}).get(measure),
                }
            )
    return rows


def _figures(pattern: Pattern) -> dict[str, float]:
    spread = imperceptibility.spread(pattern_windows(pattern))
    return {"rms": pattern.rms(), **{key: spread[key] for key in ("min", "max", "mean")}}


def pattern_windows(pattern: Pattern, side: int = WINDOW) -> Grid:
    """PSNR in dB of each window if the pattern's real part were added, and no more: neither
    clipped nor rounded. That is what a trigger does to a clip of middle greys, and no clip is
    needed.

    The mean of Re(z)² = (|z|² + Re z²)/2 over a window is separable, as z is.
    """

    def means(power: Inexact[np.ndarray, " n"]) -> Inexact[np.ndarray, " k"]:
        short = min(side, len(power))
        count = len(power) // short
        found: Inexact[np.ndarray, " k"] = power[: count * short].reshape(count, short).mean(1)
        return found

    frames, rows, columns = pattern.frames, pattern.rows, pattern.columns
    size = np.mean(abs(frames) ** 2) * np.outer(means(abs(rows) ** 2), means(abs(columns) ** 2))
    square = np.mean(frames**2) * np.outer(means(rows**2), means(columns**2))
    grid: Grid = 10 * np.log10(PEAK**2 / np.maximum((size + square.real) / 2, PSNR_FLOOR))
    return grid


def tables(document: Mapping[str, Any]) -> list[Table]:
    """What ``benchmark`` returned, for people: Table 4, Table 6, whole clips, draws."""
    rows = document["rows"]
    return [
        paper.table_4(rows),
        paper.table_6(rows, "psnr"),
        paper.table_6(rows, "ssim"),
        _whole_clips(rows),
        _draws(document["draws"]),
    ]


def _whole_clips(rows: Sequence[Mapping[str, Any]]) -> Table:
    digits = {"psnr": 2, "ssim": 4, "flicker": 2, "relative_flicker": 3}
    titles = {"flicker": "flicker, grey levels", "relative_flicker": "of the clip's own motion"}
    columns = [paper.measured(name, places, titles.get(name)) for name, places in digits.items()]
    lines = [
        [row["trigger"], *(Mean(row[name], None, row["clips"]) for name in digits)] for row in rows
    ]
    return Table(
        [Column("trigger", "trigger"), *columns], lines, 1, rows[0]["clips"], "Whole clips"
    )


def _draws(rows: Sequence[Mapping[str, Any]]) -> Table:
    two, titles = Unit("", 1, ".2f"), {"p5": "5 %", "p95": "95 %"}
    columns = [
        Column("trigger", "trigger"),
        Column("measure", "of the pattern"),
        *(Column(name, titles.get(name, name), two) for name in QUANTILES),
        Column("measured", "another program, one draw", two),
    ]
    names = {"rms": "RMS, grey levels", "min": "windows, min (dB)", "max": "max", "mean": "mean"}
    lines = [
        [row["trigger"], names[row["measure"]], *(_one(row[c.field]) for c in columns[2:])]
        for row in rows
    ]
    head = f"Over {DRAWS} draws of X and Y (and of the matrices of rt), neither clipped nor rounded"
    return Table(columns, lines, 2, 1, head)


def _one(value: float | None) -> Mean | None:
    return None if value is None else Mean(value, None, 1)
