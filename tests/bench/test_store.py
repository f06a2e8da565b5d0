"""Records on disk: whole or not at all, and readable by others."""

import json
from pathlib import Path

import numpy as np
import pytest

from vidoor.bench import store
from vidoor.errors import DataError
from vidoor.report.tables import read_json


def test_json_holds_numbers_and_null_for_what_is_not_one(tmp_path: Path):
    path = tmp_path / "r.json"
    store.write_json(path, {"a": np.float32(0.5), "b": float("nan"), "c": [np.int64(3), np.inf]})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None, "c": [3, None]}
    assert read_json(path) == {"a": 0.5, "b": None, "c": [3, None]}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "r.json"
    store.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        store.write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}


def test_arrays_come_back_without_unpickling(tmp_path: Path):
    arrays = {"d.ids": np.array(["a", "b"]), "d.scores": np.arange(2.0)}
    store.write_arrays(tmp_path / "s.npz", arrays)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as back:
        assert back["d.ids"].tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="allow_pickle"):
        store.write_arrays(tmp_path / "t.npz", {"x": np.array([object()])})


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write here"):
        store.make_folder(tmp_path / "file" / "below")


def test_the_environment_is_recorded():
    environment = store.environment()
    assert {"vidoor", "python", "torch", "numpy", "platform", "cpu", "threads"} <= set(environment)
    json.dumps(environment)
