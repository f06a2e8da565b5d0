"""Text of foreign origin, such as names of files and classes, made fit to be shown or written.

A name may hold what a terminal takes for a command, what turns a line round, or bytes that are no
text. Documents keep such names exactly but for these bytes; what people read has all spelt out.
"""

import re

_CONTROLS = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: a terminal may act on them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks and overrides of direction
    "\u2028\u2029"  # line breaks
    # Nothing is seen of these, and no script needs them: two names could look alike.
    "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    "]"
)
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte


def as_unicode(text: str) -> str:
    """A name whose bytes may be no UTF-8, with these bytes spelt out (``\\xff``), and so what is no
    character."""
    return (
        _LONE.sub(_spelt, text)
        .encode("utf-8", "surrogateescape")
        .decode("utf-8", "backslashreplace")
    )


def printable(text: str) -> str:
    """One line that shows what it says and does nothing: controls are spelt out (``\\x1b``)."""
    return _CONTROLS.sub(_spelt, as_unicode(text))


def _spelt(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode("ascii")
