"""One suite for both stores: what it promises of SqliteStore holds for MemoryStore."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred, succeed

from vagent.errors import ConflictError, StoreError
from vagent.store import memory, sqlite
from vagent.store.memory import MemoryStore
from vagent.store.sqlite import SqliteStore
from vagent.store.store import ConfigStore, StoreEntry
from vagent.store.value import MAX_KEY, MAX_VALUE_BYTES

Result = TypeVar("Result")


def now(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that needs nobody else to finish."""
    results: list[Result] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def here(job: Callable[[], Result]) -> Deferred[Result]:
    """The thread of the test stands for the worker."""
    return succeed(job())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ConfigStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    on_disk = SqliteStore(tmp_path / "store.sqlite", run_in_thread=here)
    now(on_disk.open())
    yield on_disk
    now(on_disk.close())


def test_absent(store: ConfigStore) -> None:
    """What was never put is None, and its kind is empty."""
    assert now(store.get("kind", "id")) is None
    assert now(store.entries("kind")) == ()


def test_put_and_get(store: ConfigStore) -> None:
    """What was put is found under its kind and id, and only there."""
    value = {"text": "ä\ud800\u0000", "list": [1, 2.5, None, True], "deep": {"": []}}
    entry = now(store.put("kind", "id", value, expected=None))
    assert entry == StoreEntry("kind", "id", value, entry.revision)
    assert now(store.get("kind", "id")) == entry
    assert now(store.get("other", "id")) is None
    assert now(store.get("kind", "other")) is None


def test_order(store: ConfigStore) -> None:
    """Entries of a kind come in order of id, whatever the order of their writing."""
    for entry_id in ("b", "a", "ä", "B"):
        now(store.put("kind", entry_id, {}, expected=None))
    now(store.put("other", "c", {}, expected=None))
    assert [entry.id for entry in now(store.entries("kind"))] == ["B", "a", "b", "ä"]


def test_values_are_copies(store: ConfigStore) -> None:
    """Changing a dict that went in or came out changes nothing stored."""
    value: dict[str, Any] = {"list": [1]}
    put = now(store.put("kind", "id", value, expected=None))
    value["list"].append(2)
    put.value["list"].append(3)
    found = now(store.get("kind", "id"))
    assert found is not None
    found.value["list"].append(4)
    assert now(store.entries("kind"))[0].value == {"list": [1]}


def test_revision_grows(store: ConfigStore) -> None:
    """Revisions grow over all kinds, and go on growing after the newest is deleted."""
    first = now(store.put("a", "1", {}, expected=None))
    second = now(store.put("b", "1", {}, expected=None))
    assert now(store.delete("b", "1"))
    third = now(store.put("b", "1", {}, expected=None))
    assert 0 < first.revision < second.revision < third.revision


def test_compare_and_swap(store: ConfigStore) -> None:
    """Only the revision that was seen may be replaced."""
    first = now(store.put("kind", "id", {"n": 1}, expected=0))
    second = now(store.put("kind", "id", {"n": 2}, expected=first.revision))
    for stale in (0, first.revision, second.revision + 1):
        with pytest.raises(ConflictError, match=f"found revision {second.revision}"):
            now(store.put("kind", "id", {"n": 3}, expected=stale))
    assert now(store.get("kind", "id")) == second


def test_compare_with_nothing(store: ConfigStore) -> None:
    """A revision is expected, but the entry is gone: a conflict."""
    entry = now(store.put("kind", "id", {}, expected=None))
    now(store.delete("kind", "id"))
    with pytest.raises(ConflictError, match="found no entry"):
        now(store.put("kind", "id", {}, expected=entry.revision))


def test_delete(store: ConfigStore) -> None:
    """Deleting says whether there was something."""
    now(store.put("kind", "id", {}, expected=None))
    assert now(store.delete("kind", "id")) is True
    assert now(store.delete("kind", "id")) is False
    assert now(store.get("kind", "id")) is None


def test_delete_takes_other_kinds_along(store: ConfigStore) -> None:
    """What is there of the other kinds goes; the answer is about the first alone."""
    for kind in ("kind", "other", "third"):
        now(store.put(kind, "id", {}, expected=None))
    assert now(store.delete("kind", "id", also=("other", "absent"))) is True
    assert (None, None) == (now(store.get("kind", "id")), now(store.get("other", "id")))
    assert now(store.get("third", "id")) is not None
    assert now(store.delete("kind", "id", also=("third",))) is False
    assert now(store.get("third", "id")) is None
    with pytest.raises(StoreError, match="store kind"):
        now(store.delete("kind", "id", also=("",)))


