"""Recipe files as documents: overrides against TOML's own reader, merging, digests."""

import copy
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor import document as documents
from vidoor.document import DEEPEST, digest, merge, override, read
from vidoor.errors import RecipeError

KEYS = st.sampled_from(["a", "b", "c", "kind"])
WORDS = st.text("xy .='\"\\", max_size=4)
VALUES = st.integers() | st.booleans() | WORDS | st.lists(st.integers(), max_size=2)
DOCUMENTS = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=3),
    lambda inner: st.dictionaries(KEYS, VALUES | inner, max_size=3),
    max_leaves=12,
)


def leaves(document, prefix=()):
    """Every value that is no table, and every empty table, by its path."""
    found = {}
    for key, value in document.items():
        inner = isinstance(value, dict) and value
        found |= leaves(value, (*prefix, key)) if inner else {(*prefix, key): value}
    return found


@settings(deadline=None)  # other work on the machine is no fault of the code
@given(DOCUMENTS)
def test_without_overrides_a_file_is_what_toml_says(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("recipe") / "r.toml"
    path.write_bytes(tomli_w.dumps(document).encode())
    assert read(path) == document


@given(DOCUMENTS, st.lists(KEYS, min_size=1, max_size=3), VALUES)
def test_an_override_sets_its_key_and_no_other(document, path, value):
    text = tomli_w.dumps({"value": value}).strip().removeprefix("value = ")
    before = copy.deepcopy(document)
    at = document
    for name in path[:-1]:
        at = at.get(name, {}) if isinstance(at, dict) else at
    if not isinstance(at, dict):
        with pytest.raises(RecipeError, match="is a value, not a table"):
            override(document, [f"{'.'.join(path)}={text}"])
        return
    changed = override(document, [f"{'.'.join(path)} = {text}"])
    assert document == before
    kept = {key: old for key, old in leaves(document).items() if key[: len(path)] != tuple(path)}
    kept = {key: old for key, old in kept.items() if key != tuple(path)[: len(key)]}
    assert leaves(changed) == {**kept, tuple(path): value}


def test_later_overrides_win_and_dates_are_strings_wherever_they_stand(tmp_path: Path):
    assert override({}, ["a.b=1", "a.b=2", "a.c=x y"]) == {"a": {"b": 2, "c": "x y"}}
    (tmp_path / "r.toml").write_text("day = 2024-02-29\n")
    assert read(tmp_path / "r.toml") == override({}, ["day=2024-02-29"]) == {"day": "2024-02-29"}
    assert override({}, ["days=[2024-02-29, 07:30:00]"]) == {"days": ["2024-02-29", "07:30:00"]}


def test_a_second_line_cannot_be_smuggled_in():
    assert override({}, ['name="a"\nseed = 7']) == {"name": '"a"\nseed = 7'}


@pytest.mark.parametrize("text", ["", "a", "=1", "a.=1", ".a=1", "a..b=1", " = 1"])
def test_an_override_of_another_form_is_refused_in_one_line(text):
    with pytest.raises(RecipeError, match="is not of the form key=value") as error:
        override({"a": {}}, [text])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["[x\n", "x = \n", "x = 1\nx = 2\n", "\0", "a = " + "[" * 20_000]
)
def test_a_file_that_is_not_toml_is_named_in_one_line(tmp_path: Path, content):
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(RecipeError, match=r"r\.toml: not valid TOML") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"absent\.toml: cannot be read .*; give a recipe file"):
        read(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"\n')
    with pytest.raises(RecipeError, match="not valid TOML: 'utf-8'"):
        read(tmp_path / "latin.toml")


@pytest.mark.parametrize("depth", [DEEPEST, DEEPEST + 1, 5000])
def test_tables_may_lie_so_deep_and_no_deeper(tmp_path: Path, depth):
    """A dotted key makes as many tables as one likes, and what walks them later would not end."""
    path, text = tmp_path / "r.toml", ".".join(["a"] * depth)
    path.write_text(f"{text} = 1\n")
    if depth <= DEEPEST:
        assert read(path) == tomllib.loads(path.read_text()) == override({}, [f"{text}=1"])
        return
    for attempt in (lambda: read(path), lambda: override({}, [f"{text}=1"])):
        with pytest.raises(RecipeError, match=f"more than {DEEPEST} deep; nest them less"):
            attempt()


# ---- merging -------------------------------------------------------------------------------------


@given(DOCUMENTS, DOCUMENTS)
def test_merging_nothing_changes_nothing_and_twice_is_once(document, changes):
    before = copy.deepcopy((document, changes))
    merged = merge(document, changes)
    assert merge(document, {}) == document
    assert merge({}, changes) == changes
    assert merge(merged, changes) == merged
    assert (document, changes) == before


def expected(document, changes, path):
    """The value at ``path`` of the merged document, found from the definition: the changes' own;
    the document's where no value and no method of the changes stands on the way."""
    told = at(changes, path)
    if told is not None:
        return told
    for length in range(1, len(path) + 1):
        above = at(changes, path[:length])
        if above is not None and not (isinstance(above, dict) and "kind" not in above):
            return None
    return at(document, path)


def at(document, path):
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document


@given(DOCUMENTS, DOCUMENTS)
def test_every_value_of_a_merged_document_is_where_the_definition_says(document, changes):
    merged = merge(document, changes)
    places = [p for p, value in (leaves(document) | leaves(changes)).items() if value != {}]
    for path in places:
        assert at(merged, path) == expected(document, changes, path)
    assert {p for p, value in leaves(merged).items() if value != {}} <= set(places)


def test_a_kind_takes_the_place_of_the_old_method_and_options_alone_do_not():
    document = {"trigger": {"kind": "dft", "rms": 2.0}, "seed": 3}
    assert merge(document, {"trigger": {"rms": 4.0}}) == {
        "trigger": {"kind": "dft", "rms": 4.0},
        "seed": 3,
    }
    assert merge(document, {"trigger": {"kind": "sig"}}) == {"trigger": {"kind": "sig"}, "seed": 3}
    detectors = {"detector": {"ac": {"kind": "clusters", "k": 2}, "strip": {}}}
    changed = merge(detectors, {"detector": {"ac": {"kind": "spectral"}}})
    assert changed == {"detector": {"ac": {"kind": "spectral"}, "strip": {}}}


@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_parts_of_the_same_changes_are_united_whatever_their_order(document, chance):
    """Be a kind among them or not."""
    parts = [{}, {}]
    for path, value in leaves(document).items():
        at = chance.choice(parts)
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = value
    assert merge(*parts, methods=False) == merge(*reversed(parts), methods=False) == document
    deep = {"detector": {"ac": {"k": 2}}}, {"detector": {"ac": {"kind": "clusters"}}}
    assert merge(*deep, methods=False) == {"detector": {"ac": {"k": 2, "kind": "clusters"}}}


# ---- digests -------------------------------------------------------------------------------------


@given(DOCUMENTS, DOCUMENTS)
def test_equal_parts_have_equal_digests_and_others_differ(first, second):
    def text(part):
        return json.dumps(part, sort_keys=True)

    turned = dict(reversed(first.items()))
    assert digest(first) == digest(turned)
    assert (digest(first) == digest(second)) == (text(first) == text(second))
    assert digest(first, second) != digest([first, second])


def test_a_digest_is_twelve_hex_digits_the_same_in_every_process():
    told = digest("train", {"seed": 3})
    script = "from vidoor.document import digest; print(digest('train', {'seed': 3}))"
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == told
    assert len(told) == 12
    assert int(told, 16) >= 0


@pytest.mark.parametrize(("name", "value"), [("SCHEMA", 10**6), ("__version__", "none")])
def test_results_of_another_version_never_pass_for_these(monkeypatch, name, value):
    before = digest("x")
    monkeypatch.setattr(documents, name, value)
    assert digest("x") != before
