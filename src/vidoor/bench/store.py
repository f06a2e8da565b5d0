"""Results on disk: written whole or not at all, found again by content.

<out>/stages/<stage>-<key>/   what several runs share, such as a trained victim
<out>/<run id>/               one run: recipe.toml, env.json, result.json, scores.npz,
                              frames.npz, report.html; result.json is written last
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vidoor
from vidoor.errors import DataError

RESULT = "result.json"


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; DataError if that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DataError(
            f"{path}: cannot write here ({error.strerror}); choose another folder with --out"
        ) from None
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole: a reader sees the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole, see ``dumps``."""
    write_text(path, dumps(value) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as a compressed npz, whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    partial.replace(path)


def dumps(value: Any) -> str:
    """``value`` as JSON that any language reads: ASCII, and null for what is no number."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def environment() -> dict[str, Any]:
    """What a result was computed on."""
    return {
        "vidoor": vidoor.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
