"""What the paper prints of imperceptibility, to stand beside what we measure: Tables 4 and 6.

Nothing is computed or tested from it. Its other tables and its figures are in ``published``.

Li et al., "Temporal-Distributed Backdoor Attack Against Video Based Action Recognition", AAAI 2024.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from vidoor.report.layout import Column, Mean, Table, Unit, title

Spread: TypeAlias = Mapping[str, float]
"""``min``, ``max``, ``mean`` and ``std`` over the windows of a frame."""

Row: TypeAlias = dict[str, Any]
"""What was measured of one trigger, flat."""

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

STATISTICS = ("min", "max", "mean", "std")
DIGITS = {"psnr": 2, "ssim": 4}
"""Decimals of Table 6; Table 4 has one less."""


def column(trigger: str) -> dict[str, float | None]:
    """Table 6's column of a trigger (its kind, perhaps a comma and a variant), flat:
    ``psnr_min_paper`` and so on; None where the paper has none."""
    return {
        f"{measure}_{name}_paper": columns.get(_kind(trigger), {}).get(name)
        for measure, columns in TABLE_6.items()
        for name in STATISTICS
    }


def table_4(rows: Sequence[Row]) -> Table:
    """Imperceptibility by trigger, the minima of ``table_6``, the paper's beside ours."""
    parts = [(f"{measure}_min", title(measure)) for measure in TABLE_4]
    head = "Table 4: the least PSNR and SSIM in a window of 28×28 pixels"
    return _beside([row | _table_4(row["trigger"]) for row in rows], parts, head, fewer=1)


def _table_4(trigger: str) -> dict[str, float | None]:
    return {f"{m}_min_paper": values.get(_kind(trigger)) for m, values in TABLE_4.items()}


def _kind(trigger: str) -> str:
    """What comes before a comma: behind it a row may say which variant it is."""
    return trigger.partition(",")[0]


def table_6(rows: Sequence[Row], measure: str) -> Table:
    """``psnr`` or ``ssim`` in windows, the paper's beside ours: a line for each trigger.

    ``rows`` are one or more: ``trigger``, ``clips``, and flat figures such as ``psnr_min``, and
    ``psnr_min_paper`` as ``column`` gives them. Where they hold ``wrapped_psnr_min`` it stands
    between the two.
    """
    parts = [(f"{measure}_{name}", name) for name in STATISTICS]
    return _beside(rows, parts, f"Table 6: {title(measure)} in windows of 28×28 pixels")


def _beside(
    rows: Sequence[Row], parts: Sequence[tuple[str, str]], head: str, fewer: int = 0
) -> Table:
    """Columns of ours, of ours in wrapping bytes where there is one, and of the paper's."""
    columns = []
    for field, name in parts:
        places = DIGITS[field.rpartition("_")[0]] - fewer
        columns.append(measured(field, places, name))
        if f"wrapped_{field}" in rows[0]:
            columns.append(measured(f"wrapped_{field}", places, "in uint8"))
        columns.append(measured(f"{field}_paper", places, "paper"))
    n = rows[0]["clips"]
    lines = [[row["trigger"], *(_cell(row[c.field], n) for c in columns)] for row in rows]
    return Table([Column("trigger", "trigger"), *columns], lines, 1, n, head)


def measured(field: str, places: int, name: str | None = None) -> Column:
    """The column of a measurement that is shown with so many decimals."""
    return Column(field, name or title(field), Unit("", 1, f".{places}f"))


def _cell(value: float | None, n: int) -> Mean | None:
    return None if value is None else Mean(value, None, n)
