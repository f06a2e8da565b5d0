"""Files from the net: fetched once, whole or not at all, and only if their hash is as told."""

import hashlib
import os
import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

from filelock import FileLock

from vidoor.errors import WeightsError
from vidoor.files import make_folder, whole
from vidoor.progress import say

PINNED = re.compile(r"sha256=([0-9a-fA-F]{64})")
"""What follows the # of a URL."""

TIMEOUT = 30
"""Seconds without a byte after which a download is given up."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file on the net. ``sha256``: how its hash begins, as far as its publisher tells it."""

    url: str
    sha256: str = ""


def source(url: str) -> Source:
    """What ``url`` names. ValueError unless it is a web or file address that pins its content."""
    address, fragment = urldefrag(url)
    pinned = PINNED.fullmatch(fragment)
    if urlsplit(address).scheme not in ("https", "http", "file"):
        raise ValueError(f"weights {url!r} are at no https, http or file address")
    if not pinned:
        raise ValueError(
            f"weights {url!r} must end in #sha256= and the 64 digits of the file's hash, so that "
            "what arrives is what was meant"
        )
    return Source(address, pinned[1].lower())


def fetch(known: Source) -> Path:
    """The file of ``known`` in the cache folder, fetched first where it is not there.

    The cache is ``~/.cache/vidoor/weights``, or ``weights`` in the folder that ``VIDOOR_CACHE``
    names. A file whose hash is not as told is thrown away.
    """
    root = os.environ.get("VIDOOR_CACHE") or "~/.cache/vidoor"
    folder = make_folder(Path(root).expanduser() / "weights")
    name = Path(urlsplit(known.url).path).name or "weights"
    path = folder / f"{hashlib.sha256(known.url.encode()).hexdigest()[:12]}-{name}"
    with FileLock(f"{path}.lock"):
        if path.is_file() and digest(path).startswith(known.sha256):
            return path
        say(f"fetching {known.url}")
        try:
            with (
                urllib.request.urlopen(known.url, timeout=TIMEOUT) as reply,
                whole(path) as partial,
            ):
                found = _copy(reply, partial)
                _compare(known, found)
        except (OSError, ValueError) as error:
            reason = str(error).strip("<>")
            raise WeightsError(
                f"{known.url} cannot be fetched ({reason}); fetch it elsewhere and give the file "
                "as victim.weights"
            ) from None
    return path


def _compare(known: Source, found: str) -> None:
    if not found.startswith(known.sha256):
        raise WeightsError(
            f"{known.url} is not the file that was meant: its SHA-256 is {found}, not "
            f"{known.sha256}; it was not kept"
        )
    if len(known.sha256) < 64:
        told = f"the first {len(known.sha256)} digits" if known.sha256 else "nothing"
        say(
            f"{known.url}: its publisher tells {told} of the SHA-256; it is {found}. To pin it, "
            f"give {known.url}#sha256={found}"
        )


def _copy(reply: Any, to: Path) -> str:
    """Write what ``reply`` reads, and return its SHA-256."""
    total = hashlib.sha256()
    with to.open("wb") as file:
        while block := reply.read(2**20):
            total.update(block)
            file.write(block)
    return total.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
