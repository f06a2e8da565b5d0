"""Grids against their definition: every combination, in order, and slips refused in one line."""

import copy
import json
import re
import textwrap
import time
import tomllib
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.bench import grid
from vidoor.bench.grid import Setting, expand
from vidoor.errors import RecipeError

BASE = {
    "name": "base",
    "seed": 7,
    "data": {"kind": "shapes", "frames": 8, "size": {"rows": 4, "columns": 5}},
    "trigger": {"kind": "dft", "rms": 2.0, "start": 35},
    "training": {"epochs": 3},
}

# ---- the definition, on documents as flat {path: value}, and random grids to hold against it ----

OPTIONS = ["name", "note", "data.frames", "data.size.rows", "data.size.depth", "data.size.kind"]
OPTIONS += ["training.epochs", "training.lr", "poisoning.rate"]
TRIGGER = st.sampled_from([["trigger"], ["trigger.kind", "trigger.rms"], ["trigger.start"]])
SCALARS = st.integers(-9, 9) | st.sampled_from(["x", "y", "z w"]) | st.just([1, 2])
TABLES = st.fixed_dictionaries({}, optional={"kind": st.sampled_from(["sig", "dct"]), "n": SCALARS})
SEEDS = st.integers(1, 3) | st.lists(st.integers(0, 9), min_size=1, max_size=3)


def flat(table, prefix=()):
    found = {}
    for key, value in table.items():
        path = (*prefix, *key.split("."))
        found |= flat(value, path) if isinstance(value, dict) else {path: value}
    return found


def nested(chosen):
    table = {}
    for path, value in chosen.items():
        at = table
        for name in path[:-1]:
            at = at.setdefault(name, {})
        at[path[-1]] = value
    return table


def applied(chosen):
    """``BASE`` with the chosen {path: value}; a kind clears the table of the base that it is in."""
    told = flat(nested(chosen))
    cleared = [path[:-1] for path in told if path[-1] == "kind"]
    kept = {p: v for p, v in flat(BASE).items() if not any(p[: len(c)] == c for c in cleared)}
    return kept | told


def in_order(axes):
    """Axes as TOML orders them: those of a table stand together, where its first one stands."""
    first = {}
    for place, (path, _) in enumerate(axes):
        for length in range(1, len(path) + 1):
            first.setdefault(path[:length], place)
    return sorted(axes, key=lambda axis: [first[axis[0][: i + 1]] for i in range(len(axis[0]))])


def dotted(path):
    return tuple(".".join(path).split("."))


@st.composite
def axes_of(draw, keys, length=None):
    """An axis for each key, some of whose dots stand in the key itself, as in quoted TOML keys."""
    axes = []
    for key in keys:
        cut = [draw(st.sampled_from([".", "/"])) if c == "." else c for c in key]
        kind = TABLES.filter(bool) if key == "trigger" else SCALARS
        size = length or draw(st.integers(1, 3))
        values = draw(st.lists(kind, min_size=size, max_size=size, unique_by=told))
        axes.append((tuple("".join(cut).split("/")), values))
    return axes


def alternatives(axes):
    """The choices of each axis."""
    return [[{dotted(path): value} for value in values] for path, values in in_order(axes)]


def told(value):
    """A text that is equal for equal values, whatever the order of a table's keys."""
    return json.dumps(value, sort_keys=True)


def united(choices):
    return {path: value for choice in choices for path, value in choice.items()}


@st.composite
def grids(draw):
    """A document with a grid, and the flat settings that the definition makes of it."""
    keys = draw(st.permutations([*OPTIONS, *draw(TRIGGER)]))
    a, b, c = sorted(draw(st.lists(st.integers(0, 6), min_size=3, max_size=3)))
    axes = draw(axes_of(keys[:a]))
    table, choices = nested(dict(axes)), alternatives(axes)
    if a < b:
        axes = draw(axes_of(keys[a:b], draw(st.integers(1, 3))))
        table["zip"] = [nested(dict(axes))]
        choices.append([united(row) for row in zip(*alternatives(axes), strict=True)])
    if b < c:
        names = draw(st.lists(st.sampled_from("uvw"), min_size=1, max_size=3, unique=True))
        arms = {name: draw(axes_of(keys[b:c], 1)) for name in names}
        table["arms"] = {
            name: nested({path: value for path, [value] in axes}) for name, axes in arms.items()
        }
        choices.insert(0, [
            {("arm",): name, **{dotted(path): value for path, [value] in axes}}
            for name, axes in arms.items()
        ])  # fmt: skip
    if draw(st.booleans()):
        seeds = table["seeds"] = draw(SEEDS)
        counted = range(BASE["seed"], BASE["seed"] + seeds) if isinstance(seeds, int) else seeds
        choices.append([{("seed",): seed} for seed in counted])
    found = [applied(united(chosen)) for chosen in product(*choices)]
    if draw(st.booleans()):
        model = draw(st.sampled_from(found))
        paths = draw(st.lists(st.sampled_from(sorted(model)), min_size=1, max_size=2, unique=True))
        rest = [s for s in found if any(p not in s or s[p] != model[p] for p in paths)]
        if rest:
            quoted = draw(st.booleans())
            wanted = {(".".join(path),) if quoted else path: model[path] for path in paths}
            table["exclude"] = [nested(wanted)]
            found = rest
    return {**BASE, "grid": table}, found


