"""Methods are found in their packages and through entry points; names stay unique."""

from dataclasses import dataclass, fields, is_dataclass

import pytest

from vidoor import registry
from vidoor.errors import RecipeError
from vidoor.options import component

METHODS = [(group, name) for group in registry.GROUPS for name in registry.names(group)]


def test_built_in_methods_are_found():
    expected = {("trigger", "dft"), ("data", "shapes"), ("data", "folder")}
    expected |= {("victim", "r2plus1d"), ("detector", "coherence")}
    assert expected <= set(METHODS)


def test_the_entry_point_of_a_package_is_found():
    assert "sample-corner" in registry.names("trigger")
    trigger = component("trigger", {"kind": "sample-corner", "side": 5})
    assert registry.name_of(trigger) == "sample-corner"


def test_options_of_a_plug_in_are_checked_like_built_in_ones():
    with pytest.raises(RecipeError, match=r"unknown key 'sid'; valid: side; did you mean 'side'"):
        component("trigger", {"kind": "sample-corner", "sid": 5})
    with pytest.raises(RecipeError, match=r"trigger.*side must be at least 1 pixel, not 0"):
        component("trigger", {"kind": "sample-corner", "side": 0})
    with pytest.raises(RecipeError, match=r"trigger\.side: .*valid integer.*'big'"):
        component("trigger", {"kind": "sample-corner", "side": "big"})


@pytest.mark.parametrize(("group", "name"), METHODS)
def test_every_method_is_a_frozen_dataclass_with_a_sentence(group, name):
    cls = registry.lookup(group, name)
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert all(spec.kw_only for spec in fields(cls))
    first = (cls.__doc__ or "").strip().partition("\n")[0]
    assert first.endswith((".", "?"))
    assert not first.startswith(cls.__name__ + "(")


def test_a_name_cannot_be_taken_twice():
    with pytest.raises(ValueError, match="already registered by vidoor"):

        @registry.register("trigger", "dft")
        @dataclass(frozen=True, kw_only=True)
        class Other:
            pass


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(RecipeError, match=r"unknown trigger kind 'dtf'; valid: .*did you mean"):
        registry.lookup("trigger", "dtf")
