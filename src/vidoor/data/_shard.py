"""The folder under ``shards``: its index, and files that are locked, mapped, swept and evicted.

Functions that take a connection are called inside a transaction, so that one process at a time
makes, takes over, cuts or removes a shard.
"""

import fcntl
import mmap
import os
import sqlite3
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakSet

import numpy as np
from jaxtyping import UInt8

Bytes = UInt8[np.ndarray, "n"]

INDEX, SUFFIX = "index.sqlite", ".clips"

BUSY = 20.0
"""Seconds to wait for another process's transaction."""

INDEX_ROOM = 2**16
"""Bytes that a full disk is relieved of, so that the index has room to be written."""

FORGOTTEN = 90
"""Days after which what a file holds is asked of the file again."""

_SCHEMA = """
CREATE TABLE shards
    (name TEXT PRIMARY KEY, bytes INTEGER, reserved INTEGER, used REAL) WITHOUT ROWID;
CREATE TABLE clips
    (key BLOB PRIMARY KEY, shard TEXT, start INTEGER, length INTEGER, seal INTEGER) WITHOUT ROWID;
CREATE INDEX clips_of_shard ON clips (shard);
CREATE TABLE files (stamp BLOB PRIMARY KEY, content BLOB, day INTEGER) WITHOUT ROWID;
"""

_VARIABLES = 500  # that a query may have in any SQLite
_MOST_MAPS = 256  # each holds a file descriptor, and processes often may have but 1024
_maps: WeakSet[mmap.mmap] = WeakSet()


class Full(OSError):
    """The limit is reached, and nothing can be evicted."""


class Place(NamedTuple):
    """Where the bytes of a key lie."""

    shard: str
    start: int
    length: int
    seal: int


class Own(NamedTuple):
    """A shard that this process writes: its name, its file, where writing starts and must end."""

    name: str
    file: int
    end: int
    most: int


def connect(root: Path, write: bool) -> sqlite3.Connection:
    """Open the index; within a transaction, and made if need be, where it is to be written."""
    index = sqlite3.connect(root / INDEX, timeout=BUSY, isolation_level=None)
    try:
        if write:
            index.execute("BEGIN IMMEDIATE")
            if not index.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in _SCHEMA.split(";"):
                    index.execute(statement)
    except BaseException:
        index.close()
        raise
    return index


def select(index: sqlite3.Connection, query: str, values: Sequence[bytes]) -> list[Any]:
    """The rows of a query that ends in IN, for any number of values."""
    rows: list[Any] = []
    for start in range(0, len(values), _VARIABLES):
        some = values[start : start + _VARIABLES]
        rows += index.execute(f"{query} ({','.join('?' * len(some))})", some).fetchall()
    return rows


def made(root: Path) -> bool:
    """Whether there is an index; an empty file is one whose making was interrupted."""
    try:
        return (root / INDEX).stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False


# ---- bytes ---------------------------------------------------------------------------------------


def seal(key: bytes, value: Bytes) -> int:
    """A checksum of the bytes and of whose they are."""
    return zlib.crc32(value.data, zlib.crc32(key))


def write(file: int, value: Bytes, start: int) -> None:
    """All of ``value``; OSError where the disk is full."""
    done = 0
    while done < value.nbytes:  # Linux writes 2 GiB at most at once
        done += os.pwrite(file, value[done:].data, start + done)


