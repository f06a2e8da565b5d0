"""Recipes: what is accepted, what is refused and in which words, and what a run id depends on."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidoor.bench.grid import expand
from vidoor.document import override, read
from vidoor.errors import RecipeError
from vidoor.options import identity, table
from vidoor.recipe import Runtime, document, dumps, parse, run_id

MINIMAL = {
    "data": {"kind": "shapes"},
    "trigger": {"kind": "dft", "rms": 1.16},
    "victim": {"kind": "r2plus1d", "width": 8, "depth": [1, 1]},
}


def test_defaults_are_filled_in_and_written_back():
    recipe = parse(MINIMAL)
    assert recipe.training.epochs == 10
    assert parse(document(recipe)) == recipe


def test_toml_round_trip(tmp_path: Path):
    recipe = parse({**MINIMAL, "detector": {"coherence": {}}})
    path = tmp_path / "r.toml"
    path.write_text(dumps(recipe))
    assert parse(read(path)) == recipe


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["training.epoch=3"], r"\[training\] has an unknown key 'epoch'.*mean 'epochs'"),
        (["traning.epochs=3"], r"unknown key 'traning'.*did you mean 'training'"),
        (["trigger.kind=dff"], r"unknown trigger kind 'dff'; valid: .*dft.*did you mean 'dft'"),
        (["trigger.delta=5.0"], r"exactly one of delta and rms"),
        (["training.epochs=many"], r"training\.epochs: .*integer.*'many'"),
        (["training.epochs='3'"], r"training\.epochs: .*integer"),
        (["poisoning.rate=1.5"], r"rate must be a fraction in \[0, 1\], not 1.5"),
        (["poisoning.target=-1"], r"target must be a class index"),
        (["data=5"], r"data must be a table, not 5"),
        (["data.kind=5"], r"\[data\] needs a kind, a string; valid: .*shapes"),
        (["detector.coherense.fpr=0.1"], r"unknown detector kind 'coherense'.*'coherence'"),
        (["seed=-1"], r"seed must be in 0\.\."),
        (["seed=99999999999999999999"], r"seed must be in 0\.\."),
        (["trigger.seed=-1"], r"seed must be in 0\.\."),
        (["trigger.start=1000000000000"], r"need start in 0\.\."),
        (["trigger.preset=papr"], r"unknown preset 'papr'; valid: .*; did you mean 'paper'"),
        (["runtime.threads=-1"], r"threads and workers must be in"),
        (["seed=x"], r"seed must be a whole number"),
        (["name=3"], r"name must be a string"),
        (["runtime.device=tpu"], r"device must be"),
        (["grid.seeds=0"], r"grid\.seeds must be a whole number >= 1"),
        (["grid.sseds=2"], r"did you mean 'seeds'"),
        (["nonsense"], r"not of the form key=value"),
        (["seed.x=1"], r"override 'seed\.x=1': 'seed' is a value"),
    ],
)
def test_what_is_wrong_gets_one_line(overrides, line):
    with pytest.raises(RecipeError, match=line) as error:
        for setting in expand(override({**MINIMAL, "seed": 0}, overrides)):
            parse(setting.document)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["data", "trigger", "victim"])
def test_missing_tables_are_named(missing):
    with pytest.raises(RecipeError, match=rf"no \[{missing}\] table"):
        parse({key: value for key, value in MINIMAL.items() if key != missing})


def test_files_that_are_no_recipes_are_named(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\n")
    with pytest.raises(RecipeError, match="not valid TOML"):
        read(broken)


def test_run_id_ignores_where_and_sees_what():
    recipe = parse(MINIMAL)
    elsewhere = replace(recipe, runtime=Runtime(out=Path("other"), device="cpu"))
    assert run_id(elsewhere) == run_id(recipe)
    for change in ("seed=1", "trigger.rms=1.17", "training.epochs=11", "poisoning.rate=0.1"):
        assert run_id(parse(override(MINIMAL, [change]))) != run_id(recipe)


def test_a_method_that_was_revised_is_another_method(monkeypatch: pytest.MonkeyPatch):
    recipe = parse({**MINIMAL, "detector": {"spectral-signatures": {}}})
    detector = recipe.detector["spectral-signatures"]
    known = run_id(recipe), identity(detector)
    assert known[1] == table(detector)
    monkeypatch.setattr(type(detector), "revision", 2, raising=False)
    assert run_id(recipe) != known[0]
    assert identity(detector) == {**table(detector), "revision": 2}


@pytest.mark.parametrize("group", ["detector", "mitigation"])
def test_a_revision_counts_though_another_method_has_the_same_name(
    group: str, monkeypatch: pytest.MonkeyPatch
):
    kinds = {"detector": "spectral-signatures", "mitigation": "fine-tuning"}
    recipe = parse(MINIMAL | {each: {"one": {"kind": kind}} for each, kind in kinds.items()})
    for each, methods in (("detector", recipe.detector), ("mitigation", recipe.mitigation)):
        monkeypatch.setattr(type(methods["one"]), "revision", 1, raising=False)
        if each == group:
            known = run_id(recipe)
            monkeypatch.setattr(type(methods["one"]), "revision", 2)
            assert run_id(recipe) != known


def test_writing_out_a_default_does_not_change_the_run_id():
    assert run_id(parse(override(MINIMAL, ["training.epochs=10"]))) == run_id(parse(MINIMAL))


def test_a_preset_stands_for_its_options_and_yields_to_the_recipes_own():
    by_name = parse(override({**MINIMAL, "trigger": {"kind": "dft"}}, ["trigger.preset=paper"]))
    assert by_name.trigger.delta == 50_000
    own = {"kind": "dft", "preset": "paper", "delta": 7.0}
    assert parse({**MINIMAL, "trigger": own}).trigger.delta == 7.0


def test_a_second_line_cannot_be_smuggled_in():
    assert override({}, ['name="a"\nseed = 7'])["name"] == '"a"\nseed = 7'


def test_deeply_nested_text_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "deep.toml"
    path.write_text("a = " + "[" * 20_000)
    with pytest.raises(RecipeError, match="not valid TOML"):
        read(path)


def test_grid_of_seeds_counts_up_from_the_seed():
    settings = expand({**MINIMAL, "seed": 5, "grid": {"seeds": 3}})
    recipes = [parse(setting.document) for setting in settings]
    assert [recipe.seed for recipe in recipes] == [5, 6, 7]
    assert len({run_id(recipe) for recipe in recipes}) == 3


@given(
    st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text("abc xyz-_", min_size=1)
)
def test_overrides_carry_toml_values_and_bare_words(value):
    text = str(value).lower() if isinstance(value, bool) else str(value)
    changed = override({}, [f"a.b={text}"])["a"]["b"]
    if isinstance(value, str) and value.strip() in ("true", "false", "inf", "nan"):
        return
    assert changed == (value.strip() if isinstance(value, str) else value)
