"""Requests about the small sets, in their geometry: nothing has to be looked at to find it."""

from typing import Any

from vidoor.audit.command import Request

GEOMETRY = (12, 32, 32)


def request(**options: Any) -> Request:
    """With other options where they are given."""
    return Request(**{"frames": GEOMETRY[0], "size": GEOMETRY[1:], **options})