def read(root: Path, place: Place, mapped: bool) -> Bytes | None:
    """The bytes at a place, private to the caller; None if the shard is gone or too short.

    ``mapped``: without loading them, if there are few such mappings.
    """
    try:
        file = os.open(root / place.shard, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        if os.fstat(file).st_size < place.start + place.length:
            return None
        few = len(_maps) < _MOST_MAPS
        return _mapped(file, place) if mapped and few else _loaded(file, place)
    finally:
        os.close(file)


def _mapped(file: int, place: Place) -> Bytes:
    before = place.start % mmap.ALLOCATIONGRANULARITY
    try:
        pages = mmap.mmap(
            file,
            before + place.length,
            flags=mmap.MAP_PRIVATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=place.start - before,
        )
    except OSError:  # no descriptor or no address space left
        return _loaded(file, place)
    _maps.add(pages)
    return np.frombuffer(pages, np.uint8, place.length, before)


def _loaded(file: int, place: Place) -> Bytes:
    value, done = np.empty(place.length, np.uint8), 0
    while done < place.length:
        count = os.preadv(file, [value[done:].data], place.start + done)
        if not count:
            raise OSError(f"{place.shard} ends early")
        done += count
    return value


# ---- shards --------------------------------------------------------------------------------------


def locked(path: Path) -> int | None:
    """The file of a shard, ours alone until it is closed; None if it is another's, or gone."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file


def obtain(index: sqlite3.Connection, root: Path, limit: int, size: int, length: int) -> Own:
    """A shard of ``size`` bytes with room for ``length``: one left unfinished, or a new one.

    ``Full`` if the limit does not allow for it.
    """
    _sweep(index, root)
    query = "SELECT name, bytes FROM shards WHERE bytes <= ? ORDER BY used DESC"
    for name, end in index.execute(query, (size - length,)).fetchall():
        if (file := locked(root / name)) is not None:
            own = Own(name, file, end, size)
            break
    else:
        own = _new(index, root, size)
    try:
        _evict(index, root, limit - (own.most - own.end))
        index.execute("UPDATE shards SET reserved = ? WHERE name = ?", (size, own.name))
    except BaseException:
        os.close(own.file)
        raise
    return own


def _new(index: sqlite3.Connection, root: Path, size: int) -> Own:
    name = f"{uuid4().hex}{SUFFIX}"
    file = os.open(root / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        index.execute("INSERT INTO shards VALUES (?, 0, 0, ?)", (name, time.time()))
    except BaseException:
        os.close(file)
        raise
    return Own(name, file, 0, size)


def _evict(index: sqlite3.Connection, root: Path, limit: int) -> None:
    """Remove the shards that nobody writes, least recently used first, down to ``limit`` bytes."""
    total = index.execute("SELECT coalesce(sum(reserved), 0) FROM shards").fetchone()[0]
    victims: dict[str, int] = {}
    try:
        query = "SELECT name, reserved FROM shards WHERE reserved > 0 ORDER BY used"
        for name, reserved in index.execute(query).fetchall():
            if total <= limit:
                break
            if (file := locked(root / name)) is not None:
                victims[name] = file
                total -= reserved
        if total > limit:
            raise Full("its limit is reached by what is being written")
        for name in victims:
            _remove(index, root, name)
    finally:
        for file in victims.values():
            os.close(file)


def _remove(index: sqlite3.Connection, root: Path, name: str) -> None:
    (root / name).unlink(missing_ok=True)
    index.execute("DELETE FROM clips WHERE shard = ?", (name,))
    index.execute("DELETE FROM shards WHERE name = ?", (name,))


def _sweep(index: sqlite3.Connection, root: Path) -> None:
    """Cut off and remove what writers that were killed have left, and forget what is gone."""
    rows = index.execute("SELECT name, bytes, reserved FROM shards")
    known = {name: rest for name, *rest in rows}
    there = {path.name for path in root.glob(f"*{SUFFIX}")}
    for name in known.keys() - there:
        _remove(index, root, name)
    for name in there:
        end, reserved = known.get(name, (0, 1))
        if reserved > end and (file := locked(root / name)) is not None:
            try:
                if not end:
                    _remove(index, root, name)
                else:
                    os.ftruncate(file, end)
                    index.execute("UPDATE shards SET reserved = bytes WHERE name = ?", (name,))
            finally:
                os.close(file)
    oldest = int(time.time()) // 86400 - FORGOTTEN
    index.execute("DELETE FROM files WHERE day < ?", (oldest,))
