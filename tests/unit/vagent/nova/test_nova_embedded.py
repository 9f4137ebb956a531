"""What the config API is told of instances, and does with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.vagent.nova.identity.made_keys import full_ring, signer_of
from vagent.errors import WireError
from vagent.nova.codec import decode_instance
from vagent.nova.embedded import EmbeddedServer
from vagent.nova.identity.signatures import certificates, key_set
from vagent.nova.instance import Instance
from vagent.nova.source import StoredPasswords
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import Failure, Known, StoredAnswers
from vagent.nova.vendordata.vendor_data import NoVendorData, VendorDataError
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

UUID = "1a2b3c00-0000-4000-8000-000000000003"
DOCUMENT = {"uuid": UUID, "tenant_id": "7e000000000040008000000000000001"}


class Instances:
    """One instance."""

    async def get(self, instance_id: str) -> Instance | None:
        return decode_instance(DOCUMENT) if instance_id == UUID else None

    async def document(self, instance_id: str) -> Mapping[str, Any] | None:
        return DOCUMENT if instance_id == UUID else None

    async def file_of(self, instance_id: str) -> str | None:
        return "/i/a.json" if instance_id == UUID else None

    def listing(self) -> list[dict[str, str]]:
        return [{"uuid": UUID, "file": "/i/a.json"}]


class VendorDataOfNobody(NoVendorData):
    """Fails while `error` is set."""

    error: Exception | None = None

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        return {"join": {"ipaotp": "x"}}


def now(coroutine: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    return results[0]


@pytest.fixture
def stored() -> StoredAnswers:
    """Nothing is known yet."""
    return StoredAnswers(MemoryStore(), list[Event]().append)


@pytest.fixture
def passwords() -> StoredPasswords:
    """None is posted yet."""
    return StoredPasswords(MemoryStore())


@pytest.fixture
def server(stored: StoredAnswers, passwords: StoredPasswords) -> EmbeddedServer:
    """Of that store."""
    return EmbeddedServer(
        VendorDataReport(stored),
        instances=Instances(),
        passwords=passwords,
        vendor_data=VendorDataOfNobody(),
        signer=signer_of(full_ring()),
        entropy=bytes,
    )


def test_documents_are_checked(server: EmbeddedServer) -> None:
    """And keep the roles of the older one."""
    assert DOCUMENT == server.admitted(DOCUMENT, None)
    roles = {"boot_roles": ["member"]}
    assert DOCUMENT | roles == server.admitted(DOCUMENT, roles)
    with pytest.raises(WireError, match="tenant_id"):
        server.admitted({"uuid": UUID}, None)
    with pytest.raises(WireError, match="boot_roles"):
        server.admitted(DOCUMENT | {"boot_roles": []}, roles)


def test_instances_of_files_are_told(server: EmbeddedServer) -> None:
    """What the source says of its files, the config API is told."""
    assert "/i/a.json" == now(server.file_of(UUID))
    assert DOCUMENT == now(server.document(UUID))
    assert [{"uuid": UUID, "file": "/i/a.json"}] == server.files()
    assert now(server.file_of("other")) is None
    assert now(server.document("other")) is None


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


def test_identity_keys(server: EmbeddedServer) -> None:
    """The key set with the certificates beside it, nothing private."""
    keys = now(server.identity_keys())
    assert certificates(full_ring()).decode() == keys.pop("certificates")
    assert key_set(full_ring()) == keys


def test_a_config_drive(server: EmbeddedServer) -> None:
    """It has what targets said; nothing for an instance that cannot be served."""
    files = now(server.drive(UUID))
    found = json.loads(files["openstack/latest/vendor_data2.json"])
    assert {"static": {}, "join": {"ipaotp": "x"}} == found
    assert {} == now(server.drive(UUID.replace("3", "4")))


def test_no_drive_without_its_vendor_data(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the hard failure mode."""
    monkeypatch.setattr(VendorDataOfNobody, "error", VendorDataError("join: late"))
    failure = now(server.drive(UUID))
    assert isinstance(failure.value, WireError)
    assert "vendor data: join: late" == str(failure.value)


def test_passwords(server: EmbeddedServer, passwords: StoredPasswords) -> None:
    """None for an instance that is not known, but a password is never hidden."""
    other = UUID.replace("1", "2")
    assert ("", None) == (now(server.password(UUID)), now(server.password(other)))
    for uuid in (UUID, other):
        now(passwords.set(uuid, "posted"))
        assert "posted" == now(server.password(uuid))
        assert now(server.clear_password(uuid))
        assert not now(server.clear_password(uuid))
