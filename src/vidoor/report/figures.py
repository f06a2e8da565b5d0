"""Pictures of a run: filmstrips as PNG data URIs, curves and score histograms as plotly divs.

Nothing here fetches anything: the page embeds plotly.js once (``plotly_js``) and each chart is a
div that finds it there. Text from records is untrusted, and plotly reads a subset of HTML in its
labels, so every such text goes through ``_label``.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image
from plotly.offline import get_plotlyjs

Array: TypeAlias = NDArray[Any]

FRAMES = 8
"""Most frames in a strip."""

GAIN = 10
"""How much a difference between two clips is amplified."""

CLEAN, PLANTED, EXTRA = "#3b87bd", "#d0553d", "#8a8378"
"""Middle tones: 3:1 or better against both the light and the dark page."""

BINS = 40
FEW = 24
"""Up to so many judged things (classes, say) are drawn one by one, not binned."""


def chosen(frames: int) -> list[int]:
    """Up to ``FRAMES`` evenly spaced frame numbers of ``frames``, first and last among them."""
    return [round(place) for place in np.linspace(0, frames - 1, min(FRAMES, frames)).tolist()]


def residual(clean: Array, triggered: Array) -> Array:
    """``GAIN`` × (triggered − clean) around mid-grey 128, uint8 [T, H, W, 3]."""
    difference = triggered.astype(np.int32) - clean.astype(np.int32)
    return np.clip(128 + GAIN * difference, 0, 255).astype(np.uint8)


def grey(pattern: Array) -> Array:
    """A signed float volume [T, H, W] as uint8 grey levels, zero at 128.

    Full scale is the 99.5th percentile of the magnitude: a spectral trigger has one peak a hundred
    times its RMS, and scaled to that peak it would look empty.
    """
    pattern = np.nan_to_num(pattern.astype(np.float64), posinf=0.0, neginf=0.0)
    scale = np.quantile(np.abs(pattern), 0.995) or np.abs(pattern).max() or 1.0
    return np.clip(128 + 127 * pattern / scale, 0, 255).round().astype(np.uint8)


def filmstrip(clip: Array) -> str:
    """The PNG data URI of one row of frames, see ``strip``."""
    return "data:image/png;base64," + base64.b64encode(png(strip(clip))).decode("ascii")


def strip(clip: Array) -> Array:
    """One row of frames as RGBA from uint8 [T, H, W, 3] or grey [T, H, W].

    Small frames are enlarged by a whole factor without interpolation, so that a pixel stays one.
    """
    if clip.ndim == 3:
        clip = np.repeat(clip[..., None], 3, axis=-1)
    frames = clip[chosen(len(clip))]
    factor = max(1, round(144 / max(frames.shape[1:3])))
    frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = frames.shape
    gap = max(2, width // 36)
    row = np.zeros((height, count * (width + gap) - gap, 4), np.uint8)
    for position, frame in enumerate(frames):
        left = position * (width + gap)
        row[:, left : left + width, :3] = frame
        row[:, left : left + width, 3] = 255
    return row


def png(image: Array) -> bytes:
    """A PNG of uint8 [H, W, 3] or, with opacity, [H, W, 4]."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def plotly_js() -> str:
    """The source of plotly.js, for the one script element that holds it."""
    return str(get_plotlyjs())