@settings(deadline=None, max_examples=300)  # other work on the machine is no fault of the code
@given(grids())
def test_the_settings_are_those_of_the_definition_in_its_order(case):
    document, found = case
    before = copy.deepcopy(document)
    expanded = expand(document)
    assert [flat(setting.document) for setting in expanded] == found
    assert document == before
    assert all("grid" not in setting.document for setting in expanded)
    if len({told(setting.document) for setting in expanded}) == len(found):
        assert len({setting.label for setting in expanded}) == len(found)


# ---- single features -----------------------------------------------------------------------------


def expanded(**table):
    return [setting.document for setting in expand({**BASE, "grid": table})]


def labels(**table):
    return [setting.label for setting in expand({**BASE, "grid": table})]


def test_a_document_without_a_grid_is_its_own_setting():
    assert expand(BASE) == expand({**BASE, "grid": {}}) == [Setting(BASE, "")]
    laid_out = {**BASE, "table": {"rows": ["trigger.kind"]}}
    assert expand(laid_out) == [Setting(BASE, "")], "how results are laid out is no setting"


def test_the_example_of_the_docstring_has_the_settings_that_it_tells_of():
    example = textwrap.dedent(grid.__doc__.split("::\n")[1].split("\nNo key is set")[0])
    found = expand({**BASE, **tomllib.loads(example)})
    # two arms, two rates and two triggers, two zipped rows, five seeds; of one arm, one rate
    assert len(found) == (2 * 2 - 1) * 2 * 2 * 5
    assert found[0].label == "short, poisoning.rate 0.2, dft rms 2.0, " + (
        "data.frames 8, victim.width 16, seed 7"
    )
    assert [s.document["seed"] for s in found[:6]] == [7, 8, 9, 10, 11, 7]
    assert {(s.document["data"]["frames"], s.document["victim"]["width"]) for s in found} == {
        (8, 16),
        (16, 8),
    }


def test_a_table_with_a_kind_replaces_the_method_and_one_without_changes_it():
    found = expanded(trigger=[{"kind": "sig", "delta": 20}, {"rms": 4.0}])
    assert [document["trigger"] for document in found] == [
        {"kind": "sig", "delta": 20},
        {"kind": "dft", "rms": 4.0, "start": 35},
    ]


@pytest.mark.parametrize("keys", [["kind", "rms"], ["rms", "kind"]])
def test_a_kind_and_its_options_may_be_axes_in_any_order(keys):
    values = {"kind": ["dct", "dwt"], "rms": [1.0, 3.0]}
    options = {key: values[key] for key in keys}
    alike = [{"kind": k, "rms": r} for k, r in zip(*values.values(), strict=True)]
    assert [d["trigger"] for d in expanded(zip=[{"trigger": options}])] == alike
    found = [(d["trigger"]["kind"], d["trigger"]["rms"]) for d in expanded(trigger=options)]
    assert sorted(found) == sorted(product(*values.values()))
    arms = {"a": {"trigger": {"rms": 1.0}}}
    found = expanded(arms=arms, trigger=[{"kind": "dct"}, {"kind": "sig"}])
    assert [d["trigger"]["rms"] for d in found] == [1.0, 1.0]


def test_empty_tables_are_values_and_are_told_apart():
    detectors = [{"ac": {}}, {"strip": {}}]
    assert [d["detector"] for d in expanded(detector=detectors)] == detectors
    assert labels(detector=detectors) == ["detector ac", "detector strip"]
    excluded = expanded(detector=detectors, exclude=[{"detector": {"ac": {}}}])
    assert [d["detector"] for d in excluded] == detectors[1:]


def test_seeds_count_up_or_are_listed_and_the_recipes_own_seed_may_be_left_out():
    assert [d["seed"] for d in expanded(seeds=3)] == [7, 8, 9]
    assert [d["seed"] for d in expanded(seeds=[4, 1])] == [4, 1]
    assert [s.document["seed"] for s in expand({"grid": {"seeds": 2}})] == [0, 1]
    assert labels(seeds=2) == ["seed 7", "seed 8"]
    assert labels(seeds=1) == labels(seeds=[3]) == [""]
    assert [d["seed"] for d in expanded(seed=[4, 1])] == [4, 1]
    assert [d["seed"] for d in expanded(arms={"a": {"seed": 3}, "b": {}})] == [3, 7]


def test_several_zips_are_axes_of_their_own():
    found = expanded(zip=[{"a": [1, 2], "b": [3, 4]}, {"c": [5, 6]}])
    assert [(d["a"], d["b"], d["c"]) for d in found] == [(1, 3, 5), (1, 3, 6), (2, 4, 5), (2, 4, 6)]


