"""What input detectors share: thresholds from clean clips, and what was fitted, on disk.

A file is safetensors: arrays, and one JSON text about them. Nothing in it is ever run.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidoor.errors import DataError
from vidoor.files import whole
from vidoor.registry import name_of

KEY = "vidoor"
"""The entry of the file's metadata that holds the text."""


def threshold_at(clean: Float[Tensor, " n"], fpr: float) -> float:
    """The least score of a clean clip above which a further clean one comes at a rate <= ``fpr``.

    By exchangeability that is the ⌈(1 − fpr)(n + 1)⌉-th from below (Vovk et al. 2005, conformal
    prediction); the highest one where n is too small for that.
    """
    rank = ceil((1 - fpr) * (len(clean) + 1) - 1e-9)
    return float(np.sort(clean.cpu().numpy())[min(rank, len(clean)) - 1])


def reached(count: int, fpr: float) -> str:
    """The rate that ``threshold_at`` keeps to on so many clean clips, as a phrase: few show no
    small one."""
    least = 1 / (count + 1)
    return f"FPR {fpr:g}" if fpr >= least else f"FPR 1 in {count + 1:,}, not the {fpr:g} asked for,"


def save(path: Path, detector: Any, arrays: Mapping[str, Tensor], **about: Any) -> None:
    """Write what ``detector`` has fitted, whole, with its name and options beside it."""
    text = json.dumps({**_made_by(detector), "about": about})
    with whole(path) as partial:
        held = {name: array.cpu().contiguous() for name, array in arrays.items()}
        save_file(held, partial, metadata={KEY: text})


def load(path: Path, detector: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays and whatever else was saved for such a detector.

    DataError, one line, if it is no such file or was fitted with other options.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        made_by, about = {key: told[key] for key in ("kind", "options")}, dict(told["about"])
    except Exception as error:  # the reader's errors share no base class
        detail = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: holds no fitted detector ({detail}); fit it again") from None
    wanted = _made_by(detector)
    if made_by != wanted:
        raise DataError(
            f"{path}: was fitted by {made_by['kind']} with {made_by['options']}, not by "
            f"{wanted['kind']} with {wanted['options']}; give the same options, or fit it again"
        )
    return arrays, about


def _made_by(detector: Any) -> dict[str, Any]:
    """Name and options, as JSON has them."""
    options: dict[str, Any] = json.loads(json.dumps(asdict(detector), default=str))
    return {"kind": name_of(detector), "options": options}
