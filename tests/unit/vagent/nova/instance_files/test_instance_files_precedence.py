"""A file goes before what the store has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from vagent.config.model import MetadataServerConfig, Secret
from vagent.errors import StoreError
from vagent.nova.instance_files.follower import FileInstances
from vagent.nova.instance_files.precedence import AllInstances, all_instances
from vagent.nova.source import KIND, StoredInstances
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

UUID = "1a2b3c00-0000-4000-8000-000000000001"
DOCUMENT = {"uuid": UUID, "tenant_id": "7e000000000040008000000000000001"}


def now(coroutine: Any) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(found.append)
    return found[0]


def test_a_file_goes_before_the_store(tmp_path: Path) -> None:
    """While it is there; a broken file is an error, and not the stored instance."""
    store = MemoryStore()
    now(store.put(KIND, UUID, {**DOCUMENT, "name": "stored"}, expected=None))
    events: list[Event] = []
    files = FileInstances(
        tmp_path, run_in_thread=execute, emit=events.append, clock=Clock()
    )
    both = AllInstances(StoredInstances(store, events.append), files)
    both.start()
    assert "stored" == now(both.get(UUID)).name
    assert (None, [], None) == (
        now(both.file_of(UUID)),
        both.listing(),
        now(both.document(UUID)),
    )
    path = tmp_path / "a.json"
    path.write_text(f'{{"uuid": "{UUID}"}}')
    assert now(both.get(UUID)).check(StoreError)
    path.write_text(json.dumps({**DOCUMENT, "name": "file"}))
    assert "file" == now(both.get(UUID)).name
    assert str(path) == now(both.file_of(UUID))
    assert [{"uuid": UUID, "file": str(path)}] == both.listing()
    assert [] == [*both.judgements()]
    assert "file" == now(both.document(UUID))["name"]
    path.unlink()
    assert "stored" == now(both.get(UUID)).name
    both.stop()


@pytest.mark.parametrize("enabled", [True, False])
def test_without_a_directory(enabled: bool) -> None:
    """There is the store alone."""
    store = MemoryStore()
    now(store.put(KIND, UUID, DOCUMENT, expected=None))
    server = MetadataServerConfig(shared_secret=Secret(b"x")) if enabled else None
    both = all_instances(server, store, emit=list[Event]().append, reactor=Clock())
    both.start()
    assert UUID == now(both.get(UUID)).uuid
    assert ([], None) == (both.listing(), now(both.file_of(UUID)))
    assert now(both.document(UUID)) is None
    assert [] == [*both.judgements()]
    both.stop()


def test_the_store_is_not_trusted_without_the_directory(tmp_path: Path) -> None:
    """An instance of the store may have another document in a file that nobody has
    seen: its guest gets an error, and no older document.
    """
    store = MemoryStore()
    now(store.put(KIND, UUID, DOCUMENT, expected=None))
    events: list[Event] = []
    folder = tmp_path / "not-mounted"
    files = FileInstances(
        folder, run_in_thread=execute, emit=events.append, clock=Clock()
    )
    both = AllInstances(StoredInstances(store, events.append), files)
    both.start()
    assert now(both.get(UUID)).check(StoreError)
    assert 1 == len([*both.judgements()])
    folder.mkdir()
    assert UUID == now(both.get(UUID)).uuid
    both.stop()


def test_with_a_directory(tmp_path: Path) -> None:
    """Its files are known, which are read in a thread."""
    server = MetadataServerConfig(instance_directory=tmp_path)
    both = all_instances(
        server, MemoryStore(), emit=list[Event]().append, reactor=Clock()
    )
    assert both.listing() == []
    assert str(tmp_path) in repr(both)