def curves(history: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The div of ACC and ASR per epoch (the paper's Fig. 6), or "" if nothing was recorded."""
    lines = (
        ("clean", "acc", "ACC, clean model", CLEAN, "solid", "circle"),
        ("poisoned", "acc", "ACC, poisoned model", EXTRA, "dash", "square"),
        ("poisoned", "asr", "ASR, poisoned model", PLANTED, "solid", "diamond"),
    )
    figure = go.Figure()
    for model, field, name, colour, dash, symbol in lines:
        points = [p for p in history.get(model) or () if p.get(field) is not None]
        if points:
            figure.add_scatter(
                x=[p["epoch"] for p in points],
                y=[100 * p[field] for p in points],
                name=name,
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2.5},
                marker={"symbol": symbol, "size": 8},
                hovertemplate="%{y:.1f} %",
            )
    if not figure.data:
        return ""
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(title_text="epoch", tickformat="d")
    figure.update_yaxes(title_text="test clips, %", range=[-3, 103])
    return _div(figure, "curves")


def scores(
    div: str,
    ids: Sequence[str],
    values: Array,
    planted: Array | None = None,
    threshold: float | None = None,
) -> str:
    """The div of one detector's scores with its threshold; "" if no score is finite.

    ``values`` is float [n]; ``planted`` bool [n] is the truth where it is known. Up to ``FEW``
    things are drawn one bar each. More are binned, and each group is drawn as a share of itself:
    five planted clips stay visible beside thousands of clean ones.
    """
    finite = np.isfinite(values)
    if not finite.any():
        return ""
    limit = threshold if threshold is not None and np.isfinite(threshold) else None
    figure = go.Figure()
    single = len(ids) <= FEW
    for name, members, colour, shape in _groups(planted, len(ids)):
        bars = _single(ids, values, members) if single else _binned(values, members & finite, limit)
        marker = {"color": colour, "pattern": {"shape": shape, "size": 6, "fillmode": "overlay"}}
        if members.any():
            figure.add_bar(name=f"{name} ({members.sum():,})", marker=marker, opacity=0.85, **bars)
    figure.update_layout(barmode="overlay", bargap=0.3 if single else 0)
    if single:
        names = [_label(name) for name in ids]
        figure.update_xaxes(tickvals=list(range(len(ids))), ticktext=names)
    else:
        figure.update_xaxes(title_text="score (higher is more suspicious)")
    figure.update_yaxes(title_text="score" if single else "share of its group, %")
    if limit is not None:
        _threshold(figure, limit, horizontal=single)
    return _div(figure, div)


def _threshold(figure: go.Figure, limit: float, *, horizontal: bool) -> None:
    line = figure.add_hline if horizontal else figure.add_vline
    text = {"annotation_text": f"threshold {limit:.3g}", "annotation_position": "top right"}
    line(limit, line_dash="dash", line_width=1.5, annotation_xshift=0 if horizontal else 4, **text)


def _groups(planted: Array | None, count: int) -> list[tuple[str, Array, str, str]]:
    if planted is None:
        return [("judged", np.ones(count, bool), CLEAN, "")]
    truth = planted.astype(bool)
    return [("clean", ~truth, CLEAN, ""), ("planted", truth, PLANTED, "/")]


def _single(ids: Sequence[str], values: Array, members: Array) -> dict[str, Any]:
    picked = [i for i in range(len(ids)) if members[i]]
    return {
        "x": picked,
        "y": [float(values[i]) if np.isfinite(values[i]) else None for i in picked],
        "customdata": [_label(ids[i]) for i in picked],
        "hovertemplate": "%{customdata}: %{y:.4g}",
    }


def _binned(values: Array, members: Array, limit: float | None) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    span = finite if limit is None else np.append(finite, limit)
    edges = np.histogram_bin_edges(span, BINS)
    counts, _ = np.histogram(values[members], edges)
    return {
        "x": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "width": np.diff(edges).tolist(),
        "y": (100 * counts / max(1, counts.sum())).tolist(),
        "customdata": counts.tolist(),
        "hovertemplate": "score %{x:.3g}: %{customdata} clips, %{y:.1f} %",
    }


def _label(text: str, length: int = 28) -> str:
    """Untrusted text as plotly may show it: shortened, and inert as markup."""
    return escape(text if len(text) <= length else text[: length - 1] + "…", quote=False)


def _div(figure: go.Figure, div: str) -> str:
    figure.update_layout(
        template="none",
        height=340,
        margin={"l": 60, "r": 16, "t": 48, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": EXTRA},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
    )
    figure.update_xaxes(showgrid=False, zeroline=False, showline=True, ticks="outside")
    figure.update_yaxes(showgrid=True, zeroline=False, gridcolor="rgba(128,128,128,0.25)")
    config = {"responsive": True, "displayModeBar": False}
    html = figure.to_html(full_html=False, include_plotlyjs=False, div_id=div, config=config)
    return str(html)
