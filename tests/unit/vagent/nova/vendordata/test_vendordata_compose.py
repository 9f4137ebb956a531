"""A configuration becomes vendor data that a server can ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.config.model import VendorDataConfig
from vagent.errors import ConfigError
from vagent.nova.codec import decode_instance
from vagent.nova.source import StoredInstances
from vagent.nova.vendordata.compose import answer_deadline, vendor_data_of
from vagent.nova.vendordata.dynamic import DynamicVendorData
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

GUEST = decode_instance(
    {
        "uuid": "1a2b3c00-0000-4000-8000-000000000003",
        "tenant_id": "7e000000000040008000000000000001",
        "vendor_data": {"own": 1},
    }
)


def made(config: VendorDataConfig) -> DynamicVendorData:
    store, events = MemoryStore(), list[Event]()
    return vendor_data_of(
        config,
        store=store,
        instances=StoredInstances(store, events.append),
        credentials=None,
        emit=events.append,
        reactor=Clock(),
        now=lambda: 0.0,
    )


def dynamic(vendor_data: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(vendor_data.dynamic(GUEST)).addBoth(results.append)
    return results[0]


def test_the_static_file_and_the_document(tmp_path: Path) -> None:
    """Without targets there is nothing dynamic."""
    (tmp_path / "static.json").write_text('{"host": 2}')
    vendor_data = made(VendorDataConfig(static_file=tmp_path / "static.json"))
    assert {"host": 2, "own": 1} == vendor_data.static(GUEST)
    assert {} == dynamic(vendor_data)


def test_a_bad_static_file(tmp_path: Path) -> None:
    """Is told before anybody is served."""
    (tmp_path / "static.json").write_text("[]")
    with pytest.raises(ConfigError):
        made(VendorDataConfig(static_file=tmp_path / "static.json"))


def test_the_server_waits_for_the_slowest_target() -> None:
    """And never less than it would without."""
    assert 10 == answer_deadline(VendorDataConfig(timeout=8))
    assert 32 == answer_deadline(VendorDataConfig(timeout=30))
