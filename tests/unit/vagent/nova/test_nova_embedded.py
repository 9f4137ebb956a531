"""What the config API is told of instances, and does with them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from vagent.errors import WireError
from vagent.nova.embedded import EmbeddedServer
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import Failure, Known, StoredAnswers
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

UUID = "1a2b3c00-0000-4000-8000-000000000003"
DOCUMENT = {"uuid": UUID, "tenant_id": "7e000000000040008000000000000001"}


def now(coroutine: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    return results[0]


@pytest.fixture
def stored() -> StoredAnswers:
    """Nothing is known yet."""
    return StoredAnswers(MemoryStore(), list[Event]().append)


@pytest.fixture
def server(stored: StoredAnswers) -> EmbeddedServer:
    """Of that store."""
    return EmbeddedServer(VendorDataReport(stored))


def test_documents_are_checked(server: EmbeddedServer) -> None:
    """And keep the roles of the older one."""
    assert DOCUMENT == server.admitted(DOCUMENT, None)
    roles = {"boot_roles": ["member"]}
    assert DOCUMENT | roles == server.admitted(DOCUMENT, roles)
    with pytest.raises(WireError, match="tenant_id"):
        server.admitted({"uuid": UUID}, None)
    with pytest.raises(WireError, match="boot_roles"):
        server.admitted(DOCUMENT | {"boot_roles": []}, roles)


def test_passwords_and_vendor_data_go_with_an_instance(server: EmbeddedServer) -> None:
    """A new instance of that UUID must not find them."""
    assert {"instance-password", "vendordata"} == set(server.companions)


def test_vendor_data(server: EmbeddedServer, stored: StoredAnswers) -> None:
    """Who failed, what is known of one, and forgetting it."""
    now(stored.save(UUID, Known({}, {"join": Failure(0.0, "status 500")})))
    assert {UUID: ("join",)} == now(server.failed_targets())
    (row,) = now(server.vendor_data(UUID))
    assert "failed" == row["state"]
    now(server.forget_vendor_data(UUID))
    assert [] == now(server.vendor_data(UUID))
    assert {} == now(server.failed_targets())
