"""The store in one SQLite file, which only one worker thread touches.

Each coroutine hands a job to `run_in_thread` and waits; the jobs are plain functions of
a connection. Watchers are told in the reactor's thread, after the commit. A write whose
caller was cancelled may still be committed, so watchers are told then, too; what they
read next comes after it in the worker's queue.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError

from vagent.errors import ConflictError, StoreError
from vagent.store.durable import make_folder
from vagent.store.schema import prepare
from vagent.store.store import Changed, StoreEntry, Watch
from vagent.store.value import (
    MAX_ENTRIES,
    check_key,
    conflict,
    from_text,
    refuse_entry,
    to_text,
)
from vagent.store.watches import Watches
from vagent.store.worker import RunInThread

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process (an operator's sqlite3) to let go of the file."""
MAX_FILE_BYTES = 1024 * 1024 * 1024
"""Ceiling of the file, so that a caller gone wild cannot fill the disk of the host;
5,000 instances with 64 KiB of user data each take a third of it."""

Result = TypeVar("Result")


class SqliteStore:
    """ConfigStore in a file that survives kill -9. `open` it before use."""

    def __init__(
        self,
        path: Path,
        *,
        run_in_thread: RunInThread,
        busy_timeout: float = BUSY_TIMEOUT,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._path = path
        self._run = run_in_thread
        self._busy_timeout = busy_timeout
        self._max_file_bytes = max_file_bytes
        self._connection: sqlite3.Connection | None = None
        self._watches = Watches()

    def __repr__(self) -> str:
        state = "open" if self._connection else "closed"
        return f"<SqliteStore {self._path} {state}>"

    async def open(self) -> None:
        """Open or make the file, mode 0600. Raises StoreError and touches nothing if it
        is damaged, locked, or of a newer version.
        """
        if self._connection is not None:
            raise StoreError(f"{self._path}: the store is open already")
        self._connection = await self._run(self._connect)

    async def close(self) -> None:
        """Finish the jobs given so far, write the WAL back into the file and
        close it.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._run(connection.close)

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        check_key(kind, entry_id)
        return await self._do("read", lambda sql: _get(sql, kind, entry_id))

    async def entries(self, kind: str) -> tuple[StoreEntry, ...]:
        return await self._do("read", lambda sql: _entries(sql, kind))

    async def put(
        self, kind: str, entry_id: str, value: dict[str, Any], *, expected: int | None
    ) -> StoreEntry:
        check_key(kind, entry_id)
        text = to_text(kind, entry_id, value)
        revision = await self._write(
            (kind,), entry_id, lambda sql: _put(sql, (kind, entry_id, text), expected)
        )
        self._tell((kind,), entry_id)
        return StoreEntry(kind, entry_id, from_text(kind, entry_id, text), revision)

    async def delete(
        self, kind: str, entry_id: str, *, also: Collection[str] = ()
    ) -> bool:
        kinds = (kind, *also)
        for each in kinds:
            check_key(each, entry_id)
        gone = await self._write(
            kinds, entry_id, lambda sql: _delete(sql, kinds, entry_id)
        )
        self._tell(gone, entry_id)
        return kind in gone

    def watch(self, kind: str, changed: Changed) -> Watch:
        return self._watches.add(kind, changed)

    async def _write(
        self,
        kinds: Collection[str],
        entry_id: str,
        job: Callable[[sqlite3.Connection], Result],
    ) -> Result:
        """Run a job that changes this entry of these kinds; the caller tells the
        watchers.
        """
        try:
            return await self._do("write", job)
        except CancelledError:
            self._tell(kinds, entry_id)
            raise

    def _tell(self, kinds: Collection[str], entry_id: str) -> None:
        for kind in kinds:
            self._watches.tell(kind, entry_id)

    async def _do(
        self, what: str, job: Callable[[sqlite3.Connection], Result]
    ) -> Result:
        connection = self._connection
        if connection is None:
            raise StoreError(f"{self._path}: cannot {what}: the store is not open")

        def run() -> Result:
            with self._translated(what):
                return job(connection)

        return await self._run(run)

    def _connect(self) -> sqlite3.Connection:
        with self._translated("open"):
            make_folder(self._path.parent, mode=0o777)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(self._path, isolation_level=None)
            try:
                prepare(connection, busy_timeout=self._busy_timeout)
                page = connection.execute("PRAGMA page_size").fetchone()[0]
                pages = max(1, self._max_file_bytes // page)
                connection.execute(f"PRAGMA max_page_count = {pages}")
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turn errors of SQLite and the disk into StoreError, naming the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self._path}: cannot {what}: {error}; nothing was changed"
            ) from error
        except (ConflictError, StoreError) as error:
            raise type(error)(f"{self._path}: {error}") from error


def _get(sql: sqlite3.Connection, kind: str, entry_id: str) -> StoreEntry | None:
    row = sql.execute(
        "SELECT value, revision FROM entry WHERE kind = ? AND id = ?", (kind, entry_id)
    ).fetchone()
    if row is None:
        return None
    return StoreEntry(kind, entry_id, from_text(kind, entry_id, row[0]), row[1])


def _entries(sql: sqlite3.Connection, kind: str) -> tuple[StoreEntry, ...]:
    rows = sql.execute(
        "SELECT id, value, revision FROM entry WHERE kind = ? ORDER BY id", (kind,)
    )
    return tuple(
        StoreEntry(kind, entry_id, from_text(kind, entry_id, text), revision)
        for entry_id, text, revision in rows
    )


def _put(
    sql: sqlite3.Connection, new: tuple[str, str, str], expected: int | None
) -> int:
    kind, entry_id, text = new
    with _transaction(sql):
        row = sql.execute(
            "SELECT revision FROM entry WHERE kind = ? AND id = ?", (kind, entry_id)
        ).fetchone()
        found = row[0] if row else 0
        if expected is not None and expected != found:
            raise ConflictError(
                conflict(kind, entry_id, expected=expected, found=found)
            )
        if not found and _count(sql, kind) >= MAX_ENTRIES:
            raise refuse_entry(kind)
        revision = _next_revision(sql)
        sql.execute(
            "INSERT INTO entry (kind, id, value, revision) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value, "
            "revision = excluded.revision",
            (kind, entry_id, text, revision),
        )
    return revision


def _delete(
    sql: sqlite3.Connection, kinds: Collection[str], entry_id: str
) -> frozenset[str]:
    """The kinds of which there was an entry."""
    with _transaction(sql):
        gone = frozenset(
            kind
            for kind in kinds
            if sql.execute(
                "DELETE FROM entry WHERE kind = ? AND id = ?", (kind, entry_id)
            ).rowcount
        )
        if gone:
            _next_revision(sql)
    return gone


def _count(sql: sqlite3.Connection, kind: str) -> int:
    row = sql.execute("SELECT count(*) FROM entry WHERE kind = ?", (kind,)).fetchone()
    return int(row[0])


def _next_revision(sql: sqlite3.Connection) -> int:
    sql.execute("UPDATE clock SET revision = revision + 1")
    return int(sql.execute("SELECT revision FROM clock").fetchone()[0])


@contextmanager
def _transaction(sql: sqlite3.Connection) -> Iterator[None]:
    """A transaction. It takes the write lock at once, so what it reads stays true until
    it writes.
    """
    sql.execute("BEGIN IMMEDIATE")
    try:
        yield
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise
