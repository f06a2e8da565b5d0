"""Bytes by key in a folder that many processes share: what the clip cache is made of.

    index.sqlite    which key lies where, when each shard was last used, what files hold
    <random>.clips  a shard: one clip after another, written by one process at a time

A key enters the index once its bytes are on the disk. A writer that is killed leaves an unused tail
that the next one cuts off. It holds ``flock`` on its shard, which its death frees; whatever happens
to shards as a whole happens in transactions of the index, one process after another. Whole shards
are evicted, the least recently used first, never one that is being written; arrays that were read
from it stay what they are. A seal over key and bytes is checked when a process first reads a clip,
so damage to a shard or to the index is a clip that is not there.

A cache that cannot be used is one that holds nothing: what the file system or SQLite refuses is
said once, in one line, and nothing is raised. Without locks (some cluster mounts) that is all that
happens.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from vidoor.data import _shard
from vidoor.data._shard import Bytes, Own, Place
from vidoor.progress import say

SHARD = 2**28
"""Bytes of a shard; an eighth of the limit where that is less."""

BATCH, AGE = 2**25, 0.5
"""Clips enter the index when so many bytes, or seconds, of them have come together."""

RECENT = 60.0
"""Seconds within which the use of a shard is noted once."""

PAUSE = 30.0
"""Seconds for which what has failed is left alone."""

_one = threading.RLock()  # around every use of an index or a shard of ours; no fork falls into it


class _Paused(OSError):
    """It failed a moment ago, and is not tried again yet."""


@dataclass(slots=True, eq=False)
class Shards:
    """At most ``limit`` bytes in the folder ``root``; get one from ``at``.

    Fit for threads, across forks, and beside any number of processes on the same folder.
    """

    root: Path
    limit: int
    known: dict[tuple[bytes, str], bytes] = field(default_factory=dict)
    """Room for the user of the store: the keys that this process has worked out."""

    _found: dict[bytes, Place] = field(default_factory=dict)  # checked, or written here
    _touched: dict[str, float] = field(default_factory=dict)
    _own: Own | None = None
    _clips: dict[bytes, Place] = field(default_factory=dict)  # not in the index yet
    _files: dict[bytes, bytes] = field(default_factory=dict)
    _since: float = 0.0
    _paused: dict[str, float] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _end: Any = None

    # ---- reading ---------------------------------------------------------------------------------

    def get(self, key: bytes) -> Bytes | None:
        """The bytes of ``key``, the caller's own to change; None if they are not there.

        They are mapped, not loaded, as long as fewer than 256 such arrays are in use.
        """
        place = self._found.get(key) or self._look([key]).get(key)
        if place is None:
            return None
        value = None
        with self._spared("read"):
            # What is not in the index may be cut off: a mapping would be one of nothing.
            value = _shard.read(self.root, place, mapped=key not in self._clips)
        if value is not None and key not in self._found and _shard.seal(key, value) != place.seal:
            self._say("damaged", "damaged clips in it are read from their files again")
            value = None
        if value is None and self._found.pop(key, None) is not None:
            return self.get(key)  # evicted; it may lie elsewhere by now
        if value is None:
            query = "DELETE FROM clips WHERE key = ? AND shard = ? AND start = ?"
            self._try(query, key, place.shard, place.start)
            return None
        self._found[key] = place
        self._touch(place.shard)
        return value

    def held(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of ``keys`` that are there, by the index, in shards that are: a writer that is
        killed while it evicts one has removed its file, and not yet what the index has of it."""
        places, there = self._look(keys), set()
        with self._spared("read"):
            shards = {place.shard for place in places.values()}
            there = {name for name in shards if (self.root / name).exists()}
        inside = {key for key, place in places.items() if place.shard in there}
        return {key for key in keys if key in self._found} | inside

    def contents(self, stamps: Sequence[bytes]) -> dict[bytes, bytes]:
        """What ``remember`` has been told of these stamps."""
        return dict(self._select("SELECT stamp, content FROM files WHERE stamp IN", stamps))

    def _look(self, keys: Sequence[bytes]) -> dict[bytes, Place]:
        query = "SELECT key, shard, start, length, seal FROM clips WHERE key IN"
        return {key: Place(*place) for key, *place in self._select(query, keys)}

    def _select(self, query: str, values: Sequence[bytes]) -> list[Any]:
        rows: list[Any] = []
        with self._spared("read"):
            if _shard.made(self.root):
                with self._index(write=False) as index:
                    rows = _shard.select(index, query, values)
        return rows

    def _touch(self, shard: str) -> None:
        now = time.time()
        if now - self._touched.get(shard, -RECENT) >= RECENT:
            self._touched[shard] = now
            query = "UPDATE shards SET used = ? WHERE name = ? AND used < ?"
            self._try(query, now, shard, now - RECENT)

    def _try(self, query: str, *values: object) -> None:
        """Change the index, if that can be done: nothing depends on it."""
        with suppress(OSError, sqlite3.Error), self._index(write=True) as index:
            index.execute(query, values)

    # ---- writing ---------------------------------------------------------------------------------

    def put(self, key: bytes, value: Bytes) -> None:
        """Keep ``value``. Other processes find it a moment later, or after ``commit``."""
        with _one, self._spared("write"):
            if key in self._found:
                return
            own = self._room(value.nbytes)
            try:
                _shard.write(own.file, value, own.end)
            except OSError:
                self._retreat(own)
                raise
            place = Place(own.name, own.end, value.nbytes, _shard.seal(key, value))
            self._own = own._replace(end=own.end + value.nbytes)
            self._clips[key] = place
            self._found[key] = place
            self._due()

    def remember(self, stamp: bytes, content: bytes) -> None:
        """Note what a file holds whose name, size and times come to ``stamp``."""
        with _one, self._spared("write"):
            self._files[stamp] = content
            self._due()

    def commit(self) -> None:
        """Put into the index what is not there yet. Happens by itself, at exit at the latest."""
        self._paused.pop("write", None)
        with _one, self._spared("write"):
            self._commit()

    def close(self) -> None:
        """Commit, and let others write on in the shard of this process."""
        with _one:
            self.commit()
            self._release()

    def resume(self) -> None:
        """Try again at once what has failed a moment ago."""
        self._paused.clear()

    def _room(self, length: int) -> Own:
        """Our shard, if it has room for ``length`` more bytes, or another one that has."""
        if self._own and self._own.end + length > self._own.most:
            self._commit()
            self._release()
        if self._own is None:
            size = max(length, min(SHARD, self.limit // 8))
            self.root.mkdir(parents=True, exist_ok=True)
            with self._index(write=True) as index:
                own = _shard.obtain(index, self.root, self.limit, size, length)
            self._own = own
        return self._own

    def _due(self) -> None:
        if not self._since:
            self._since = time.monotonic()
        if self._end is None:  # like atexit, but in the children of multiprocessing as well
            self._end = Finalize(None, self.close, exitpriority=10)
        waiting = sum(place.length for place in self._clips.values())
        if waiting >= BATCH or time.monotonic() - self._since >= AGE:
            self._commit()

    def _commit(self) -> None:
        if not (self._clips or self._files):
            return
        own, lost = self._own, False
        if own and self._clips:
            os.fdatasync(own.file)
        self.root.mkdir(parents=True, exist_ok=True)
        with self._index(write=True) as index:
            day = int(time.time()) // 86400
            files = [(*pair, day) for pair in self._files.items()]
            index.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", files)
            if own and self._clips:
                query = "UPDATE shards SET bytes = ?, used = ? WHERE name = ?"
                done = index.execute(query, (own.end, time.time(), own.name)).rowcount
                lost = not done  # someone has removed the folder's files
                rows = [(key, *place) for key, place in self._clips.items() if done]
                index.executemany("INSERT OR IGNORE INTO clips VALUES (?, ?, ?, ?, ?)", rows)
        if lost:
            self._release()
        self._clips, self._files, self._since = {}, {}, 0.0

    def _retreat(self, own: Own) -> None:
        """On a full disk: cut off what no index names, so that the index has room to be written."""
        end = own.end
        while self._clips and own.end - end < _shard.INDEX_ROOM:
            key, place = self._clips.popitem()
            del self._found[key]
            end = place.start
        os.ftruncate(own.file, end)
        self._own = own._replace(end=end)

    def _release(self) -> None:
        """Give up our shard, and what of it is not in the index."""
        own, self._own = self._own, None
        self._disown()
        if own is not None:
            self._try("UPDATE shards SET reserved = bytes WHERE name = ?", own.name)
            os.close(own.file)

    # ---- both ------------------------------------------------------------------------------------

    @contextmanager
    def _index(self, write: bool) -> Iterator[sqlite3.Connection]:
        """The index for a moment, in a transaction if it is to be written.

        Opened each time (some 60 µs), because a connection must not live through a fork.
        """
        if time.monotonic() < self._paused.get("write" if write else "read", 0.0):
            raise _Paused
        with _one:
            index = _shard.connect(self.root, write)
            try:
                yield index
                if write:
                    index.execute("COMMIT")
            finally:
                index.close()  # undoes what is not committed

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        """What fails inside fails with one line, the first time, and rests for a while."""
        try:
            yield
        except _Paused:
            pass
        except (OSError, sqlite3.Error) as error:
            self._paused[what] = time.monotonic() + PAUSE
            reason = getattr(error, "strerror", None) or error
            self._say(what, f"cannot {what} it ({reason}); clips that it has not are decoded")

    def _say(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            say(f"clip cache {self.root}: {line}")

    def _forked(self) -> None:
        """In a child: the shard that is being written is the parent's."""
        if self._own is not None:
            os.close(self._own.file)
        self._own, self._end = None, None
        self._disown()
        self._files, self._since = {}, 0.0

    def _disown(self) -> None:
        for key in self._clips:
            self._found.pop(key, None)
        self._clips = {}


_stores: dict[tuple[Path, int], Shards] = {}


def at(root: Path, limit: int) -> Shards:
    """This process's store in a folder. Nothing is made or opened before there is need."""
    with _one:
        return _stores.setdefault((root, limit), Shards(root, limit))


def _in_child() -> None:
    for store in _stores.values():
        store._forked()
    _one.release()


os.register_at_fork(before=_one.acquire, after_in_parent=_one.release, after_in_child=_in_child)
