"""Clips listed in a table."""

import sys
from pathlib import Path

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ucf101 import NAMES

from vidoor.data import listed
from vidoor.data.layout import Clip
from vidoor.data.listed import Layout, Manifest
from vidoor.errors import DataError


def refused(data: Manifest, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        data.open(0)
    assert len(str(caught.value).splitlines()) == 1


def fill(root: Path, *names: str) -> Path:
    for level, name in enumerate(names):
        trees.line(root / name, level)
    return root


def test_a_table_says_which_clips(tmp_path: Path) -> None:
    splits = Manifest(root=trees.table(tmp_path)).open(0)
    assert splits.train.classes == ("run", "to sit, down")
    assert splits.train.ids == tuple(
        f"some where/{name}_{clip}, take 1.mkv" for name in ("run", "to") for clip in range(4)
    )
    assert splits.train.labels == (0,) * 4 + (1,) * 4
    assert splits.test.labels == (0, 1)
    assert not Manifest(root=tmp_path).seeded


def test_without_a_split_a_part_is_held_out(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{name}{clip}.mp4" for name in "ab" for clip in range(8)))
    rows = [f"{name}{clip}.mp4,{name}" for name in "ab" for clip in range(8)]
    (tmp_path / "x.csv").write_text("\n".join(["path,label", *rows]))
    data = Manifest(root=tmp_path)
    splits = data.open(0)
    assert data.seeded and splits.test.ids != data.open(1).test.ids
    assert sorted(splits.test.labels) == [0, 0, 1, 1]
    assert {*splits.train.ids, *splits.test.ids} == {row.split(",")[0] for row in rows}
    assert len(Manifest(root=tmp_path, holdout=0).open(0).train) == 16


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("10 9 2", ("2", "9", "10")), ("10 9 x", ("10", "9", "x")), ("b a C", ("C", "a", "b"))],
)
def test_numbers_are_sorted_as_numbers(
    tmp_path: Path, labels: str, classes: tuple[str, ...]
) -> None:
    fill(tmp_path, "0.mp4", "1.mp4", "2.mp4")
    rows = [f"{i}.mp4,{label}" for i, label in enumerate(labels.split())]
    (tmp_path / "x.csv").write_text("\n".join(["path,label", *rows]))
    assert Manifest(root=tmp_path, holdout=0).open(0).train.classes == classes


def test_which_table(tmp_path: Path) -> None:
    trees.table(tmp_path)
    (tmp_path / "other.csv").write_text("name,size\na,1\n")
    assert len(Manifest(root=tmp_path).open(0).train) == 8
    (tmp_path / "few.csv").write_text('path,label\n"some where/run_0, take 1.mkv",run\n')
    refused(Manifest(root=tmp_path), r"is needed, found: clips.csv, few.csv; set data.file$")
    assert len(Manifest(root=tmp_path, file="few.csv", holdout=0).open(0).train) == 1
    refused(Manifest(root=tmp_path, file="no.csv"), r"no file .*/no.csv; set data.file to the")
    refused(
        Manifest(root=tmp_path, file="other.csv"), r"other.csv: no column path or label; it has"
    )
    refused(Manifest(root=tmp_path / "some where"), r"is needed, found: none; set data.file$")
    for name in ("clips.txt", "../clips.csv", "/etc/clips.csv"):
        with pytest.raises(ValueError, match=r"give the name of a .csv or .parquet file in root"):
            Manifest(root=tmp_path, file=name)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.mp4,x,train\n\n../b.mp4,x,train", r"line 4: '../b.mp4' is no path below"),
        ("/a.mp4,x,train", r"line 2: '/a.mp4' is no path below .*, such as run/1.mp4"),
        (",x,train", "line 2: '' is no path below"),
        ("a.mp4,,train", "line 2: a.mp4 has no label; give it one"),
        ("a.mp4", "line 2: a.mp4 has no label"),
        ("a.mp4,x,", "a.mp4: unknown split ''; valid: train, test, val"),
        ("a.mp4,x,tests", "unknown split 'tests'; valid: train, test, val; did you mean 'test'?"),
        ('a.mp4,"x', r"line \d: not valid CSV"),
        ("a.mp4,x,val", "x.csv lists no clips"),
        ("a.mp4,x,train\na.mp4,y,test", "a.mp4 is of class x and of class y; keep one"),
    ],
)
def test_rows_that_do_not_fit(tmp_path: Path, rows: str, message: str) -> None:
    fill(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "x.csv").write_text(f"path,label,split\n{rows}\n")
    refused(Manifest(root=tmp_path, file="x.csv"), message)


def test_clips_of_val_are_used_for_neither(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    rows = "path,label,split\na.mp4,x,train\nb.mp4,x,val\nc.mp4,x,test\n"
    (tmp_path / "x.csv").write_text(rows)
    splits = Manifest(root=tmp_path).open(0)
    assert (splits.train.ids, splits.test.ids) == (("a.mp4",), ("c.mp4",))


ROWS = st.lists(st.tuples(NAMES, NAMES, st.booleans()), max_size=8)


@pytest.mark.parametrize("suffix", listed.SUFFIXES)
@settings(max_examples=30, deadline=None)
@given(rows=ROWS, divided=st.booleans())
def test_tables_are_parsed_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    rows: list[tuple[str, str, bool]],
    divided: bool,
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    root = tmp_path_factory.mktemp("set")
    train = [Clip(f"a,b/{path}", label) for path, label, tested in rows if not tested]
    test = [Clip(path, label) for path, label, tested in rows if tested and divided]
    layout = Layout(f"t{suffix}", divided)
    for name, content in layout.lists([], train, test).items():
        (root / name).write_bytes(content)
    parts, said = listed.parsed(root, f"t{suffix}")
    assert (parts["train"], parts["test"], said) == (train, test, divided)


def test_parquet_written_by_others(tmp_path: Path) -> None:
    """Whole numbers as labels, other columns, no value where there is none."""
    arrow = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    fill(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    values = {"n": [0.5, 1, 2], "label": [10, 9, 9], "path": ["a.mp4", "b.mp4", "c.mp4"]}
    parquet.write_table(arrow.table(values), tmp_path / "x.parquet")
    train = Manifest(root=tmp_path, holdout=0).open(0).train
    assert (train.classes, train.labels) == (("9", "10"), (1, 0, 0))
    parquet.write_table(arrow.table(values | {"label": [1, None, 2]}), tmp_path / "x.parquet")
    refused(Manifest(root=tmp_path), r"x.parquet, row 2: b.mp4 has no label; give it one")
    (tmp_path / "x.parquet").write_text("path,label\n")
    refused(Manifest(root=tmp_path, file="x.parquet"), r"x.parquet: not valid Parquet \(")


def test_parquet_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(
        Manifest(root=tmp_path, file="x.parquet"), r"install it with: pip install 'vidoor\[parqu"
    )
