import json
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidoor import SCHEMA
from vidoor.errors import VidoorError
from vidoor.report import figures, tables
from vidoor.report.page import write_page

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"

Write: TypeAlias = Callable[..., Path]


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without the 5 MB of plotly.js, which most tests have no use for."""
    monkeypatch.setattr(figures, "plotly_js", lambda: "/* plotly */")


class Page(HTMLParser):
    """What a browser would see: elements, attributes, and the text outside scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)
        elif self.inside != "style":
            self.words.append(data)

    def values(self, name: str) -> list[str | None]:
        return [value for _, key, value in self.attributes if key == name]


def test_the_page_leads_with_the_verdict_and_holds_every_part(write: Write) -> None:
    folder = write()
    path = write_page(folder)
    assert path == folder / "report.html"
    page = Page(path)
    assert (
        "Backdoor found The training clips carry a backdoor. 280 of 1,600 clips share" in page.text
    )
    assert "280 of 280 planted clips found, 0 false alarms." in page.text
    assert "accuracy 97.5 % against 98.0 % clean, but 100 % of triggered" in page.text
    for part in (
        "What the trigger looks like", "right/0012.mp4", "Correlation of the two: 0.",
        "Training", "1 min 15 s J 580", "7 groups of near-duplicate clips: up/0.mp4 and up/0 (1)",
        "and 2 more.", "cross-fitted scores", "16 × 48 × 48", "43.1 dB",
        "up/0007.mp4", "unreadable: moov atom not found", "Clips of one scene",
        'train = 1600 # not "all" & not <none>', "vidoor run recipe.toml", "2.13.0",
        "1 min 41 s",
    ):  # fmt: skip
        assert part in page.text, part
    assert page.text.index("carry a backdoor") < page.text.index("What the trigger looks like")
    assert page.tags["img"] == 4 * 3 + 2


@pytest.mark.usefixtures("light")
def test_mitigations_and_other_triggers_stand_beside_what_they_are_compared_with(
    write: Write, record: Any
) -> None:
    page = Page(write_page(write()))
    assert "none 97.5 % 100 % – – – fine-tuning 97.0 % 90.0 % 400 400 6.5 s" in page.text
    assert "band 20 dft 1.39 41.2 % 2.3 % 37.1 %" in page.text
    record["mitigations"], record["probes"] = {}, {}
    bare = Page(write_page(write(record=record))).text
    assert "Mitigation" not in bare and "Other triggers" not in bare


def test_the_page_asks_no_network_for_anything(write: Write) -> None:
    page = Page(write_page(write()))
    assert not page.tags["link"] and not page.tags["iframe"] and not page.values("href")
    sources = page.values("src")
    assert sources and all(str(source).startswith("data:image/png;base64,") for source in sources)
    policy = page.values("content")
    assert any(str(value).startswith("default-src 'none'; img-src data:;") for value in policy)
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    assert sum("Plotly.newPlot" in script and len(script) < 50_000 for script in page.scripts) == 3


@pytest.mark.usefixtures("light")
def test_the_page_is_accessible(write: Write) -> None:
    page = Page(write_page(write()))
    assert ("html", "lang", "en") in page.attributes
    assert page.tags["h1"] == 1 and page.tags["title"] == 1
    assert len([alt for alt in page.values("alt") if alt]) == page.tags["img"]
    assert page.values("role").count("img") == 3
    assert all(page.values("aria-label"))
    assert page.tags["th"] == page.values("scope").count("col") + page.values("scope").count("row")


