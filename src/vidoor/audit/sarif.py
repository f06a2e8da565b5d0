"""An audit as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format", 2020), which code
hosts and viewers show.

Clips are given relative to ``CLIPS``, the model to ``MODEL``: both are told once, at the run.
"""

import os
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vidoor.audit.record import Record, document
from vidoor.wording import as_unicode, printable

VERSION = "2.1.0"
SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
UNREADABLE = "unreadable"
MOST = 1000
"""Most results about what is no trigger."""


def log(record: Record) -> dict[str, Any]:
    """The SARIF log of an audit: one run."""
    plain = document(record)
    rules = [_rule(check) for check in plain["checks"]]
    rules.append(
        _text_of(UNREADABLE, "A clip that cannot be read, and so was not judged.", "warning")
    )
    bases = {"CLIPS": {"uri": _folder(record.clips.root)}}
    if record.model:
        bases["MODEL"] = {"uri": _folder(str(Path(record.model["path"]).absolute().parent))}
    index = {rule["id"]: at for at, rule in enumerate(rules)}
    results = [{**result, "ruleIndex": index[result["ruleId"]]} for result in _results(record)]
    driver = {
        "name": "vidoor", "version": plain["vidoor"], "semanticVersion": plain["vidoor"],
        "rules": rules,
    }  # fmt: skip
    invocation = {
        "executionSuccessful": not record.not_done,
        "exitCode": record.verdict.exit,
        "toolExecutionNotifications": [
            {"level": "warning", "message": {"text": text}} for text in _notices(record)
        ],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "originalUriBaseIds": bases,
        "results": results,
        "properties": {"verdict": plain["verdict"]["text"]},
    }
    return {"$schema": SCHEMA_URI, "version": VERSION, "runs": [run]}


def _notices(record: Record) -> list[str]:
    """What a reader of the results has to know."""
    seen = sum(len(one.clips) for one in record.observations)
    out = len(record.clips.quarantined) + len(record.clips.reported)
    told = [f"not done: {name}" for name in record.not_done]
    if out:
        told.append(f"not judged: {out} that are or look like clips")
    if seen > MOST:
        told.append(f"of {seen} things that are no trigger {MOST} are told; audit.json has all")
    return told


def _rule(check: dict[str, Any]) -> dict[str, Any]:
    said = check["calibration"] or check["reason"]
    weak = f"; it does not accuse: {check['weakness']}" if check["weakness"] else ""
    level = "error" if check["accuses"] else "none"
    return _text_of(check["name"], f"Detector {check['kind']}: {said}{weak}.", level)


def _text_of(name: str, text: str, level: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": text},
        "defaultConfiguration": {"level": level},
    }


def _results(record: Record) -> list[dict[str, Any]]:
    """Suspicious clips, then the model, then what cannot be read, then what accuses nobody."""
    model = _artifact(Path(record.model["path"]).name, "MODEL") if record.model else None
    found = [
        _result(s.by[0], "; ".join(s.reasons), [_artifact(s.clip)], "error")
        | {"properties": {"rank": s.rank, "score": s.score, "label": as_unicode(s.label)}}
        for s in record.suspicious
    ]
    found += [
        _result(f.check, f.text, [model], "error")
        for f in record.findings
        if f.level == "model" and model
    ]
    found += [
        _result(UNREADABLE, clip.reason, [_artifact(clip.clip)], "warning")
        for clip in record.clips.quarantined
    ]
    groups = ((seen, group) for seen in record.observations for group in seen.clips)
    notes = [
        _result(seen.check, seen.text, [_artifact(clip) for clip in group], "none", "informational")
        for seen, group in islice(groups, MOST)
    ]
    if model:
        notes += [
            _result(h.check, f"{h.text}; {h.weakness}", [model], "none", "review")
            for h in record.hints
        ]
    return found + notes[:MOST]


def _result(
    rule: str, text: str, places: list[dict[str, Any]], level: str, kind: str = "fail"
) -> dict[str, Any]:
    """A result about the first of ``places``; the others share what is said of it."""
    first, *others = [{"physicalLocation": {"artifactLocation": place}} for place in places]
    about = "\n".join([rule, kind, *(place["uri"] for place in places)])
    return {
        "ruleId": rule,
        "kind": kind,
        "level": level,
        "message": {"text": printable(text)},
        "locations": [first],
        **({"relatedLocations": others} if others else {}),
        "partialFingerprints": {"checkAndClips/v1": sha256(about.encode()).hexdigest()},
    }


def _artifact(path: str, base: str = "CLIPS") -> dict[str, Any]:
    # Percent-encoded bytes: a path may be no text, and a colon in its first step would be a scheme.
    return {"uri": quote(os.fsencode(path)), "uriBaseId": base}


def _folder(path: str) -> str:
    return f"file://{quote(os.fsencode(path)).rstrip('/')}/"
