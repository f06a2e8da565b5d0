"""The form of result.json, as far as pages and tables rely on it.

Any part may be absent or null, and parts that are not named here may hold anything: older and newer
records are shown as far as they go. A value of another type is damage, and is refused.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeGuard

from pydantic import Field, InstanceOf, TypeAdapter, ValidationError

from vidoor.errors import VidoorError

RESULT, PAGE = "result.json", "report.html"
"""The record of a run, and its page."""

RECORDS = "records"
"""Where a sweep that was saved has the records of its runs."""

LARGEST = 1e300
"""Larger numbers than any measurement: their sums overflow."""

Text: TypeAlias = InstanceOf[str]  # pydantic's own strings refuse file names that are not UTF-8
Flag: TypeAlias = Annotated[bool, Field(strict=True)]
Number: TypeAlias = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST)]
Seconds: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=LARGEST)]
Share: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Section: TypeAlias = dict[Any, Any]


def is_number(value: Any) -> TypeGuard[int | float]:
    """Is ``value`` a number that has a mean and an order: finite, of a measurement's size?"""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST


@dataclass(frozen=True)
class _Flagged:
    detector: Text | None = None
    tpr: Share | None = None
    fpr: Share | None = None


@dataclass(frozen=True)
class _Clip:
    id: Text | None = None
    reason: Text | None = None


@dataclass(frozen=True)
class _Data:
    classes: list[Text] | None = None
    train: Count | None = None
    quarantined: list[_Clip] | None = None
    note: Text | None = None


@dataclass(frozen=True)
class _Poisoning:
    poisoned: Count | None = None
    target_class: Text | None = None


@dataclass(frozen=True)
class _Epoch:
    epoch: Count
    loss: Number | None = None
    acc: Share | None = None
    asr: Share | None = None


@dataclass(frozen=True)
class _Curves:
    clean: list[_Epoch] | None = None
    poisoned: list[_Epoch] | None = None


@dataclass(frozen=True)
class _Cost:
    forward: Count | None = None
    backward: Count | None = None
    seconds: Seconds | None = None
    memory: Count | None = None


@dataclass(frozen=True)
class _Detector:
    alarm: Flag | None = None
    threshold: Number | None = None
    calibration: Text | None = None
    flagged: Count | None = None
    tpr: Share | None = None
    fpr: Share | None = None
    auroc: Share | None = None
    evidence: Section | None = None
    cost: _Cost | None = None


@dataclass(frozen=True)
class _Rates:
    asr: Share | None = None


@dataclass(frozen=True)
class _Tested:
    kind: Text | None = None
    rms: Number | None = None


@dataclass(frozen=True)
class _Probe:
    test: _Tested | None = None
    asr: Share | None = None
    control: _Rates | None = None


@dataclass(frozen=True)
class _Mitigation:
    acc: Share | None = None
    asr: Share | None = None
    probes: dict[Any, _Rates] | None = None
    cost: _Cost | None = None


@dataclass(frozen=True)
class _Times:
    total: Seconds | None = None
    train: Seconds | None = None
    detect: Seconds | None = None
    evaluate: Seconds | None = None


@dataclass(frozen=True)
class _Record:
    run_id: Text | None = None
    name: Text | None = None
    arm: Text | None = None
    seed: Annotated[int, Field(strict=True, ge=0)] | None = None
    clean_acc: Share | None = None
    acc: Share | None = None
    asr: Share | None = None
    asr_variant: Text | None = None
    asr_paper: Share | None = None
    psnr: Number | None = None
    ssim: Number | None = None
    flagged: _Flagged | None = None
    data: _Data | None = None
    trigger: Section | None = None
    poisoning: _Poisoning | None = None
    victim: Section | None = None
    curves: _Curves | None = None
    detectors: dict[Any, _Detector] | None = None
    mitigations: dict[Any, _Mitigation] | None = None
    probes: dict[Any, _Probe] | None = None
    seconds: _Times | None = None
    cost: dict[Any, _Cost] | None = None
    environment: Section | None = None
    recipe: Section | None = None


_FORM = TypeAdapter(_Record)


def check(record: Mapping[str, Any], path: Path) -> None:
    """VidoorError, one line, if ``record``, read from ``path``, holds what cannot be shown."""
    try:
        _FORM.validate_python(record)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field, message = ".".join(map(str, problem["loc"])), problem["msg"]
        text = f"{field}: {message[:1].lower()}{message[1:]}, not {reprlib.repr(problem['input'])}"
        line = " ".join(text.encode("utf-8", "backslashreplace").decode("utf-8").split())
        raise VidoorError(f"{path} is damaged, {line}; run its recipe again") from error
