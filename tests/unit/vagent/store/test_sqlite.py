"""SqliteStore beyond the contract: the file, its faults, and the thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed

from vagent.errors import ConflictError, StoreError
from vagent.store.schema import VERSION
from vagent.store.sqlite import SqliteStore

Result = TypeVar("Result")


def now(coroutine: Any) -> Any:
    """The result of a coroutine that needs nobody else to finish."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def here(job: Callable[[], Result]) -> Deferred[Result]:
    """The thread of the test stands for the worker."""
    return succeed(job())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vagent.sqlite"


def opened(path: Path, **more: Any) -> SqliteStore:
    store = SqliteStore(path, run_in_thread=here, **more)
    now(store.open())
    return store


def test_reopened(path: Path) -> None:
    """Entries and the revision survive closing and opening."""
    store = opened(path)
    before = now(store.put("kind", "id", {"n": 1}, expected=0))
    now(store.delete("kind", "id"))
    now(store.close())
    store = opened(path)
    assert now(store.entries("kind")) == ()
    after = now(store.put("kind", "id", {"n": 2}, expected=0))
    assert after.revision > before.revision + 1
    now(store.close())


def test_mode(path: Path) -> None:
    """The file and its WAL hold instances' secrets: nobody else may read them."""
    store = opened(path)
    now(store.put("kind", "id", {}, expected=None))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes["vagent.sqlite"] == modes["vagent.sqlite-wal"] == 0o600
    now(store.close())


def test_durability(path: Path) -> None:
    """Commits go through a WAL that is synced each time."""
    store = opened(path)
    connection = store._connection  # the pragmas are visible on it alone
    assert connection is not None
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    now(store.close())


def test_newer_version(path: Path) -> None:
    """A file of a newer program is refused in plain words and left as it is."""
    now(opened(path).close())
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {VERSION + 1}")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        opened(path)
    assert str(path) in str(caught.value)
    assert f"version {VERSION + 1}, this program knows up to {VERSION}" in str(
        caught.value
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" * 64])
def test_no_database(path: Path, content: bytes) -> None:
    """A file that is no database is refused and not touched."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot open"):
        opened(path)
    assert path.read_bytes() == content


def test_damaged(path: Path) -> None:
    """A damaged page is found when the store opens, not when it is too late."""
    store = opened(path)
    for number in range(50):
        now(store.put("kind", str(number), {"v": "x" * 1000}, expected=None))
    now(store.close())
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot open"):
        opened(path)
    assert path.read_bytes() == bytes(content)


def test_damaged_value(path: Path) -> None:
    """A value that is no JSON object is an error that names it."""
    store = opened(path)
    now(store.put("kind", "id", {}, expected=None))
    raw = sqlite3.connect(path)
    for text in ("{", "[]", None):
        if text is not None:
            with raw:
                raw.execute("UPDATE entry SET value = ?", (text,))
        with pytest.raises(StoreError, match="kind/id: what is stored"):
            now(store.get("kind", "id"))
    raw.close()
    now(store.close())


def test_locked(path: Path) -> None:
    """Another process holds the file: an error after the timeout, nothing changed."""
    store = opened(path, busy_timeout=0.01)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"cannot write: database is locked"):
        now(store.put("kind", "id", {}, expected=None))
    with pytest.raises(StoreError, match=r"cannot write: database is locked"):
        now(store.delete("kind", "id"))
    assert now(store.get("kind", "id")) is None
    raw.execute("ROLLBACK")
    raw.close()
    assert now(store.put("kind", "id", {}, expected=0)).revision == 1
    now(store.close())


def test_full(path: Path) -> None:
    """The file is full: the write fails, what was there stays, reading goes on."""
    store = opened(path, max_file_bytes=64 * 1024)
    now(store.put("kind", "id", {"n": 1}, expected=0))
    with pytest.raises(StoreError, match="full; nothing was changed"):
        now(store.put("kind", "id", {"v": "x" * 100_000}, expected=None))
    assert now(store.get("kind", "id")).value == {"n": 1}
    assert now(store.put("kind", "id", {"n": 2}, expected=1)).revision == 2
    now(store.close())


def test_a_delete_of_several_kinds_is_all_or_nothing(path: Path) -> None:
    """Where the last cannot go, the first is still there."""
    store = opened(path)
    for kind in ("instance", "password"):
        now(store.put(kind, "id", {}, expected=None))
    raw = sqlite3.connect(path)
    raw.execute(
        "CREATE TRIGGER stuck BEFORE DELETE ON entry WHEN old.kind = 'password' "
        "BEGIN SELECT RAISE(ABORT, 'stuck'); END"
    )
    raw.close()
    with pytest.raises(StoreError, match="stuck; nothing was changed"):
        now(store.delete("instance", "id", also=("password",)))
    assert now(store.get("instance", "id")) is not None
    now(store.close())


def test_no_directory(tmp_path: Path) -> None:
    """A state directory that cannot be made is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/vagent\.sqlite: cannot open"):
        opened(tmp_path / "file" / "vagent.sqlite")


def test_not_open(path: Path) -> None:
    """Before open and after close every call fails; a second open does, too."""
    store = SqliteStore(path, run_in_thread=here)
    with pytest.raises(StoreError, match="not open"):
        now(store.get("kind", "id"))
    now(store.open())
    assert repr(store) == f"<SqliteStore {path} open>"
    with pytest.raises(StoreError, match="open already"):
        now(store.open())
    now(store.close())
    now(store.close())
    assert repr(store) == f"<SqliteStore {path} closed>"
    with pytest.raises(StoreError, match="not open"):
        now(store.put("kind", "id", {}, expected=None))


def test_conflict_names_file(path: Path) -> None:
    """A conflict stays a ConflictError and says in which file."""
    store = opened(path)
    with pytest.raises(ConflictError, match=str(path)):
        now(store.put("kind", "id", {}, expected=3))
    now(store.close())


def test_caller_gone(path: Path) -> None:
    """A put whose caller is cancelled may have committed: watchers are told."""
    pending: list[tuple[Callable[[], Any], Deferred[Any]]] = []
    direct = True

    def run(job: Callable[[], Any]) -> Deferred[Any]:
        if direct:
            return succeed(job())
        waiting: Deferred[Any] = Deferred()
        pending.append((job, waiting))
        return waiting

    store = SqliteStore(path, run_in_thread=run)
    now(store.open())
    seen: list[str] = []
    store.watch("kind", seen.append)
    direct = False
    put = Deferred.fromCoroutine(store.put("kind", "id", {}, expected=None))
    put.cancel()
    put.addErrback(lambda failure: failure.trap(CancelledError))
    assert seen == ["id"]
    pending[0][0]()
    direct = True
    assert now(store.get("kind", "id")) is not None
    now(store.close())
