"""SARIF 2.1.0: the properties that the standard requires, and the rules between them."""

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlparse

from vidoor.audit.record import Checked as C
from vidoor.audit.record import Clips, Finding, Hint, LeftOut, Observation, Record, Sentence
from vidoor.audit.record import Suspect as S
from vidoor.audit.sarif import log
from vidoor.bench.store import dumps

ODD = "a: b/ä %\udcff#.mkv"
"""A colon that looks like a scheme, a space, signs that mean something in URIs, a byte that is no
text."""


def record() -> Record:
    about = {"weakness": "", "reason": "", "options": {}, "state": "done", "calibration": "1 %"}
    weak = {**about, "weakness": "1 in 20"}
    return Record(
        schema="vidoor-audit/1",
        vidoor="0.1.0",
        verdict=Sentence("findings", "Signs.", {}, 1),
        clips=Clips(
            source="clips", root="/some where", kind="folder", labelled=True, classes=("a: b",),
            geometry=(2, 4, 4), listed=3, judged=2,
            quarantined=(LeftOut("a: b/x.mkv", "truncated: half"),), reported=(),
        ),
        model={"path": "/models/m 1.safetensors"},
        findings=(Finding(check="volume-inversion", level="model", text="a shortcut"),),
        observations=(Observation("coherence", "logo", "share a logo", (("1.mkv", "2.mkv"),)),),
        hints=(Hint("nc", "nc flags class “a”", "1 in 20"),),
        suspicious=(
            S(rank=1, clip=ODD, label="a: b", split="train", score=9.5, by=("coherence",),
              reasons=("coherence: shares",)),
        ),
        checks=(
            C(name="coherence", kind="coherence", level="dataset", accuses=True, **about),
            C(name="volume-inversion", kind="volume-inversion", level="model", accuses=True,
              **about),
            C(name="nc", kind="nc", level="model", accuses=False, **weak),
        ),
        not_done=("pt-red",),
        seconds={"command": 1.0},
        folder="out",
        files={},
        environment={},
    )  # fmt: skip


LEVELS, KINDS = {"none", "note", "warning", "error"}, {
    "pass", "open", "informational", "notApplicable", "review", "fail",
}  # fmt: skip


def check(document: dict) -> None:
    """Sections 3.13, 3.14, 3.18, 3.19, 3.20, 3.27, 3.4 and 3.49 of the standard."""
    assert document["version"] == "2.1.0" and document["runs"]
    assert urlparse(document["$schema"]).scheme == "https"
    for run in document["runs"]:
        driver = run["tool"]["driver"]
        assert driver["name"]
        rules = [rule["id"] for rule in driver["rules"]]
        assert len(set(rules)) == len(rules)
        for rule in driver["rules"]:
            assert rule["shortDescription"]["text"]
            assert rule["defaultConfiguration"]["level"] in LEVELS
        for invocation in run["invocations"]:
            assert isinstance(invocation["executionSuccessful"], bool)
            assert all(n["message"]["text"] for n in invocation["toolExecutionNotifications"])
        for base in run["originalUriBaseIds"].values():
            uri = urlparse(base["uri"])
            assert uri.scheme == "file" and base["uri"].endswith("/")
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]
            assert result["message"]["text"]
            assert result["level"] in LEVELS and result["kind"] in KINDS
            assert (result["level"] == "none") is (result["kind"] != "fail")  # 3.27.10
            assert result["locations"]
            assert len(result["locations"]) == 1  # 3.27.12: several are for what all must mend
            assert result["partialFingerprints"]
            for location in [*result["locations"], *result.get("relatedLocations", ())]:
                place = location["physicalLocation"]["artifactLocation"]
                uri = urlparse(place["uri"])
                assert not uri.scheme and not uri.netloc and not uri.fragment and not uri.query
                assert not place["uri"].startswith("/") and place["uri"].isascii()
                assert place["uriBaseId"] in run["originalUriBaseIds"]


def test_the_log_is_valid_and_says_who_is_accused() -> None:
    document = json.loads(dumps(log(record())))
    check(document)
    (run,) = document["runs"]
    told = [(r["ruleId"], r["level"], len(r.get("relatedLocations", ()))) for r in run["results"]]
    assert told == [
        ("coherence", "error", 0), ("volume-inversion", "error", 0), ("unreadable", "warning", 0),
        ("coherence", "none", 1), ("nc", "none", 0),
    ]  # fmt: skip
    notices = run["invocations"][0]["toolExecutionNotifications"]
    assert [notice["message"]["text"] for notice in notices] == [
        "not done: pt-red", "not judged: 1 that are or look like clips",
    ]  # fmt: skip
    many = Observation("coherence", "logo", "share", (("1.mkv", "2.mkv"),) * 1200)
    (run,) = log(replace(record(), observations=(many,)))["runs"]
    assert sum(r["level"] == "none" for r in run["results"]) == 1000
    last = run["invocations"][0]["toolExecutionNotifications"][-1]
    assert last["message"]["text"].startswith("of 1200 things")
    (run,) = document["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote_to_bytes(uri) == ODD.encode("utf-8", "surrogateescape")
    assert run["originalUriBaseIds"] == {
        "CLIPS": {"uri": "file:///some%20where/"}, "MODEL": {"uri": "file:///models/"},
    }  # fmt: skip
    assert run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["exitCode"] == 1


def test_the_log_of_an_audit(finished, planted: set[str]) -> None:
    _, out = finished
    document = json.loads((Path(out) / "audit.sarif").read_text())
    check(document)
    results = document["runs"][0]["results"]
    places = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results]
    assert set(places) == planted and {r["level"] for r in results} == {"error"}
