"""What a lossy codec makes of a clip: written as a video file, and read back."""

import tempfile
from pathlib import Path
from typing import get_args

from vidoor.data import video
from vidoor.errors import DataError, unknown
from vidoor.types import Frames


def transcode(clip: Frames, codec: str, quality: int | None = None) -> Frames:
    """The clip after it was written with ``codec`` and read back; no file stays behind.

    ``codec`` and ``quality`` are those of ``data.video.write``. DataError (one line) for an unknown
    codec or a quality that does not fit it.
    """
    codecs: tuple[video.Codec, ...] = get_args(video.Codec)
    known = next((each for each in codecs if each == codec), None)
    if known is None:
        raise DataError(unknown("codec", codec, codecs))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mkv")
        try:
            video.write(file, clip, codec=known, quality=quality)
        except DataError as error:  # the name of a temporary file says nothing to anyone
            raise DataError(str(error).removeprefix(f"{file}: ")) from None
        return video.read(file)