@pytest.mark.usefixtures("light")
def test_names_from_files_stay_text(write: Write, record: Any, arrays: Any) -> None:
    benign = Page(write_page(write()))
    frames, scores = arrays
    record["data"]["classes"][0] = record["poisoning"]["target_class"] = ATTACK
    record["data"]["quarantined"] = [{"id": ATTACK, "reason": ATTACK}]
    record["data"]["note"] = record["name"] = record["trigger"]["kind"] = ATTACK
    record["detectors"]["coherence"]["calibration"] = ATTACK
    record["detectors"]["coherence"]["evidence"][ATTACK] = ATTACK
    record["detectors"]["coherence"]["evidence"]["same_footage"] = [[ATTACK, ATTACK]]
    frames["ids"] = frames["labels"] = np.array([ATTACK] * 4)
    scores["inversion.ids"] = np.array([ATTACK, *scores["inversion.ids"][1:]])
    record["environment"] = {"cpu": ATTACK}
    folder = write(recipe=f"name = '{ATTACK}'", frames=frames, scores=scores)
    page = Page(write_page(folder))
    assert page.tags["script"] == benign.tags["script"]
    assert page.tags["img"] == benign.tags["img"]
    assert not page.values("onerror")
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "of triggered clips go to “</script><script>alert(1)" in page.text


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("absent", "heading"),
    [
        ("clean_acc", "against"),
        ("acc", "The poisoned model"),
        ("asr", "Attack success"),
        ("psnr", "PSNR"),
        ("curves", "after each epoch"),
        ("detectors", "AUROC"),
        ("flagged", None),
        ("data", "moov atom"),
        ("trigger", "transform frames"),
        ("poisoning", "Planted clips"),
        ("victim", "123,456"),
        ("seconds", "1 min 41 s"),
        ("name", None),
        ("ssim", "SSIM"),
        ("recipe.toml", "transform_frames"),
        ("environment", "2.13.0"),
        ("frames.npz", "grey levels RMS"),
        ("scores.npz", "scores of"),
    ],
)
def test_what_the_record_lacks_is_left_out(
    write: Write, record: Any, absent: str, heading: str | None
) -> None:
    folder = write()
    if "." in absent:
        (folder / absent).unlink()
    else:
        del record[absent]
        (folder / "result.json").write_text(json.dumps(record))
    page = Page(write_page(folder))
    assert heading is None or heading not in page.text
    assert "None" not in page.text and "nan" not in page.text.split()


@pytest.mark.usefixtures("light")
def test_a_record_of_nothing_but_nulls_makes_a_page(write: Write, record: Any) -> None:
    nulls = dict.fromkeys(record) | {"schema": SCHEMA, "detectors": {"coherence": {}}}
    page = Page(write_page(write(record=nulls)))
    assert "No alarm" in page.text and "None" not in page.text


