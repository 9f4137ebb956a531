"""Instances and passwords of the store: decoded once, never stale, never invented."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred

from vagent.errors import ConflictError, StoreError
from vagent.nova import source
from vagent.nova.events import InstanceSkipped
from vagent.nova.instance import Instance
from vagent.nova.source import KIND, StoredInstances, StoredPasswords
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore
from vagent.store.store import StoreEntry

T = TypeVar("T")
UUID = "1a2b3c00-0000-4000-8000-000000000003"
DOCUMENT = {"uuid": UUID, "tenant_id": "7e000000000040008000000000000001"}


def result(work: Coroutine[Deferred[Any], Any, T]) -> T:
    """What a coroutine gives without waiting."""
    found: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(found.append)
    assert found, "still waiting"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]  # type: ignore[no-any-return]  # the coroutine's own result


class CountingStore(MemoryStore):
    """Counts reads; can hold one back until told."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.gate: Deferred[None] | None = None

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        self.reads += 1
        entry = await super().get(kind, entry_id)
        if self.gate is not None:
            await self.gate
        return entry


class Case:
    def __init__(self) -> None:
        self.store = CountingStore()
        self.events: list[Event] = []
        self.changed: list[str] = []
        self.instances = StoredInstances(
            self.store, self.events.append, changed=self.changed.append
        )

    def put(self, entry_id: str = UUID, **fields: Any) -> None:
        value = {**DOCUMENT, **fields}
        result(self.store.put(KIND, entry_id, value, expected=None))

    def get(self, entry_id: str = UUID) -> Instance | None:
        return result(self.instances.get(entry_id))


@pytest.fixture
def case() -> Case:
    made = Case()
    made.instances.start()
    return made


def test_decoded_once(case: Case) -> None:
    """The second question is answered without the store."""
    case.put(name="a")
    assert case.get() is case.get()
    assert case.store.reads == 1
    assert repr(case.instances) == "<StoredInstances following, 1 decoded>"


def test_change_is_seen_at_once(case: Case) -> None:
    """After a change the next answer is the new one; after a delete there is none."""
    case.put(name="a")
    case.get()
    case.put(name="b")
    changed = case.get()
    assert changed is not None
    assert changed.name == "b"
    result(case.store.delete(KIND, UUID))
    assert case.get() is None


def test_change_during_a_read_is_not_overwritten(case: Case) -> None:
    """A read that began before a change is not kept after it."""
    case.put(name="a")
    case.store.gate = Deferred()
    found: list[Any] = []
    Deferred.fromCoroutine(case.instances.get(UUID)).addBoth(found.append)
    gate, case.store.gate = case.store.gate, None
    case.put(name="b")
    gate.callback(None)
    assert found[0].name == "a"
    fresh = case.get()
    assert fresh is not None
    assert fresh.name == "b"


@pytest.mark.parametrize(
    "entry_id", ["", "x", UUID.upper(), UUID.replace("-", ""), f"{UUID},{UUID}", "\x00"]
)
def test_other_names_never_reach_the_store(case: Case, entry_id: str) -> None:
    """Only canonical UUIDs name instances, so no claim can provoke a store error."""
    assert case.get(entry_id) is None
    assert case.store.reads == 0


def test_invalid_document_is_skipped_and_said_once(case: Case) -> None:
    """A bad document is absent, and reported once until something changes."""
    case.put(nmae="x")
    assert case.get() is None
    assert case.get() is None
    (event,) = case.events
    assert isinstance(event, InstanceSkipped)
    assert "unknown field 'nmae'" in event.text()
    case.put()
    assert case.get() is not None


def test_document_under_another_name_is_skipped(case: Case) -> None:
    """A document that says it is somebody else is nobody's."""
    other = UUID[:-1] + "4"
    case.put(other)
    assert case.get(other) is None
    assert f"it says uuid {UUID}" in case.events[0].text()


def test_store_failure_is_passed_on(case: Case) -> None:
    """When the store fails nobody is told "not found"."""
    case.store.broken = "disk on fire"
    with pytest.raises(StoreError):
        case.get()


def test_nothing_is_kept_while_nobody_watches() -> None:
    """Before start and after stop each question goes to the store."""
    case = Case()
    case.put(name="a")
    case.get()
    case.get()
    assert case.store.reads == 2
    case.instances.start()
    case.instances.start()
    case.get()
    case.instances.stop()
    case.instances.stop()
    case.put(name="b")
    changed = case.get()
    assert changed is not None
    assert changed.name == "b"
    assert repr(case.instances) == "<StoredInstances stopped, 0 decoded>"


def test_kept_instances_have_a_ceiling(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest makes room for one more."""
    monkeypatch.setattr(source, "MAX_DECODED", 2 * len(json.dumps(DOCUMENT)))
    ids = [f"{UUID[:-1]}{n}" for n in range(3)]
    for entry_id in ids:
        case.put(entry_id, uuid=entry_id)
    for entry_id in ids:
        case.get(entry_id)
    assert repr(case.instances) == "<StoredInstances following, 2 decoded>"
    case.get(ids[2])
    assert case.store.reads == 3
    case.get(ids[0])
    assert case.store.reads == 4


def test_password_is_set_once() -> None:
    """A password is kept, and a second one is a conflict that changes nothing, until
    it is cleared.
    """
    passwords = StoredPasswords(MemoryStore())
    assert result(passwords.get(UUID)) == ""
    result(passwords.set(UUID, "first"))
    with pytest.raises(ConflictError):
        result(passwords.set(UUID, "second"))
    assert result(passwords.get(UUID)) == "first"
    assert result(passwords.clear(UUID))
    assert result(passwords.get(UUID)) == ""
    assert not result(passwords.clear(UUID))
    result(passwords.set(UUID, "second"))


def test_password_store_failure_is_passed_on() -> None:
    """A broken store never reads as "no password"."""
    store = MemoryStore()
    store.broken = "disk on fire"
    with pytest.raises(StoreError):
        result(StoredPasswords(store).get(UUID))


def test_changes_are_told_by_instance(case: Case) -> None:
    """Of documents and passwords, until it is stopped; others stay decoded."""
    other = UUID.replace("3c", "4d")
    case.put(name="a")
    case.put(other, uuid=other)
    before = case.get()
    passwords = StoredPasswords(case.store)
    result(passwords.set(other, "x"))
    case.put(other, uuid=other, name="b")
    assert [UUID, other, other, other] == case.changed
    assert before is case.get()
    case.instances.stop()
    case.put(name="c")
    result(passwords.clear(other))
    assert 4 == len(case.changed)
