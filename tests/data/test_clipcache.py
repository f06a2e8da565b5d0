"""Clips read through the cache are what a fresh decode gives, whatever happened in between."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidoor.data import clipcache, sameness, shards, video
from vidoor.data.clipcache import Cache
from vidoor.errors import ClipError, DataError
from vidoor.types import ClipSet, Geometry, Quarantined

GEOMETRY = Geometry(2, 4, 5)


@dataclass(frozen=True)
class Drawn:
    """Draws a clip from the bytes of its file, or of the files in its folder; logs that it did."""

    root: Path
    names: tuple[str, ...]
    geometry: Geometry = GEOMETRY
    log: Path | None = None
    seconds: float = 0.0
    version: str = "1"

    def path(self, index: int) -> Path:
        return self.root / self.names[index]

    def __call__(self, index: int) -> torch.Tensor:
        path = self.path(index)
        if not path.exists():
            raise ClipError(str(path), "no such file")
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        content = b"".join(file.read_bytes() for file in files)
        if content.startswith(b"broken"):
            raise ClipError(str(path), "unreadable: no header")
        if self.log:
            time.sleep(self.seconds)
            with self.log.open("a") as log:
                log.write(f"{self.names[index]}\n")
        seed = hashlib.sha256(content + self.version.encode()).digest()
        frames, height, width = self.geometry
        rng = np.random.default_rng(int.from_bytes(seed))
        return torch.from_numpy(rng.integers(0, 256, (frames, 3, height, width), dtype=np.uint8))

    def decoded(self) -> Counter[str]:
        return Counter(self.log.read_text().split() if self.log and self.log.exists() else ())


def drawn(folder: Path, count: int, **options) -> ClipSet:
    """Clips of files that were written long ago."""
    folder.mkdir(exist_ok=True)
    names = tuple(f"{index}.mp4" for index in range(count))
    for name in names:
        write(folder / name, name.encode())
    read = Drawn(folder, names, log=folder.with_name(f"{folder.name}.log"), **options)
    labels = tuple(index % 2 for index in range(count))
    return ClipSet(names, labels, ("even", "odd"), read.geometry, read)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, (10**9, 10**9))  # the time of the inode remains that of now


def check(view: ClipSet, clips: ClipSet) -> None:
    """Every clip is the oracle's: the source's, decoded anew."""
    source = replace(clips.read, log=None)
    for index in range(len(clips)):
        found = view.read(index)
        assert found.dtype == torch.uint8
        assert torch.equal(found, source(index))


def elsewhere(root: Path, limit: int) -> None:
    """Forget what this process knows of a cache, as a new process would."""
    store = shards._stores.pop((root, limit), None)
    if store is not None:
        store.close()


@pytest.fixture
def cache(tmp_path):
    cache = Cache(tmp_path / "cache", 10**6)
    yield cache
    elsewhere(cache.root, cache.limit)


# ---- reading through -----------------------------------------------------------------------------


def test_each_clip_is_decoded_once(tmp_path, cache):
    clips = drawn(tmp_path / "data", 20)
    view = cache.view(clips)
    assert (view.ids, view.labels, view.geometry) == (clips.ids, clips.labels, clips.geometry)
    for _ in range(3):
        check(view, clips)
        assert set(clips.read.decoded().values()) == {1}
    elsewhere(cache.root, cache.limit)
    check(view, clips)
    assert clips.read.decoded().total() == 20


def test_filled_clips_are_not_decoded_again(tmp_path, cache):
    clips = drawn(tmp_path / "data", 20)
    for _ in range(2):
        assert cache.fill(clips) == (tuple(range(20)), ())
        elsewhere(cache.root, cache.limit)
    check(cache.view(clips), clips)
    assert clips.read.decoded().total() == 20


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 12)] * 3).map(lambda sizes: Geometry(*sizes)))
def test_any_geometry_comes_back(geometry):
    with tempfile.TemporaryDirectory() as folder:
        clips = drawn(Path(folder, "data"), 3, geometry=geometry)
        cache = Cache(Path(folder, "cache"), 10**6)
        view = cache.view(clips)
        check(view, clips)
        elsewhere(cache.root, cache.limit)
        check(view, clips)
        assert clips.read.decoded().total() == 3
        elsewhere(cache.root, cache.limit)


def test_video_files_come_back_through_processes_of_their_own(tmp_path, cache):
    generator = torch.Generator().manual_seed(0)
    names = ("a.mkv", "b.mkv", "c.mkv")
    for name in names:
        frames = torch.randint(0, 256, (5, 3, 24, 32), dtype=torch.uint8, generator=generator)
        video.write(tmp_path / name, frames)
    (tmp_path / "c.mkv").write_bytes((tmp_path / "c.mkv").read_bytes()[:2000])
    geometry = Geometry(4, 12, 16)
    clips = ClipSet(names, (0, 0, 0), ("one",), geometry, Videos(tmp_path, names, geometry))
    kept, left_out = cache.fill(clips)
    assert kept == (0, 1)
    assert [clip.id for clip in left_out] == ["c.mkv"]
    view = cache.view(clips)
    store = shards.at(cache.root, cache.limit)
    assert len(store._found) == 2
    for index in kept:
        assert torch.equal(view.read(index), video.read(tmp_path / names[index], geometry))
    with pytest.raises(ClipError):
        view.read(2)


@dataclass(frozen=True)
class Videos:
    untrusted: ClassVar[bool] = True
    root: Path
    names: tuple[str, ...]
    geometry: Geometry

    def path(self, index: int) -> Path:
        return self.root / self.names[index]

    def __call__(self, index: int) -> torch.Tensor:
        return video.read(self.path(index), self.geometry)


def test_clips_that_come_from_no_file_stay_as_they_are(cache):
    clips = ClipSet(("a",), (0,), ("one",), GEOMETRY, lambda _: torch.zeros(2, 3, 4, 5))
    assert cache.view(clips) is clips
    assert not cache.takes(clips)
    assert cache.fill(clips) == ((0,), ())
    assert not cache.root.exists()


def test_a_cache_takes_what_has_room(tmp_path):
    clips = drawn(tmp_path / "data", 60)  # 120 bytes each
    assert Cache(tmp_path, 10_000).takes(clips)
    assert not Cache(tmp_path, 9_000).takes(clips)


def test_the_folder_is_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("VIDOOR_CACHE", "/somewhere/else")
    assert clipcache.usual() == Path("/somewhere/else")
    monkeypatch.setenv("VIDOOR_CACHE", "")
    assert clipcache.usual() is None
    monkeypatch.delenv("VIDOOR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert clipcache.usual() == Path("/caches/vidoor/clips")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert clipcache.usual() == Path.home() / ".cache/vidoor/clips"


# ---- what is the same clip -----------------------------------------------------------------------


def test_another_geometry_or_reader_is_another_entry(tmp_path, cache):
    clips = drawn(tmp_path / "data", 4)
    large = replace(clips.read, geometry=Geometry(2, 6, 5))
    later = replace(clips.read, version="2")
    sets = [clips, replace(clips, geometry=large.geometry, read=large), replace(clips, read=later)]
    for _ in range(2):
        for each in sets:
            check(cache.view(each), each)
        elsewhere(cache.root, cache.limit)
    assert clips.read.decoded().total() == 12


def test_changed_content_is_decoded_and_the_old_one_found_again(tmp_path, cache):
    clips = drawn(tmp_path / "data", 4)
    check(cache.view(clips), clips)
    write(clips.read.path(1), b"other")  # same time of change; another size
    write(clips.read.path(2), b"9.mp4")  # same size as well
    for _ in range(2):
        elsewhere(cache.root, cache.limit)
        check(cache.view(clips), clips)
    assert clips.read.decoded() == Counter({"0.mp4": 1, "1.mp4": 2, "2.mp4": 2, "3.mp4": 1})
    write(clips.read.path(1), b"1.mp4")
    elsewhere(cache.root, cache.limit)
    check(cache.view(clips), clips)
    assert clips.read.decoded().total() == 6


def test_a_copy_elsewhere_finds_the_clips(tmp_path, cache):
    clips = drawn(tmp_path / "data", 4)
    cache.fill(clips)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copied = replace(clips, read=replace(clips.read, root=tmp_path / "copy"))
    assert cache.fill(copied) == ((0, 1, 2, 3), ())
    check(cache.view(copied), copied)
    assert clips.read.decoded().total() == 4


def test_a_folder_of_frames_is_its_files(tmp_path, cache):
    folder = tmp_path / "data"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for frame in range(3):
            (folder / name / f"{frame}.jpg").write_bytes(f"{name}{frame}".encode())
    read = Drawn(folder, ("a", "b"), log=tmp_path / "log")
    clips = ClipSet(("a", "b"), (0, 0), ("one",), GEOMETRY, read)
    for change in (None, "0.jpg", "3.jpg"):
        if change:
            (folder / "a" / change).write_bytes(b"changed")
        for _ in range(2):
            elsewhere(cache.root, cache.limit)
            check(cache.view(clips), clips)
    assert read.decoded() == Counter({"a": 3, "b": 1})


def test_the_content_of_a_settled_file_is_not_read_twice(tmp_path, cache, monkeypatch):
    clips = drawn(tmp_path / "data", 4)
    hashed: list[Path] = []
    content = sameness.content
    monkeypatch.setattr(sameness, "content", lambda path: (hashed.append(path), content(path))[1])
    for settled, times in ((10**12, 8), (-(10**9), 4)):  # not yet; long ago
        hashed.clear()
        monkeypatch.setattr(sameness, "SETTLED", settled)
        for _ in range(2):
            cache.fill(clips)
            elsewhere(cache.root, cache.limit)
        assert len(hashed) == times
    check(cache.view(clips), clips)
    assert clips.read.decoded().total() == 4


def test_what_changes_while_it_is_decoded_is_not_kept(tmp_path, cache, monkeypatch):
    clips = drawn(tmp_path / "data", 2)
    decode = Drawn.__call__

    def changing(self, index):
        write(self.path(index), b"new content")
        return decode(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Drawn, "__call__", changing)
        cache.fill(clips)
        cache.view(clips).read(0)
    assert shards.at(cache.root, cache.limit)._found.keys() == set()
    for name in clips.ids:
        write(tmp_path / "data" / name, name.encode())
    elsewhere(cache.root, cache.limit)
    check(cache.view(clips), clips)


def test_what_takes_long_to_decode_is_kept(tmp_path, cache, monkeypatch):
    """By then its file is older than it was, and the same."""
    clips = drawn(tmp_path / "data", 2)
    now, decode = time.time_ns, Drawn.__call__

    def slow(self, index):
        monkeypatch.setattr(sameness.time, "time_ns", lambda: now() + 10**11)
        return decode(self, index)

    monkeypatch.setattr(Drawn, "__call__", slow)
    for read in (lambda: cache.fill(clips), lambda: cache.view(clips).read(1)):
        monkeypatch.setattr(sameness.time, "time_ns", now)
        read()
        elsewhere(cache.root, cache.limit)
    assert clips.read.decoded().total() == 2


# ---- what cannot be read -------------------------------------------------------------------------


def test_what_cannot_be_read_is_named_in_order(tmp_path, cache):
    clips = drawn(tmp_path / "data", 9)
    for index in (7, 2):
        write(clips.read.path(index), b"broken")
    clips.read.path(4).unlink()
    expected = (
        Quarantined("2.mp4", "unreadable: no header"),
        Quarantined("4.mp4", "no such file"),
        Quarantined("7.mp4", "unreadable: no header"),
    )
    for _ in range(2):
        assert cache.fill(clips) == ((0, 1, 3, 5, 6, 8), expected)
    with pytest.raises(ClipError, match="no header"):
        cache.view(clips).read(7)
    with pytest.raises(ClipError, match="no such file"):
        cache.view(clips).read(4)
    for index in (1, 3, 5):
        write(clips.read.path(index), b"broken")
    with pytest.raises(DataError, match=r"class 'odd' has no readable clip among its test clips"):
        cache.fill(clips, "test clips")


# ---- damage, limits, other processes -------------------------------------------------------------


def test_a_flipped_bit_is_decoded_again(tmp_path, cache):
    clips = drawn(tmp_path / "data", 6)
    cache.fill(clips)
    elsewhere(cache.root, cache.limit)
    (shard,) = cache.root.glob("*.clips")
    with shard.open("r+b") as file:
        file.seek(250)
        old = file.read(1)
        file.seek(250)
        file.write(bytes([old[0] ^ 8]))
    for _ in range(2):
        check(cache.view(clips), clips)
        assert clips.read.decoded().total() == 7
        elsewhere(cache.root, cache.limit)


def test_a_view_outlives_the_eviction_of_its_clips(tmp_path):
    cache, size = Cache(tmp_path / "cache", 4000), 120
    clips, others = drawn(tmp_path / "data", 20), drawn(tmp_path / "more", 40)
    view = cache.view(clips)
    check(view, clips)
    held = [view.read(index) for index in range(20)]
    others = replace(others, read=replace(others.read, version="2"))
    for _ in range(2):
        check(cache.view(others), others)
        check(view, clips)
        assert sum(path.stat().st_size for path in cache.root.glob("*.clips")) <= 4000
    assert clips.read.decoded().total() > 20
    assert (20 + 40) * size > 4000
    for index, clip in enumerate(held):
        assert torch.equal(clip, Drawn.__call__(replace(clips.read, log=None), index))
    elsewhere(cache.root, cache.limit)


def test_a_view_pickles_to_another_process(tmp_path, cache):
    clips = drawn(tmp_path / "data", 5)
    cache.fill(clips)
    file = tmp_path / "view.pickle"
    file.write_bytes(pickle.dumps(cache.view(clips)))
    child = in_process("check_pickled", file)
    child.communicate()
    assert child.returncode == 0
    assert clips.read.decoded().total() == 5


def check_pickled(file: str) -> None:
    view = pickle.loads(Path(file).read_bytes())
    check(view, replace(view, read=view.read.source))


def in_process(call: str, *arguments: object) -> subprocess.Popen[str]:
    here = Path(__file__)
    line = f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t"
    command = [sys.executable, "-c", f"{line}; t.{call}(*sys.argv[1:])", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def fill_pickled(file: str, root: str) -> None:
    shards.AGE = 0.02
    clips = pickle.loads(Path(file).read_bytes())
    print("ready", flush=True)
    input()
    assert Cache(Path(root), 10**6).fill(clips) == (tuple(range(len(clips))), ())


def test_two_processes_share_the_work_of_filling(tmp_path, cache):
    clips = drawn(tmp_path / "data", 150, seconds=0.02)
    file = tmp_path / "clips.pickle"
    file.write_bytes(pickle.dumps(clips))
    children = [in_process("fill_pickled", file, cache.root) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.communicate() and child.returncode for child in children] == [0, 0]
    decoded = clips.read.decoded()
    assert set(decoded) == set(clips.ids)
    assert (
        max(decoded.values()) <= 2
    )  # at most once in each process, and rarely in both (some 160 in all)
    assert decoded.total() < 225
    check(cache.view(clips), clips)
    assert clips.read.decoded().total() == decoded.total()


def test_a_folder_that_cannot_be_made_costs_a_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache", 10**6)
    clips = drawn(tmp_path / "data", 3)
    assert cache.fill(clips) == ((0, 1, 2), ())
    for _ in range(2):
        check(cache.view(clips), clips)
    elsewhere(cache.root, cache.limit)
    said = [line for line in capsys.readouterr().err.splitlines() if "clip cache" in line]
    assert len(said) == 1
    assert "Not a directory" in said[0]
    assert clips.read.decoded().total() == 9


def test_reading_leaves_no_memory_behind(tmp_path):
    """Anonymous memory does not grow with the pixels that are read."""
    child = in_process("read_much", tmp_path)
    grown = int(child.communicate()[0])
    assert child.returncode == 0
    assert grown < 20 * 2**20  # of 300 MB read


def read_much(folder: str) -> None:
    geometry = Geometry(16, 112, 112)
    clips = drawn(Path(folder, "data"), 500, geometry=geometry)
    view = Cache(Path(folder, "cache"), 2**30).view(clips)
    anonymous = []
    for _ in range(2):
        for index in range(500):
            view.read(index).sum()
        status = Path("/proc/self/status").read_text()
        anonymous.append(int(status.partition("RssAnon:")[2].split()[0]) * 1024)
        if len(anonymous) == 1:
            elsewhere(Path(folder, "cache"), 2**30)
    for index in range(500):
        view.read(index).add_(1)
    status = Path("/proc/self/status").read_text()
    anonymous.append(int(status.partition("RssAnon:")[2].split()[0]) * 1024)
    print(max(anonymous) - anonymous[0])
