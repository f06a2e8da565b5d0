"""The few exceptions a user of vidoor can meet.

Each message is one line that says what arrived, what is valid and what to do. The command line
prints it and leaves with exit status 2; anything else that escapes is a fault of vidoor (status 3).
"""

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 40
"""Valid names that a line tells."""


class VidoorError(Exception):
    """Base of every error that the user can mend."""


class RecipeError(VidoorError):
    """A recipe, an override or a component's options do not describe something vidoor can run."""


class DataError(VidoorError):
    """A data set, a split file or a folder cannot be used as asked."""


class ClipError(DataError):
    """One clip cannot be read. ``reason`` is a short phrase fit for a table."""

    def __init__(self, clip: str, reason: str) -> None:
        super().__init__(clip, reason)
        self.clip = clip
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.clip}: {self.reason}"


class TriggerError(VidoorError):
    """A trigger's options do not fit the clip that it is asked to poison."""


class WeightsError(VidoorError):
    """A checkpoint is refused, or does not fit the victim."""


class TrainingError(VidoorError):
    """A training run cannot go on, and another setting would mend it."""


def unknown(what: str, arrived: str, valid: Iterable[str]) -> str:
    """The line for a name that is not valid, with the nearest valid one where there is one."""
    valid = list(valid)
    near = get_close_matches(arrived, valid, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    told = ", ".join(valid[:MOST]) or "none"
    more = f" and {len(valid) - MOST:,} more" if len(valid) > MOST else ""
    return f"unknown {what} {arrived!r}; valid: {told}{more}{hint}"
