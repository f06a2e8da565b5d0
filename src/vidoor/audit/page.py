"""An audit as one HTML page that needs no network: verdict, clips, pattern, cost."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from vidoor.report import verdict
from vidoor.wording import printable

THUMBNAILS = 24
"""Most clips that are shown with a picture."""

ROWS = 500
"""Most clips that the table lists; the CSV has all."""

SIDE, QUALITY = 160, 70
"""Of a thumbnail: longest side in pixels, JPEG quality."""

HEADS: Mapping[str, tuple[str, str, str]] = {
    "findings": ("alarm", "Findings", "There are signs of a backdoor."),
    "clean": ("clear", "Nothing found", "No sign of a backdoor was found."),
    "unfinished": ("warn", "Not finished", "The audit is not finished."),
}
"""Tone, label and headline for each outcome."""

CAPTIONS: Mapping[str, str] = {
    "template": "What the suspicious clips share, recovered from the clips alone",
    "perturbation": "What sends clips to the class: it activates the backdoor and need not look "
    "like the trigger",
}


def render(
    record: Mapping[str, Any], patterns: Mapping[str, str], thumbnails: Sequence[str]
) -> bytes:
    """The page. ``record`` is the audit as a document, ``patterns`` filmstrips as data URIs,
    ``thumbnails`` data URIs of the first suspicious clips, empty where there is none."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("vidoor.audit"), PackageLoader("vidoor.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (verdict.percent, verdict.number, verdict.duration)
    environment.filters.update({word.__name__: word for word in words})
    tone, label, headline = HEADS[record["verdict"]["status"]]
    shown = list(zip(record["suspicious"], thumbnails, strict=False))
    text = environment.get_template("audit.html.j2").render(
        record=record,
        tone=tone,
        label=label,
        headline=headline,
        shown=shown,
        listed=record["suspicious"][:ROWS],
        patterns=[(CAPTIONS[name.partition("_")[0]], uri) for name, uri in patterns.items()],
    )
    return text.encode("utf-8")


def _shown(value: Any) -> Any:
    """Whatever the page shows; what is text may come from anyone."""
    return printable(value) if type(value) is str else value


def thumbnail(frame: NDArray[np.uint8]) -> str:
    """One frame, uint8 [H, W, 3], as the data URI of a small JPEG."""
    picture = Image.fromarray(frame)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
