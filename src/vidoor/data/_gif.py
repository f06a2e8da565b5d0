"""The one thing that FFmpeg does not tell of a GIF: whether it ends where it should.

It patches a picture that breaks off and counts no frames, so only the file's own structure shows
that something is missing.
"""

from pathlib import Path

_EXTENSION, _IMAGE, _TRAILER = b"\x21", b"\x2c", b"\x3b"


def has_end(path: Path) -> bool:
    """Whether block follows block up to the trailer (GIF89a specification, sections 17 to 27)."""
    with path.open("rb") as file:
        screen = file.read(13)
        file.seek(_colours(screen, 10), 1)
        while (block := file.read(1)) in (_IMAGE, _EXTENSION):
            if block == _IMAGE:
                descriptor = file.read(9)
                file.seek(_colours(descriptor, 8) + 1, 1)  # and the size of the first codes
            else:
                file.seek(1, 1)  # its kind
            while length := (file.read(1) or b"\0")[0]:
                file.seek(length, 1)
        return block == _TRAILER


def _colours(header: bytes, flags: int) -> int:
    """Bytes of the colour table that follows a header, by its byte ``flags``."""
    table = len(header) > flags and header[flags] & 0x80
    return 3 * 2 ** ((header[flags] & 7) + 1) if table else 0
