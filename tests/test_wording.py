"""Text of foreign origin does nothing where it is shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidoor.wording import as_unicode, printable

DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
JOINERS = "\u200c\u200d"
"""Which some scripts need."""
TROUBLE = st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs", "Lo", "Ll"])


@given(st.text(TROUBLE))
def test_nothing_that_acts_is_left(text: str) -> None:
    as_unicode(text).encode()
    for character in printable(text):
        assert unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs")
        assert unicodedata.bidirectional(character) not in DIRECTION
        assert unicodedata.bidirectional(character) != "BN" or character in JOINERS


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"])))
def test_what_is_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text == as_unicode(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jclip", r"\x1b[2Jclip"),
        ("a\nNo sign of a backdoor", r"a\nNo sign of a backdoor"),
        ("clip\u202e4pm.mkv", r"clip\u202e4pm.mkv"),
        ("clip\x9b2J", r"clip\x9b2J"),
        ("caf\udce9.avi", r"caf\xe9.avi"),
        ("clip\ud800.avi", r"clip\ud800.avi"),
        ("cl\u200bip.avi", r"cl\u200bip.avi"),
    ],
)
def test_it_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown
