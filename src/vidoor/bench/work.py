"""What a stage is given to do its work with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidoor.recipe import Runtime


@dataclass(frozen=True, slots=True)
class Work:
    """The parts of a stage, the folders of what it needs, its own folder, and where it runs."""

    parts: Mapping[str, Any]
    needs: Mapping[str, Path]
    folder: Path
    runtime: Runtime

    def __getitem__(self, part: str) -> Any:
        return self.parts[part]