def test_watchers_hear_of_what_went_along(store: ConfigStore) -> None:
    """Those of each kind of which there was something, and no others."""
    now(store.put("kind", "id", {}, expected=None))
    now(store.put("other", "id", {}, expected=None))
    seen: list[str] = []
    for kind in ("kind", "other", "absent"):
        store.watch(kind, lambda _, kind=kind: seen.append(kind))  # type: ignore[misc]  # its default
    now(store.delete("kind", "id", also=("other", "absent")))
    assert ["kind", "other"] == sorted(seen)


def test_value_ceiling(store: ConfigStore) -> None:
    """A value of exactly 1 MiB of JSON is taken, one byte more is not."""
    spare = MAX_VALUE_BYTES - len('{"v":""}')
    for size in (spare - 1, spare):
        now(store.put("kind", "id", {"v": "x" * size}, expected=None))
    with pytest.raises(StoreError, match="1048577 bytes"):
        now(store.put("kind", "id", {"v": "x" * (spare + 1)}, expected=None))
    assert len(now(store.entries("kind"))[0].value["v"]) == spare


@pytest.mark.parametrize(
    "value", [{"v": {1}}, {"v": float("nan")}, {"v": b""}, [], "text"]
)
def test_not_json(store: ConfigStore, value: Any) -> None:
    """What is not a JSON object is refused, and nothing is written."""
    with pytest.raises(StoreError, match=r"kind/id: the value is no"):
        now(store.put("kind", "id", value, expected=None))
    assert now(store.get("kind", "id")) is None


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY + 1), "a\nb", "\ud800", "\x00"])
def test_bad_keys(store: ConfigStore, key: str) -> None:
    """Keys are 1–255 printable characters, in every call."""
    for kind, entry_id in ((key, "id"), ("kind", key)):
        with pytest.raises(StoreError, match=r"store (kind|id)"):
            now(store.put(kind, entry_id, {}, expected=None))
        with pytest.raises(StoreError, match=r"store (kind|id)"):
            now(store.get(kind, entry_id))
        with pytest.raises(StoreError, match=r"store (kind|id)"):
            now(store.delete(kind, entry_id))


@pytest.mark.parametrize("length", [1, MAX_KEY - 1, MAX_KEY])
def test_key_lengths(store: ConfigStore, length: int) -> None:
    """Keys up to the ceiling are taken."""
    now(store.put("k" * length, "i" * length, {"n": 1}, expected=0))
    assert now(store.get("k" * length, "i" * length)) is not None


def test_entry_ceiling(store: ConfigStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind takes MAX_ENTRIES entries; the next is refused, changes are not."""
    for module in (memory, sqlite):
        monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(3):
        now(store.put("kind", str(number), {}, expected=None))
    with pytest.raises(StoreError, match="no more are allowed"):
        now(store.put("kind", "3", {}, expected=None))
    now(store.put("kind", "0", {"changed": True}, expected=None))
    now(store.put("other", "0", {}, expected=None))
    assert len(now(store.entries("kind"))) == 3


def test_watch(store: ConfigStore) -> None:
    """A watcher hears which entry of its kind was changed, after the commit."""
    seen: list[tuple[str, int]] = []

    def changed(entry_id: str) -> None:
        seen.append((entry_id, len(now(store.entries("kind")))))

    store.watch("kind", changed)
    now(store.put("kind", "a", {}, expected=None))
    now(store.put("kind", "b", {}, expected=None))
    now(store.put("other", "c", {}, expected=None))
    now(store.delete("kind", "a"))
    assert seen == [("a", 1), ("b", 2), ("a", 1)]


def test_watch_only_changes(store: ConfigStore) -> None:
    """Refused writes and empty deletes are no changes."""
    seen: list[str] = []
    store.watch("kind", seen.append)
    with pytest.raises(ConflictError):
        now(store.put("kind", "a", {}, expected=7))
    now(store.delete("kind", "a"))
    assert seen == []


def test_watch_stop(store: ConfigStore) -> None:
    """No call-back after stop, not even in a round that has begun."""
    seen: list[str] = []

    def first(_id: str) -> None:
        seen.append("first")
        second.stop()

    store.watch("kind", first)
    second = store.watch("kind", lambda _: seen.append("second"))
    now(store.put("kind", "a", {}, expected=None))
    second.stop()
    assert seen == ["first"]
