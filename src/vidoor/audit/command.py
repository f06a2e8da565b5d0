"""What ``vidoor audit`` does: from the clips to the record and the files about them."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import vidoor
from vidoor.audit import findings, outputs
from vidoor.audit import model as models
from vidoor.audit import source as sources
from vidoor.audit.checks import Check, plan
from vidoor.audit.record import EXIT, SCHEMA, Checked, Clips, LeftOut, Record, Sentence, Status
from vidoor.audit.work import STAGES, Work, perform
from vidoor.bench import store
from vidoor.bench.engines import ray_workers
from vidoor.bench.environment import environment
from vidoor.bench.verdicts import flags
from vidoor.document import override
from vidoor.errors import DataError, RecipeError, unknown
from vidoor.files import make_folder
from vidoor.options import SEEDS, table
from vidoor.recipe import Runtime
from vidoor.spread import among
from vidoor.types import Geometry, Quarantined

TABLES = ("data", "detector", "victim", "training")
"""What ``--set`` may set, as in a recipe."""

TOLD = 3
"""Most findings that the verdict's sentence names."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be audited, and how. ``minutes``: the budget; None: whatever it takes.
    ``workers``: more than one go through the clips by Ray, at ``address``."""

    clips: Path
    model: Path | None = None
    out: Path | None = None
    kind: str | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None
    minutes: float | None = None
    strict: bool = False
    seed: int = 0
    workers: int = 1
    address: str | None = None
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise RecipeError(f"--budget is {self.minutes:g} minutes; give more than 0")
        if self.seed not in SEEDS:
            raise RecipeError(f"--seed must be in 0..2**63 - 1, not {self.seed}")
        if self.address is not None and self.workers < 2:
            raise RecipeError("--address names a Ray cluster; give --workers 2 or more with it")


def audit(request: Request) -> Record:
    """Audit, and write ``audit.json`` and the other files; the same request again goes on where it
    was. VidoorError, before anything is written, for what cannot be audited."""
    start = time.monotonic()
    try:
        work = _prepare(request)
        make_folder(work.folder)
        with store.locked(work.folder) as ours:
            if not ours:
                raise DataError(f"{work.folder}: another audit works there; give another --out")
            left = request.minutes
            with _workers(request):
                perform(work, None if left is None else max(60 * left - _since(start), 1e-3))
            record = _record(request, work, _since(start))
            outputs.write(record, work)
    except OSError as error:
        raise DataError(f"{error.filename or 'files'}: {error.strerror or error}") from None
    return record


def _since(start: float) -> float:
    return time.monotonic() - start


@contextmanager
def _workers(request: Request) -> Iterator[None]:
    """Whoever goes through the clips: this process, or Ray's."""
    if request.workers == 1:
        yield
        return
    runtime = Runtime(workers=request.workers, address=request.address or "local", device="cpu")
    with ray_workers(runtime) as workers, among(workers):
        yield


def _prepare(request: Request) -> Work:
    """All that can be refused before there is work."""
    options = override({}, request.overrides)
    for key, value in options.items():
        if key not in TABLES:
            raise RecipeError(f"--set: {unknown('table', key, TABLES)}")
        if not isinstance(value, dict):
            raise RecipeError(f"{key} must be a table of options, not {value!r}")
    checks = plan(options.get("detector", {}), model=request.model is not None, seed=request.seed)
    if not request.clips.exists():
        raise DataError(f"{request.clips}: no such file or folder")
    candidates = models.candidates(request.model, options) if request.model else []
    geometries = {told.geometry for told in candidates} - {None}
    source = sources.find(
        request.clips,
        request.kind,
        _data(request, options.get("data", {})),
        geometries.pop() if len(geometries) == 1 else None,
    )
    if candidates and not source.labelled:
        raise DataError(
            f"{request.clips} has no labels, and a model is judged by them; give class folders or "
            "a table of clips, or leave --model out"
        )
    model = None
    if request.model:
        model = models.load(request.model, candidates, len(source.clips.classes))
    for check in checks:
        if check.accuses and hasattr(check.detector, "check"):
            check.detector.check(len(source.clips), source.clips.geometry)
    return Work(source, checks, model, _folder(request, source.root), source.clips)


def _data(request: Request, options: Mapping[str, Any]) -> dict[str, Any]:
    flags: dict[str, Any] = {"strict": True} if request.strict else {}
    if request.frames is not None:
        flags["frames"] = request.frames
    if request.size is not None:
        flags["size"] = list(request.size)
    return {**flags, **options}


