"""Our own calls under /vagent/."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from provision.config_api.reply import ConfigApiReply, ConfigApiRequest
from provision.config_api.routes import dispatch
from provision.config_api.vagent import INSTANCE, Additions
from vagent.datapath.endpoints.health import EndpointState, HealthState
from vagent.datapath.state import NatEndpoint
from vagent.errors import WireError
from vagent.linklocal.codec import wire_entry
from vagent.linklocal.table import ServiceTable
from vagent.store.memory import MemoryStore

ID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
PATH = f"/vagent/instance/{ID}"


class Calls:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.table = ServiceTable()
        self.endpoints: list[EndpointState] = []
        self.routes = Additions(
            self.store,
            services=lambda: self.table,
            check_instance=self.check,
            companions=("left-behind",),
            endpoints_of=lambda _service: self.endpoints,
        ).routes()

    def check(self, instance: dict[str, Any]) -> None:
        if "bad" in instance:
            raise WireError("bad: is not allowed")

    def __call__(
        self, method: str, path: str, value: Any = None, **more: Any
    ) -> ConfigApiReply:
        body = b"" if value is None else json.dumps(value).encode()
        replies: list[ConfigApiReply] = []
        request = ConfigApiRequest(method, path, body=body, **more)
        Deferred.fromCoroutine(dispatch(self.routes, request)).addCallback(
            replies.append
        )
        return replies[0]


@pytest.fixture
def call() -> Calls:
    return Calls()


def test_write_and_read(call: Calls) -> None:
    """What was PUT is what GET gives, under one spelling of the UUID."""
    upper = f"/vagent/instance/{ID.upper().replace('-', '')}"
    assert json.loads(call("PUT", upper, {"hostname": "a"}).body) == {"uuid": ID}
    reply = call("GET", PATH)
    assert (json.loads(reply.body), reply.revision) == ({"hostname": "a"}, 1)
    stored: list[Any] = []
    Deferred.fromCoroutine(call.store.entries(INSTANCE)).addCallback(stored.append)
    assert [entry.id for entry in stored[0]] == [ID]


def test_list(call: Calls) -> None:
    """The list has all instances with their UUIDs."""
    assert json.loads(call("GET", "/vagent/instances").body) == {"instances": []}
    call("PUT", PATH, {"hostname": "a"})
    assert json.loads(call("GET", "/vagent/instances").body) == {
        "instances": [{"uuid": ID, "instance": {"hostname": "a"}}]
    }


def test_refused(call: Calls) -> None:
    """What the metadata server could not use is 400 with its reason, and not stored."""
    reply = call("PUT", PATH, {"bad": 1})
    assert (reply.status, reply.body) == (
        400,
        f"instance {ID}: bad: is not allowed".encode(),
    )
    assert call("PUT", PATH, []).status == 400
    assert call("PUT", "/vagent/instance/x", {}).status == 400
    assert call("GET", PATH).status == 404


def test_delete(call: Calls) -> None:
    """Deleting what is not there is 404."""
    call("PUT", PATH, {})
    assert call("DELETE", PATH).status == 200
    assert call("DELETE", PATH).status == 404


def test_preconditions(call: Calls) -> None:
    """If-Match and If-None-Match are honoured."""
    assert call("PUT", PATH, {}, if_match="*").status == 404
    assert call("PUT", PATH, {}, if_match='"1"').status == 412
    assert call("PUT", PATH, {}, if_none_match="*").status == 200
    assert call("PUT", PATH, {}, if_none_match="*").status == 412
    assert call("PUT", PATH, {}, if_none_match='"1"').status == 400
    assert call("PUT", PATH, {"n": 2}, if_match='"1"').status == 200
    assert call("PUT", PATH, {"n": 3}, if_match='"1"').status == 412
    assert call("PUT", PATH, {"n": 4}, if_match="*").status == 200
    assert json.loads(call("GET", PATH).body) == {"n": 4}


def test_services(call: Calls) -> None:
    """The table in force, and why the rest is not in it."""
    good = wire_entry(name="ntp", address="169.254.1.1", port=123, fabric_port=123)
    call.table = ServiceTable.of([good, {**good, "x": 1}], lambda _event: None)
    assert json.loads(call("GET", "/vagent/services").body) == {
        "services": [good],
        "endpoints": [],
        "left_out": [
            {
                "position": 2,
                "linklocal_service_name": "ntp",
                "reason": "invalid",
                "detail": "class LinklocalServiceEntryType does not have field 'x'",
            }
        ],
    }


def test_services_have_endpoints_and_their_health(call: Calls) -> None:
    """Where flows really go, and whether anybody answers."""
    good = wire_entry(name="ntp", address="169.254.1.1", port=123, fabric_port=123)
    call.table = ServiceTable.of([good], lambda _event: None)
    endpoint = NatEndpoint(2, IPv4Address("192.0.2.1"), 123)
    call.endpoints = [EndpointState(endpoint, HealthState.DOWN, HealthState.UP)]
    reply = json.loads(call("GET", "/vagent/services").body)
    expected = {
        "linklocal_service_ip": "169.254.1.1",
        "linklocal_service_port": 123,
        "address": "192.0.2.1",
        "port": 123,
        "tcp": "down",
        "udp": "up",
    }
    assert ([expected], [good]) == (reply["endpoints"], reply["services"])


@pytest.mark.parametrize("name", ["00000000-0000-0000-0000-000000000001", "", 7])
def test_a_document_for_another_instance_is_refused(call: Calls, name: object) -> None:
    """It would never be found under its own UUID."""
    reply = call("PUT", PATH, {"uuid": name})
    assert reply.status == 400
    assert call("GET", PATH).status == 404


def test_a_document_may_name_its_own_instance(call: Calls) -> None:
    """In any spelling of the UUID."""
    assert call("PUT", PATH, {"uuid": ID.upper()}).status == 200


def test_delete_takes_what_the_guest_left(call: Calls) -> None:
    """A new instance of the same UUID must not find it."""
    call("PUT", PATH, {})
    left = call.store.put("left-behind", ID, {}, expected=0)
    Deferred.fromCoroutine(left)
    call("DELETE", PATH)
    found: list[object] = []
    Deferred.fromCoroutine(call.store.entries("left-behind")).addCallback(found.append)
    assert found == [()]
