"""One run as one HTML page that needs no network: the verdict first, the evidence after it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vidoor.errors import VidoorError
from vidoor.files import whole
from vidoor.report import arrays, figures, verdict
from vidoor.report.arrays import Arrays
from vidoor.report.record import PAGE
from vidoor.report.tables import Record, read, read_text

CLIPS = 4
"""Most clips shown as filmstrips."""


def write_page(run_dir: Path) -> Path:
    """Render ``run_dir``/report.html from the run's record and return its path.

    Parts that the record lacks are left out. VidoorError (one line) if the folder has no
    ``result.json``, one of another schema, or a file that cannot be read, or cannot be written to.
    """
    environment = Environment(
        loader=PackageLoader("vidoor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (verdict.percent, verdict.number, verdict.duration, verdict.copies)
    environment.filters.update({word.__name__: word for word in words})
    text = environment.get_template("report.html.j2").render(view(run_dir))
    page = run_dir / PAGE
    # A file name that is not valid UTF-8 reaches us as lone surrogates, which cannot be written.
    _replace(page, text.encode("utf-8", "backslashreplace"))
    return page


def _replace(path: Path, content: bytes) -> None:
    try:
        with whole(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        why = f"{path} cannot be written ({error.strerror})"
        raise VidoorError(f"{why}; make its folder writable and move what is in the way") from error


def view(run_dir: Path) -> dict[str, Any]:
    """All that the template shows."""
    record = read(run_dir)
    scores, frames = (arrays.read(run_dir / f"{name}.npz") for name in ("scores", "frames"))
    judged = [verdict.judge(record, name, scores) for name in _detectors(record)]
    history = record.get("curves") or {}
    curves = figures.curves(history)
    charts = [(one, _chart(f"scores-{place}", one, scores)) for place, one in enumerate(judged)]
    charts = [(one, chart) for one, chart in charts if chart]
    recipe = run_dir / "recipe.toml"
    return {
        "record": record,
        "finding": verdict.finding(record, judged[0] if judged else None),
        "attack": verdict.attack(record),
        "judged": judged,
        "strips": _strips(frames, record),
        "pattern": _pattern(frames),
        "curves": Markup(curves),
        "epochs": _epochs(history),
        "charts": [(one, Markup(chart)) for one, chart in charts],
        "recipe": read_text(recipe) if recipe.exists() else "",
        "environment": record.get("environment") or {},
        "plotly_js": Markup(figures.plotly_js() if curves or charts else ""),
    }


def _detectors(record: Record) -> list[str]:
    """Detector names, the one that the run leads with first."""
    first = (record.get("flagged") or {}).get("detector")
    return sorted(record.get("detectors") or {}, key=lambda name: name != first)


def _chart(div: str, judged: verdict.Judged, scores: Arrays) -> str:
    ids, values = (scores.get(f"{judged.name}.{field}") for field in ("ids", "scores"))
    if ids is None or values is None:
        return ""
    truth = scores.get(f"{judged.name}.poisoned")
    return figures.scores(div, ids.tolist(), values, truth, judged.record.get("threshold"))


def _strips(frames: Arrays, record: Record) -> list[dict[str, Any]]:
    """Per clip its heading and its rows: clean, triggered, and their difference."""
    if "clean" not in frames or "triggered" not in frames:
        return []
    strips = []
    for place, (clean, triggered) in enumerate(
        zip(frames["clean"], frames["triggered"], strict=True)
    ):
        names = {key: str(frames[key][place]) for key in ("ids", "labels") if key in frames}
        difference = triggered.astype(np.float64) - clean
        rows = {
            "clean": clean,
            "triggered": triggered,
            f"difference ×{figures.GAIN}": figures.residual(clean, triggered),
        }
        strips.append({
            "id": names.get("ids", f"clip {place + 1}"),
            "label": names.get("labels", ""),
            "rms": float(np.sqrt(np.mean(difference**2))),
            "frames": figures.chosen(len(clean)),
            "rows": {name: figures.filmstrip(row) for name, row in rows.items()},
        })  # fmt: skip
    return strips[:CLIPS]


def _pattern(frames: Arrays) -> dict[str, Any]:
    """The recovered template and the true pattern as strips, and how well they agree."""
    known = {"recovered": frames.get("template"), "planted": frames.get("pattern")}
    found = {name: volume for name, volume in known.items() if volume is not None}
    agreement = None
    if len({volume.shape for volume in found.values()}) == 1 and len(found) == 2:
        one, other = (volume.astype(np.float64).ravel() for volume in found.values())
        if one.std() and other.std():
            agreement = float(np.corrcoef(one, other)[0, 1])
    rows = {name: figures.filmstrip(figures.grey(volume)) for name, volume in found.items()}
    return {"rows": rows, "agreement": agreement}


def _epochs(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers behind the curves: one row per epoch, for those who cannot see the chart."""
    columns = (
        ("clean", "loss"),
        ("clean", "acc"),
        *(("poisoned", f) for f in ("loss", "acc", "asr")),
    )
    rows: dict[int, dict[str, Any]] = {}
    for model, field in columns:
        for point in history.get(model) or ():
            rows.setdefault(point["epoch"], {})[f"{model} {field}"] = point.get(field)
    return [{"epoch": epoch, **rows[epoch]} for epoch in sorted(rows)]