def _folder(request: Request, root: Path) -> Path:
    """Where the audit goes; DataError unless it is new, empty or an earlier audit's."""
    named = request.clips.resolve()
    out = request.out or Path(f"audit-{named.stem if named.is_file() else named.name}")
    there = out.resolve()
    if there.is_relative_to(root):
        raise DataError(f"{out} lies in the folder of the clips; give another one with --out")
    if there.exists() and not there.is_dir():
        raise DataError(f"{out} is a file; give a folder with --out")
    found = {entry.name for entry in there.iterdir()} if there.is_dir() else set()
    if not found & {STAGES, outputs.RECORD} and any(name[0] != "." for name in found):
        raise DataError(f"{out} holds what is no audit; give another folder with --out")
    return there


def _record(request: Request, work: Work, seconds: float) -> Record:
    source, found = work.source, findings.findings(work.checks, work.verdicts, work.clips)
    splits = dict(zip(source.clips.ids, source.splits, strict=True))
    checks = tuple(_checked(work, check) for check in work.checks)
    spent = sum((check.cost or {}).get("seconds") or 0.0 for check in checks)
    return Record(
        schema=SCHEMA,
        vidoor=vidoor.__version__,
        verdict=_sentence(work, [finding.text for finding in found]),
        clips=Clips(
            source=str(request.clips),
            root=str(source.root),
            kind=source.kind,
            labelled=source.labelled,
            classes=source.clips.classes,
            geometry=_plain(source.clips.geometry),
            listed=len(source.clips),
            judged=0 if work.kept is None else len(work.clips),
            quarantined=_left_out(work.left_out),
            reported=_left_out(source.reported),
        ),
        model=work.model.about() if work.model else None,
        findings=tuple(found),
        observations=tuple(findings.observations(work.checks, work.verdicts)),
        hints=tuple(findings.hints(work.checks, work.verdicts)),
        suspicious=tuple(findings.suspects(work.checks, work.verdicts, work.clips, splits)),
        checks=checks,
        not_done=tuple(work.undone()),
        seconds={"command": seconds, "checks": spent},
        folder=str(request.out or work.folder.name),
        files=outputs.names(work),
        environment=environment("auto") | {"cores": os.cpu_count()},
    )


def _plain(geometry: Geometry) -> tuple[int, int, int]:
    return geometry.frames, geometry.height, geometry.width


def _left_out(clips: Sequence[Quarantined]) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(clip.id, clip.reason) for clip in clips)


def _checked(work: Work, check: Check) -> Checked:
    about: dict[str, Any] = {
        "name": check.name, "kind": check.kind, "level": check.level, "accuses": check.accuses,
        "weakness": check.weakness, "options": table(check.detector),
    }  # fmt: skip
    verdict = work.verdicts.get(check.name)
    if verdict is None:
        reason = work.impossible.get(check.name)
        if reason is not None:
            return Checked(**about, state="impossible", reason=reason)
        return Checked(**about, state="not done", reason="the budget was spent before it")
    arrays = {name for name, value in verdict.evidence.items() if hasattr(value, "dtype")}
    return Checked(
        **about,
        state="done",
        reason="",
        alarm=verdict.alarm,
        flagged=int(flags(verdict).sum()),
        threshold=float(verdict.threshold),
        calibration=verdict.calibration,
        evidence={key: value for key, value in verdict.evidence.items() if key not in arrays},
        cost=asdict(verdict.cost),
    )


def _why(work: Work, name: str) -> str:
    reason = work.impossible.get(name)
    return name if reason is None else f"{name} ({reason})"


def _sentence(work: Work, found: Sequence[str]) -> Sentence:
    """The verdict in one sentence. What was not finished has cleared nothing."""
    rates = {
        check.name: check.measured
        for check in work.checks
        if check.accuses and check.name in work.verdicts
    }
    by = "; ".join(f"{name}: {rate}" for name, rate in rates.items())
    undone = ", ".join(_why(work, name) for name in work.undone())
    status: Status = "findings" if found else "unfinished" if undone else "clean"
    if status == "findings":
        more = f"; and {len(found) - TOLD} more findings" if len(found) > TOLD else ""
        text = f"Signs of a backdoor: {'; '.join(found[:TOLD])}{more} ({by})"
        text += f"; not done: {undone}" if undone else ""
    elif status == "clean":
        what = f"{len(work.clips):,} clips" + (" and the model" if work.model else "")
        text = f"No sign of a backdoor in {what} ({by})"
    else:
        so_far = f", and nothing so far ({by})" if by else ""
        text = f"Not finished, so nothing is cleared: not done: {undone}{so_far}"
    return Sentence(status, f"{text}.", rates, EXIT[status])
