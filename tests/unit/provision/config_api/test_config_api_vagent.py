"""Our own call about services, under /vagent/."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest
from twisted.internet.defer import Deferred

from provision.config_api.reply import ConfigApiReply, ConfigApiRequest
from provision.config_api.routes import dispatch
from provision.config_api.vagent import Additions
from vagent.datapath.endpoints.health import EndpointState, HealthState
from vagent.datapath.state import NatEndpoint
from vagent.linklocal.codec import wire_entry
from vagent.linklocal.table import NOT_SERVED, NotInForce, ServiceTable


class Calls:
    def __init__(self) -> None:
        self.table = ServiceTable()
        self.endpoints: list[EndpointState] = []
        self.waiting: tuple[NotInForce, ...] = ()
        self.routes = Additions(
            services=lambda: self.table,
            endpoints_of=lambda _service: self.endpoints,
            following=self,
        ).routes()

    async def settle(self) -> None:
        raise AssertionError("reading waits for nobody")

    def not_in_force(self) -> tuple[NotInForce, ...]:
        return self.waiting

    def __call__(self, method: str, path: str) -> ConfigApiReply:
        replies: list[ConfigApiReply] = []
        answered = Deferred.fromCoroutine(
            dispatch(self.routes, ConfigApiRequest(method, path))
        )
        answered.addCallback(replies.append)
        return replies[0]


@pytest.fixture
def call() -> Calls:
    return Calls()


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
        "pending": [],
    }


def test_services_that_guests_cannot_use_now_are_pending(call: Calls) -> None:
    """With the reason; entries left out are not said twice."""
    refused = NotInForce("ntp", NOT_SERVED, "the kernel says no")
    call.waiting = NotInForce("dns", "duplicate", "taken"), refused
    assert json.loads(call("GET", "/vagent/services").body)["pending"] == [
        {
            "linklocal_service_name": "ntp",
            "reason": "not-served",
            "detail": "the kernel says no",
        }
    ]


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