@pytest.mark.usefixtures("light")
def test_the_least_record_makes_a_page(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(f'{{"schema": {SCHEMA}}}')
    page = Page(write_page(tmp_path))
    assert "Not examined" in page.text
    assert page.tags["script"] == 0 and page.tags["img"] == 0


@pytest.mark.usefixtures("light")
def test_frames_without_names_or_truth_are_shown(write: Write, record: Any, arrays: Any) -> None:
    frames, scores = arrays
    kept = {"clean": frames["clean"][:1], "triggered": frames["triggered"][:1]}
    del scores["coherence.poisoned"]
    page = Page(write_page(write(frames=kept, scores=scores)))
    assert page.tags["img"] == 3 and "clip 1" in page.text
    assert "carry signs of a backdoor" in page.text and "planted clips found" not in page.text


@pytest.mark.usefixtures("light")
def test_the_same_record_gives_the_same_bytes(write: Write) -> None:
    folder = write()
    first = write_page(folder).read_bytes()
    assert write_page(folder).read_bytes() == first


@pytest.mark.usefixtures("light")
def test_a_file_name_that_is_not_unicode_can_be_written(write: Write, record: Any) -> None:
    record["data"]["quarantined"] = [{"id": "caf\udce9.mp4", "reason": "unreadable"}]
    record["detectors"]["coherence"]["evidence"]["same_footage"] = [["caf\udce9", "b"]]
    text = Page(write_page(write())).text
    assert "caf\\udce9.mp4" in text and "caf\\udce9 and b." in text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("result.json", None, "has no result.json"),
        ("result.json", b"{", "is not JSON"),
        ("result.json", b"[]", "has schema None"),
        ("result.json", b'{"schema": 1}', f"has schema 1; this vidoor reads schema {SCHEMA}"),
        ("result.json", b"[" * 100_000, "is not JSON"),
        ("result.json", b'{"schema": %d, "curves": [1]}' % SCHEMA, "is damaged, curves: "),
        (
            "result.json",
            b'{"schema": %d, "acc": 2}' % SCHEMA,
            "is damaged, acc: input",
        ),
        (
            "result.json",
            b'{"schema": %d, "data": {"classes": ["a", 1]}}' % SCHEMA,
            r"data\.classes\.1: ",
        ),
        ("result.json", b'{"schema": %d, "environment": []}' % SCHEMA, "is damaged, environment"),
        ("scores.npz", b"PK\x03\x04 torn", "holds no plain arrays"),
        ("frames.npz", b"\x80\x04.", "holds no plain arrays"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    write: Write, name: str, content: bytes | None, said: str
) -> None:
    folder = write()
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(VidoorError, match=said) as caught:
        write_page(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


def test_pickled_arrays_are_refused(write: Write) -> None:
    folder = write()
    np.savez(folder / "scores.npz", **{"coherence.ids": np.array([{}], dtype=object)})
    with pytest.raises(VidoorError, match="holds no plain arrays"):
        write_page(folder)


@pytest.mark.usefixtures("light")
def test_records_of_before_members_and_cost_are_shown(write: Write, record: Any) -> None:
    del record["detectors"]["coherence"]["cost"]
    record["detectors"]["coherence"]["evidence"] = {"J": 580.0, "members": 270}
    text = Page(write_page(write())).text
    assert "280 of 1,600 clips share one hidden pattern" in text
    assert "– J 580 · members 270" in text and "near-duplicate" not in text


def spots(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON document, but only the first two of a list: the others are alike."""
    items = list(node.items()) if isinstance(node, dict) else []
    items = list(enumerate(node))[:2] if isinstance(node, list) else items
    return [p for key, value in items for p in [(*path, key), *spots(value, (*path, key))]]


DROPPED = "no value at all"
WRONG = [
    DROPPED, None, True, 0, -1, 3, 10**400, 0.5, -1e308, 1e308, float("nan"), float("inf"),
    "", ATTACK, "\udce9", [], [1], [None], [[]], ["a"], [{}], {}, {"a": 1}, {"\udce9": []},
]  # fmt: skip
"""Something of every type for every place, and what breaks sums, sizes, text and markup."""


@pytest.fixture
def folder(write: Write) -> Path:
    return write()


def changed(record: Any, spot: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(record))
    *parents, last = spot
    place = copy
    for key in parents:
        place = place[key]
    if value is DROPPED:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.usefixtures("light")
@settings(
    deadline=None,  # other work on the machine is no fault of the code
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_a_mutated_record_is_shown_or_refused_in_one_line(
    folder: Path, record: Any, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        spot = data.draw(st.sampled_from(spots(record)))
        value = data.draw(st.sampled_from(WRONG))
        record = changed(record, spot, value)
    (folder / "result.json").write_text(json.dumps(record), "utf-8")
    shown_or_refused(folder)


def shown_or_refused(folder: Path) -> None:
    try:
        assert "<h1>" in write_page(folder).read_text(encoding="utf-8")
        rows = tables.flatten(tables.load(folder))
        for form in ("md", "csv", "latex", "json"):
            tables.render(rows, form).encode("utf-8")
            tables.render(rows, form, tables.Query(values=list(rows[0])))
    except VidoorError as error:
        assert "\n" not in str(error) and str(error).encode("utf-8")


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("archive", "name", "array"),
    [
        ("scores", "coherence.ids", np.zeros((2, 2))),
        ("scores", "coherence.scores", np.array(["a"] * 1600)),
        ("scores", "coherence.scores", np.zeros(3)),
        ("scores", "coherence.poisoned", np.zeros(1600)),
        ("frames", "clean", np.zeros((4, 16, 48, 48), np.uint8)),
        ("frames", "clean", np.zeros((4, 0, 48, 48, 3), np.uint8)),
        ("frames", "triggered", np.zeros((3, 16, 48, 48, 3), np.uint8)),
        ("frames", "labels", np.array(["a"])),
        ("frames", "ids", np.array("a")),
        ("frames", "template", np.zeros((0, 2, 2), np.float32)),
    ],
)
def test_arrays_that_cannot_be_drawn_are_refused(
    write: Write, arrays: Any, archive: str, name: str, array: Any
) -> None:
    whole = dict(zip(("frames", "scores"), arrays, strict=True))
    whole[archive][name] = array
    with pytest.raises(VidoorError, match=rf"{archive}\.npz: '[\w.]+' is damaged") as caught:
        write_page(write(**whole))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("light")
def test_the_page_is_replaced_whole_or_not_at_all(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write()
    page = write_page(folder)
    before, names = page.read_bytes(), sorted(folder.iterdir())
    plain = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        plain(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    (folder / "result.json").write_text(f'{{"schema": {SCHEMA}}}', "utf-8")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(VidoorError, match=r"report\.html cannot be written \(No space left"):
        write_page(folder)
    monkeypatch.undo()
    assert page.read_bytes() == before and sorted(folder.iterdir()) == names


@pytest.mark.usefixtures("light")
def test_a_folder_in_the_way_is_one_line(write: Write) -> None:
    folder = write()
    (folder / "report.html").mkdir()
    with pytest.raises(VidoorError, match=r"report\.html cannot be written \(Is a directory\)"):
        write_page(folder)
    assert not list(folder.glob(".*"))
    for name in ("recipe.toml", "result.json"):  # in the order opposite to reading
        (folder / name).unlink()
        (folder / name).mkdir()
        with pytest.raises(VidoorError, match=rf"{name} cannot be read \(Is a directory\)"):
            write_page(folder)
