"""Clips that a table lists: a CSV or Parquet file with a path and a label for each.

Columns ``path`` (below the root, with slashes), ``label`` (any text or number) and, if there is
one, ``split``: train, test, or val for clips that are used for neither. Others are ignored.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidoor.data import _holdout
from vidoor.data.layout import Clip
from vidoor.data.listing import FileSet, Listing, Part, settle
from vidoor.data.lists import below, encoded, text_of
from vidoor.errors import DataError, unknown
from vidoor.registry import register

COLUMNS = ("path", "label", "split")
NEEDED = COLUMNS[:2]
SPLITS = ("train", "test", "val")
SUFFIXES = (".csv", ".parquet")

Row = tuple[str, Mapping[str, Any]]
"""Where it stands ("line 2"), and its values by column."""


class _NoArrow(DataError):
    """Parquet cannot be read here."""


@register("data", "manifest")
@dataclass(frozen=True, kw_only=True)
class Manifest(FileSet):
    """Clips listed in a CSV or Parquet table with the columns path, label and split.

    Paths are below ``root``. Classes are the labels, sorted: as numbers if they are whole numbers,
    else as text. Parquet needs ``pip install 'vidoor[parquet]'``.
    """

    file: str | None = None
    """Name of the table, below ``root``; needed where the root holds several."""

    holdout: float = 0.25
    """Without a column split, this fraction of every class, chosen by the seed, is the test set (at
    least one clip; 0 holds out nothing)."""

    def __post_init__(self) -> None:
        _holdout.check("manifest", self.holdout)
        super().__post_init__()
        if self.file is not None and (not below(self.file) or _suffix(self.file) not in SUFFIXES):
            raise ValueError(
                f"manifest: file is {self.file!r}; give the name of a .csv or .parquet file in root"
            )

    @staticmethod
    def recognises(root: Path) -> bool:
        """Whether there is such a table in the root."""
        return bool(_tables(root))

    @property
    def seeded(self) -> bool:
        """Does the seed change the clips? Only where some are drawn to be held out."""
        return bool(self.holdout) and self.listing().test is None

    def divide(self, clips: list[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
        """Hold out a part of every class."""
        return _holdout.hold_out(clips, self.holdout, seed)

    def scan(self, root: Path) -> Listing:
        """The clips of the table; DataError names the row that is not right."""
        file = self._file(root)
        parts, divided = parsed(root, file)
        names = ("train", "test") if divided else ("train",)
        kept, reported = settle(root, [Part(file, parts[name]) for name in names], self.strict)
        classes = {clip.label for clips in kept for clip in clips}
        test = kept[1] if divided else None
        return Listing(_sorted(classes), kept[0], test, [file], reported)

    def layout(self) -> "Layout":
        """The same table, without the columns that are ignored."""
        root = self.folder()
        file = self._file(root)
        return Layout(file, parsed(root, file)[1])

    def _file(self, root: Path) -> str:
        if self.file is not None:
            if not (root / self.file).is_file():
                raise DataError(f"no file {root / self.file}; set data.file to the table's name")
            return self.file
        tables = _tables(root)
        if len(tables) != 1:
            _only(root)
            found = ", ".join(tables) or "none"
            raise DataError(
                f"{root}: one .csv or .parquet file with columns path and label is needed, "
                f"found: {found}; set data.file"
            )
        return tables[0]


@dataclass(frozen=True, slots=True)
class Layout:
    """Clips under any name, and a table of them."""

    file: str = "clips.csv"
    divided: bool = True

    def place(self, clip: str, label: str) -> str:
        """Where it was: the table says the label."""
        return clip

    def lists(
        self, classes: Sequence[str], train: Sequence[Clip], test: Sequence[Clip]
    ) -> Mapping[str, bytes]:
        """The table."""
        columns = COLUMNS if self.divided else NEEDED
        parts = {"train": train, "test": test}
        values = [(*clip, part)[: len(columns)] for part, clips in parts.items() for clip in clips]
        write = _parquet_bytes if _suffix(self.file) == ".parquet" else _csv_bytes
        return {self.file: write(columns, values)}


def parsed(root: Path, file: str) -> tuple[dict[str, list[Clip]], bool]:
    """The clips of each split, and whether there is a column that says so; else all are train."""
    path = root / file
    columns, rows = _table(path)
    if missing := [name for name in NEEDED if name not in columns]:
        raise DataError(f"{path}: no column {' or '.join(missing)}; it has {', '.join(columns)}")
    parts: dict[str, list[Clip]] = {name: [] for name in SPLITS}
    divided = "split" in columns
    for at, row in rows:
        clip, label, split = (_text(row.get(name)) for name in COLUMNS)
        if not below(clip):
            raise DataError(f"{path}, {at}: {clip!r} is no path below {root}, such as run/1.mp4")
        if not label:
            raise DataError(f"{path}, {at}: {clip} has no label; give it one")
        if divided and split not in SPLITS:
            raise DataError(f"{path}, {at}: {clip}: {unknown('split', split, SPLITS)}")
        parts[split if divided else "train"].append(Clip(clip, label))
    return parts, divided


def _tables(root: Path) -> list[str]:
    """The files in the root that have the needed columns."""
    files = sorted(entry for entry in root.iterdir() if _suffix(entry.name) in SUFFIXES)
    tables = []
    for file in files:
        try:
            columns = _table(file)[0]
        except _NoArrow:
            columns = NEEDED  # it may be one; what reads it says what to install
        except (DataError, OSError):
            continue
        if set(NEEDED) <= set(columns):
            tables.append(file.name)
    return tables


def _only(root: Path) -> None:
    """DataError with what is wrong with the only file here that could be the table."""
    files = [file for file in root.iterdir() if _suffix(file.name) in SUFFIXES]
    if len(files) == 1:
        columns = _table(files[0])[0]
        if lacking := [name for name in NEEDED if name not in columns]:
            raise DataError(
                f"{files[0]} has no column {' and no column '.join(lacking)}; it has "
                f"{', '.join(columns) or 'none'}"
            )


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _sorted(labels: set[str]) -> tuple[str, ...]:
    numbers = all(label.isdecimal() for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if numbers else 0, label)))


def _table(path: Path) -> tuple[Sequence[str], Iterator[Row]]:
    """The columns of a table, and its rows; DataError if it is none."""
    return _parquet_table(path) if _suffix(path.name) == ".parquet" else _csv_table(path)


def _csv_table(path: Path) -> tuple[Sequence[str], Iterator[Row]]:
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""), strict=True)

    def rows() -> Iterator[Row]:
        try:
            for row in reader:
                yield f"line {reader.line_num}", row
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from None

    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error})") from None
    reader.fieldnames = columns
    return columns, rows()


def _parquet_table(path: Path) -> tuple[Sequence[str], Iterator[Row]]:
    arrow, parquet = _pyarrow(path)

    def rows() -> Iterator[Row]:
        wanted = [name for name in COLUMNS if name in columns]
        with _valid(arrow, path):
            table = parquet.read_table(path, columns=wanted).to_pylist()
        yield from ((f"row {number}", row) for number, row in enumerate(table, start=1))

    with _valid(arrow, path):
        columns = parquet.read_schema(path).names
    return columns, rows()


@contextmanager
def _valid(arrow: Any, path: Path) -> Iterator[None]:
    try:
        yield
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not valid Parquet ({' '.join(str(error).split())})") from None


def _csv_bytes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return encoded(text.getvalue())


def _parquet_bytes(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    arrow, parquet = _pyarrow(Path("the set"))
    values = {name: [row[at] for row in rows] for at, name in enumerate(columns)}
    sink = arrow.BufferOutputStream()
    try:
        parquet.write_table(arrow.table(values), sink)
    except (arrow.ArrowException, UnicodeEncodeError) as error:
        raise DataError(f"cannot be written as Parquet: {' '.join(str(error).split())}") from None
    return bytes(sink.getvalue().to_pybytes())


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise _NoArrow(
            f"{path}: Parquet needs pyarrow; install it with: pip install 'vidoor[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
