"""From verdicts to findings: what accuses, whom, and why; and what was seen that accuses nobody.

Of a detector's evidence these keys are known, all of them optional:

``groups``        what clips share: mappings with ``kind`` ("trigger", or what else it is), ``why``,
                  ``members`` (clip ids), ``classes``, ``target``, ``J`` and its ``level``
``members``       the clips of the only group, where there are no ``groups``
``same_footage``  groups of clips that are the same film
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

from vidoor.audit.checks import Check
from vidoor.audit.record import Finding, Hint, Observation, Suspect
from vidoor.bench.verdicts import flags
from vidoor.types import ClipSet, Verdict

TRIGGER = "trigger"
COPIES = "same footage"

Verdicts = Mapping[str, Verdict]


class _Group(NamedTuple):
    """Clips that share something."""

    kind: str
    why: str
    members: tuple[str, ...]
    target: str | None
    statistic: float | None
    level: float | None


def _flagged(verdict: Verdict) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(verdict.ids, flags(verdict), strict=True) if flag)


def _groups(verdict: Verdict) -> list[_Group]:
    """What the detector found the clips to share; of an alarm without any, what it flagged."""
    evidence = verdict.evidence
    told = [
        _Group(
            str(group.get("kind", TRIGGER)),
            str(group.get("why", "")),
            tuple(group.get("members", ())),
            _text(group.get("target")),
            _number(group.get("J")),
            _number(group.get("level")),
        )
        for group in evidence.get("groups", ())
        if isinstance(group, Mapping)
    ]
    if verdict.alarm and not any(group.kind == TRIGGER for group in told):
        statistic, level = (_number(evidence.get(key)) for key in ("J", "J_level"))
        told.insert(0, _Group(TRIGGER, "", _flagged(verdict), None, statistic, level))
    return told


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def accused(checks: Sequence[Check], verdicts: Verdicts) -> dict[str, list[str]]:
    """The clips that are accused, and by which checks."""
    found: dict[str, list[str]] = {}
    for check, verdict in _made(checks, verdicts):
        if check.accuses and check.level == "dataset" and verdict.alarm:
            groups = [group.members for group in _groups(verdict) if group.kind == TRIGGER]
            for clip in dict.fromkeys(clip for members in groups for clip in members):
                found.setdefault(clip, []).append(check.name)
    return found


def _made(checks: Sequence[Check], verdicts: Verdicts) -> list[tuple[Check, Verdict]]:
    return [(check, verdicts[check.name]) for check in checks if check.name in verdicts]


def findings(checks: Sequence[Check], verdicts: Verdicts, clips: ClipSet) -> list[Finding]:
    """What the alarms of detectors that accuse say, a finding for each trigger or class."""
    found = []
    for check, verdict in _made(checks, verdicts):
        if not (check.accuses and verdict.alarm):
            continue
        if check.level == "model":
            found += [_of_class(check, verdict, name) for name in _flagged(verdict)]
        else:
            groups = [group for group in _groups(verdict) if group.kind == TRIGGER]
            found += [_of_group(check, verdict, group, clips) for group in groups]
    return found


def _of_class(check: Check, verdict: Verdict, name: str) -> Finding:
    score = verdict.scores[verdict.ids.index(name)]
    text = (
        f"the model has a shortcut to class “{name}”: it takes conspicuously little to send clips "
        f"there ({score:.3g}, above {verdict.threshold:.3g})"
    )
    return Finding(
        check=check.name, level="model", text=text, classes=(name,), statistic=float(score),
        at=_finite(verdict.threshold), calibration=verdict.calibration,
    )  # fmt: skip


def _of_group(check: Check, verdict: Verdict, group: _Group, clips: ClipSet) -> Finding:
    labels = _labels(group.members, clips)
    count = len(group.members)
    carry = "carries" if count == 1 else "carry"
    text = f"{count:,} of {len(clips):,} clips {carry} one hidden pattern{_where(labels, clips)}"
    return Finding(
        check=check.name, level="dataset", text=text, clips=count,
        classes=tuple(labels), target=group.target, statistic=group.statistic, at=group.level,
        why=group.why, calibration=verdict.calibration,
    )  # fmt: skip


def _labels(members: Sequence[str], clips: ClipSet) -> Counter[str]:
    """How many of the members are labelled as what, the most frequent class first."""
    label = dict(zip(clips.ids, clips.labels, strict=True))
    counts = Counter(clips.classes[label[clip]] for clip in members if clip in label)
    return Counter(dict(counts.most_common()))


def _where(labels: Counter[str], clips: ClipSet) -> str:
    if len(clips.classes) < 2 or not labels:
        return ""
    name, count = labels.most_common(1)[0]
    whole = "all" if count == labels.total() else f"{count:,}"
    return f", {whole} of them labelled “{name}”"


def observations(checks: Sequence[Check], verdicts: Verdicts) -> list[Observation]:
    """What clips share that is no trigger, named for what it is."""
    seen = []
    for check, verdict in _made(checks, verdicts):
        kinds: dict[str, list[_Group]] = {}
        for group in _groups(verdict):
            if group.kind != TRIGGER:
                kinds.setdefault(group.kind, []).append(group)
        for kind, alike in kinds.items():
            members = tuple(group.members for group in alike)
            seen.append(Observation(check.name, kind, _shared(kind, alike), members))
        copies = tuple(tuple(map(str, one)) for one in verdict.evidence.get("same_footage", ()))
        if copies:
            noun = "group" if len(copies) == 1 else "groups"
            text = (
                f"{sum(map(len, copies)):,} clips show the same footage as another, in "
                f"{len(copies):,} {noun}; no trigger"
            )
            seen.append(Observation(check.name, COPIES, text, copies))
    return seen


def _shared(kind: str, alike: Sequence[_Group]) -> str:
    """What clips share, as a sentence."""
    article = "an" if kind[:1] in "aeiou" else "a"
    if len(alike) == 1:
        why = f": {alike[0].why}" if alike[0].why else ""
        return f"{_clips(len(alike[0].members))} share {article} {kind}{why}; no trigger"
    count = len({clip for group in alike for clip in group.members})
    return f"{len(alike)} groups of clips share {article} {kind} each, {count:,} in all; no trigger"


def hints(checks: Sequence[Check], verdicts: Verdicts) -> list[Hint]:
    """Alarms that accuse nobody, and why not."""
    return [
        Hint(check.name, f"{check.name} flags {_flags(check, verdict)}", check.weakness)
        for check, verdict in _made(checks, verdicts)
        if verdict.alarm and not check.accuses
    ]


def _flags(check: Check, verdict: Verdict) -> str:
    named = _flagged(verdict)
    if check.level == "model":
        return "class " + ", ".join(f"“{name}”" for name in named)
    return _clips(len(named))


def suspects(
    checks: Sequence[Check], verdicts: Verdicts, clips: ClipSet, splits: Mapping[str, str]
) -> list[Suspect]:
    """The accused clips, the most suspicious first, each with reasons."""
    told, reasons = accused(checks, verdicts), _reasons(checks, verdicts)
    scores = {
        check.name: dict(zip(verdict.ids, verdict.scores, strict=True))
        for check, verdict in _made(checks, verdicts)
    }
    label = dict(zip(clips.ids, clips.labels, strict=True))
    ranked = sorted(
        (clip for clip in told if clip in label),
        key=lambda clip: (-scores[told[clip][0]][clip], clip),
    )
    return [
        Suspect(
            rank=rank,
            clip=clip,
            label=clips.classes[label[clip]],
            split=splits[clip],
            score=float(scores[told[clip][0]][clip]),
            by=tuple(told[clip]),
            reasons=tuple(reasons[clip]),
        )
        for rank, clip in enumerate(ranked, start=1)
    ]


def _reasons(checks: Sequence[Check], verdicts: Verdicts) -> dict[str, list[str]]:
    """Why each clip is suspicious: what accuses it first, then what else speaks against it."""
    main: dict[str, list[str]] = defaultdict(list)
    more: dict[str, list[str]] = defaultdict(list)
    for check, verdict in _made(checks, verdicts):
        if check.level == "model" or not verdict.alarm:
            continue
        score = dict(zip(verdict.ids, verdict.scores, strict=True))
        for clip in () if check.accuses else _flagged(verdict):
            more[clip].append(f"{check.name}: flagged as well ({score[clip]:.3g})")
        for group in _groups(verdict) if check.accuses else ():
            others = len(group.members) - 1
            fits = f"{check.name}: shares a pattern with {_clips(others, 'other')}"
            for clip in group.members if group.kind == TRIGGER else ():
                above = f"{score.get(clip, inf):.3g}, above {verdict.threshold:.3g}"
                main[clip].append(f"{fits} ({above})")
    return {clip: [*told, *more[clip]] for clip, told in main.items()}


def _clips(count: int, what: str = "clip") -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
