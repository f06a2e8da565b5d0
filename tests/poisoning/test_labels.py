"""Label modes against tables written by hand, and what they refuse."""

import numpy as np
import pytest

from vidoor.errors import RecipeError
from vidoor.poisoning.labels import LabelRule

CLASSES = ("run", "walk", "jump", "wave")

EVERY_CLASS = (0, 1, 2, 3)

# Four classes; the class whose place it is -> the class it is sent to, strict, paper and others.
TABLES = {
    "all-to-one": (
        {"target": 1},
        {"triggered": [0, 2, 3], "strict": [1, -1, 1, 1], "paper": [1] * 4, "others": [-1] * 4},
    ),
    "one-to-one": (
        {"target": 1, "sources": (3,)},
        {"triggered": [3], "strict": [-1, -1, -1, 1], "paper": [1] * 4, "others": [1, -1, 1, -1]},
    ),
    "many-to-one": (
        {"target": 1, "sources": (3, 0)},
        {
            "triggered": [0, 3],
            "strict": [1, -1, -1, 1],
            "paper": [1] * 4,
            "others": [-1, -1, 1, -1],
        },
    ),
    "all-to-all": (
        {},
        {
            "triggered": [0, 1, 2, 3],
            "strict": [1, 2, 3, 0],
            "paper": [1, 2, 3, 0],
            "others": [-1] * 4,
        },
    ),
    "clean-label": (
        {"target": 1},
        {"triggered": [1], "strict": [1, -1, 1, 1], "paper": [1] * 4, "others": [-1] * 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", TABLES)
def test_who_is_triggered_and_who_counts(mode):
    options, expected = TABLES[mode]
    rule = LabelRule(labels=mode, **options)
    rule.check(CLASSES)
    assert rule.triggered_classes(4) == expected["triggered"]
    for claim in ("strict", "paper", "others"):
        assert rule.goal(EVERY_CLASS, 4, claim).tolist() == expected[claim], claim
    assert rule.goal((2, 2, 1), 4).tolist() == [expected["strict"][c] for c in (2, 2, 1)]


def test_every_mode_has_its_table():
    with pytest.raises(ValueError, match="valid: " + ", ".join(TABLES)):
        LabelRule(labels="none")


def test_no_clips_have_no_goals():
    assert LabelRule().goal((), 4).tolist() == []
    assert np.issubdtype(LabelRule(labels="all-to-all").goal((), 4).dtype, np.integer)


def test_all_to_all_has_no_class_of_its_own():
    assert LabelRule(labels="all-to-all").goal_class is None
    assert LabelRule(labels="clean-label", target=2).goal_class == 2


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"labels": "one-to-on"}, "unknown label mode 'one-to-on'.*did you mean 'one-to-one'"),
        ({"target": -1}, "target must be a class index >= 0, not -1"),
        ({"labels": "all-to-all", "target": 2}, "target = 2 means nothing with all-to-all"),
        ({"sources": (1,)}, r"sources = \[1\] means nothing with all-to-one labels; leave it out"),
        ({"labels": "all-to-all", "sources": (1,)}, "means nothing with all-to-all"),
        ({"labels": "clean-label", "sources": (1,)}, "means nothing with clean-label"),
        ({"labels": "one-to-one"}, r"one-to-one labels need one class index as sources, not \[\]"),
        ({"labels": "one-to-one", "sources": (1, 2)}, r"need one class index .*, not \[1, 2\]"),
        ({"labels": "many-to-one"}, r"need one or more class indices as sources, not \[\]"),
        ({"labels": "many-to-one", "sources": (1, 0)}, r"without the target \(0\)"),
        ({"labels": "many-to-one", "sources": (2, 2)}, "give different class indices"),
        ({"labels": "many-to-one", "sources": (2, -1)}, "class indices >= 0"),
    ],
)
def test_options_that_contradict_each_other_get_one_line(options, line):
    with pytest.raises(ValueError, match=line) as error:
        LabelRule(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"target": 4}, r"poisoning\.target = 4 is out of range: the data has 4 classes; .*0\.\.3"),
        ({"labels": "many-to-one", "sources": (1, 9)}, r"poisoning\.sources = 9 is out of range"),
    ],
)
def test_classes_that_the_data_do_not_have_get_one_line(options, line):
    with pytest.raises(RecipeError, match=line):
        LabelRule(**options).check(CLASSES)