def test_exclusions_follow_one_another():
    out = [{"a": 1, "b": 1}, {"a": 2}]
    assert [(d["a"], d["b"]) for d in expanded(a=[1, 2], b=[1, 2], exclude=out)] == [(1, 2)]


# ---- slips ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (5, r"grid must be a table, not 5"),
        (
            {"rate": 0.1},
            r"grid\.rate must be a list of one or more values, not 0\.1.*seeds, zip, arms, exclud",
        ),
        ({"a": {"b": 0.1}}, r"grid\.a\.b must be a list of one or more values, not 0\.1$"),
        ({"a": []}, r"grid\.a must be a list of one or more values, not \[\]"),
        ({"table.rows": [["a"]]}, r"no result depends on table\.rows.*; set it in \[table\]"),
        ({"a": {}}, r"grid\.a must be a list of one or more values, not \{\}"),
        ({"zip": {"a": [1]}}, r"grid\.zip must be an array of tables, \[\[grid\.zip\]\], not"),
        ({"zip": [5]}, r"grid\.zip must be a table, not 5"),
        ({"zip": [{}]}, r"equally long: no axis"),
        ({"zip": [{"a": [1]}, {"b": [1, 2], "c.d": [1]}]}, r"long: b has 2, c\.d has 1"),
        ({"zip": [{"a": 1}]}, r"grid\.a must be a list of one or more values, not 1"),
        ({"arms": []}, r"grid\.arms must be a table, not \[\]"),
        ({"arms": {"weak": 1.0}}, r"grid\.arms\.weak must be a table, not 1\.0"),
        ({"exclude": {"a": 1}}, r"grid\.exclude must be an array of tables, \[\[grid\.exclude\]\]"),
        ({"exclude": [{}]}, r"nothing leaves out no setting; check its values"),
        ({"exclude": [{"trigger.rns": 2.0}]}, r"unknown key 'trigger\.rns'.*mean 'trigger\.rms'"),
        ({"exclude": [{"trigger": {"rms": 9}}]}, r"trigger\.rms = 9 leaves out no setting; check"),
        ({"exclude": [{"seed": 7}]}, r"seed = 7 leaves no setting at all; exclude less"),
        ({"a": [1, 2], "exclude": [{"a": 1}, {"a": 1}]}, r"a = 1 leaves out no setting"),
        ({"exclude": [{"seed": 7}, {"name": "x"}]}, r"seed = 7 leaves no setting at all"),
        ({"a": {"b": [1]}, "a.b": [2]}, r"the grid sets a\.b in two places; keep one of them"),
        ({"zip": [{"a": {"b": [1]}, "a.b": [2]}]}, r"sets a\.b in two places"),
        ({"a": [1], "zip": [{"a": [2]}]}, r"sets a in two places"),
        ({"trigger.rms": [1], "trigger": [{"kind": "dft", "rms": 2}]}, r"trigger\.rms in two pl"),
        ({"arms": {"u": {"a": 1}, "v": {}}, "a": [2]}, r"sets a in two places"),
        ({"arms": {"u": {}}, "arm": ["v"]}, r"sets arm in two places"),
        ({"seed": [1], "seeds": 2}, r"sets seed in two places"),
        (
            {"runtime": {"out": ["a"]}},
            r"depends on runtime\.out, so it is no axis; set it in \[run",
        ),
        ({"arms": {"u": {"runtime": {"threads": 2}}}}, r"no result depends on runtime\.threads"),
        ({"a": list(range(400)), "b": list(range(400))}, r"160,000 settings; 100,000 is the most"),
        ({"seeds": 10**12}, r"1,000,000,000,000 seeds; 100,000 is the most"),
    ],
)
def test_what_is_wrong_gets_one_line(table, line):
    with pytest.raises(RecipeError, match=line) as error:
        expand({**BASE, "grid": table})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seeds", [0, -2, True, "3", 1.0, [], ["1"], [True], [1, 2.0], {"a": 1}])
def test_what_are_no_seeds_gets_one_line(seeds):
    line = f"grid.seeds must be a whole number >= 1 or a list of seeds, not {seeds!r}"
    with pytest.raises(RecipeError, match=f"^{re.escape(line)}$"):
        expand({**BASE, "grid": {"seeds": seeds}})


@pytest.mark.parametrize("seed", ["7", 7.0, True])
def test_a_seed_that_cannot_be_counted_up_gets_one_line(seed):
    with pytest.raises(RecipeError, match="seed must be a whole number, not"):
        expand({**BASE, "seed": seed, "grid": {"seeds": 2}})


def test_a_thousand_settings_take_no_time():
    start = time.perf_counter()
    found = expanded(
        **{"trigger.rms": list(range(10)), "training.epochs": list(range(10)), "seeds": 12},
        exclude=[{"seed": 8}, {"seed": 9, "training.epochs": 3}],
    )
    assert len(found) == 1100 - 10
    assert time.perf_counter() - start < 1
