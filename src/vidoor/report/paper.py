"""What the paper prints, to stand beside what we measure. Nothing is computed or tested from it.

Li et al., "Temporal-Distributed Backdoor Attack Against Video Based Action Recognition", AAAI 2024.
"""

from collections.abc import Mapping
from typing import TypeAlias

from vidoor.report.layout import Column, Table, title

Spread: TypeAlias = Mapping[str, float]
"""``min``, ``max``, ``mean`` and ``std`` over the windows of a frame."""

TABLE_4: Mapping[str, Mapping[str, float]] = {
    "psnr": {
        "dft": 41.6, "badnet": 36.3, "blend": 20.2, "sig": 28.7, "wanet": 34.3, "fttrojan": 47.4
    },
    "ssim": {
        "dft": 0.972, "badnet": 0.173, "blend": 0.435, "sig": 0.515, "wanet": 0.842,
        "fttrojan": 0.982,
    },
}  # fmt: skip
"""Imperceptibility by kind of trigger: PSNR in dB, SSIM. The minima of Table 6."""


def _spread(minimum: float, maximum: float, mean: float, std: float) -> Spread:
    return {"min": minimum, "max": maximum, "mean": mean, "std": std}


TABLE_6: Mapping[str, Mapping[str, Spread]] = {
    "psnr": {
        "dft": _spread(41.55, 46.51, 42.87, 1.65),
        "badnet": _spread(36.31, 98.13, 97.16, 7.66),
        "blend": _spread(20.23, 24.51, 22.24, 1.02),
        "sig": _spread(28.72, 30.58, 29.17, 0.4775),
        "wanet": _spread(34.29, 45.08, 38.82, 2.369),
        "fttrojan": _spread(47.42, 48.63, 48.03, 0.3287),
    },
    "ssim": {
        "dft": _spread(0.9715, 0.9882, 0.9834, 0.0045),
        "badnet": _spread(0.1727, 1.0000, 0.9871, 0.1025),
        "blend": _spread(0.4348, 0.9076, 0.7257, 0.1396),
        "sig": _spread(0.5145, 0.8085, 0.715, 0.0855),
        "wanet": _spread(0.8421, 0.9809, 0.9326, 0.029),
        "fttrojan": _spread(0.9824, 0.9958, 0.9907, 0.0036),
    },
}
"""The same in windows of 28×28 pixels, averaged over the test clips (appendix H).

The table's own head has SIG before Blend, and Table 4 has Blend before SIG above the same minima.
Table 4 is followed: the third column spreads like a picture, the fourth like even stripes.
"""

_DIGITS = {"psnr": 2, "ssim": 4}


def table_6(found: Mapping[str, Mapping[str, Spread]], measure: str) -> Table:
    """``psnr`` or ``ssim`` in windows, the paper's beside ours: a line for each trigger.

    ``found`` is, by kind of trigger, what ``imperceptibility.localised`` returns. Rounded as the
    paper rounds.
    """
    statistics = ("min", "max", "mean", "std")
    names = [Column("trigger", "trigger")]
    for name in statistics:
        column = f"{measure}_{name}"
        names += [Column(column, name), Column(column, f"{name}, paper", at="[paper]")]
    lines = []
    for kind, measures in found.items():
        line: list[str | float | None] = [kind]
        for name in statistics:
            theirs = TABLE_6[measure].get(kind, {}).get(name)
            line += [round(measures[measure][name], _DIGITS[measure]), theirs]
        lines.append(line)
    return Table(names, lines, 1, 1, f"{title(measure)} in windows of 28×28 pixels")
