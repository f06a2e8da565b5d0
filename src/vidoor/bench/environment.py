"""What a result was computed on."""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vidoor


def environment(device: str) -> dict[str, Any]:
    """Versions, processor and threads of this process, and its GPU unless ``device`` is "cpu"."""
    gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "vidoor": vidoor.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if gpu else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
