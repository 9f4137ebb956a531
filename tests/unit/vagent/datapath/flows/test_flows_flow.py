"""Tracked flows get a guest, a service and a state, and are told in order."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any

import pytest

from vagent.datapath.flows.flow import (
    MAX_FLOWS,
    TCP_STATES,
    FastPathTraffic,
    Flow,
    after,
    flow_list,
    of_guests,
)
from vagent.datapath.state import LISTENER, REFUSE
from vagent.kernel.conntrack import ASSURED, SEEN_REPLY, Tracked, Traffic, Tuple
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import EMPTY, ServiceTable
from vagent.ports.port import Port, Registration

NETWORK = IPv4Network("169.254.64.0/18")
SERVICE = IPv4Address("169.254.169.254")
NOW = 1_469_000_010.0
PORT = Port(
    id="93c2c386-6e79-485e-bfa4-b9daa713133b",
    instance_id="32d0524b-314d-4594-b3a3-607e3f2354f8",
    tenant_id="",
    network_id="7cb03bb6-b3f6-4a1c-9cb1-ce0b3b6b0b01",
    display_name="alice",
    tap="tap1",
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.5"),
    address6=None,
)
ALICE = Registration(PORT, 2, IPv4Address("169.254.64.2"))
SERVICES = ServiceTable(
    (LinkLocalService("metadata", SERVICE, 80, (IPv4Address("192.0.2.1"),), 8775),)
)


def tracked(index: int = 2, source_port: int = 33000, **more: Any) -> Tracked:
    identity = NETWORK.network_address + index
    values: dict[str, Any] = {
        "id": 7,
        "mark": LISTENER << 16 | index,
        "original": Tuple(6, identity, SERVICE, source_port, 80),
        "reply": Tuple(6, IPv4Address("169.254.64.1"), identity, 8097, source_port),
        "status": 0,
        "timeout": 60,
        "tcp_state": 3,
        "sent": None,
        "received": None,
        "start": None,
    }
    return Tracked(**(values | more))


def one(each: Tracked, by_index: Any = None, services: Any = SERVICES) -> Flow:
    known = {2: ALICE} if by_index is None else by_index
    (flow,) = flow_list([each], known, services, NOW).flows
    return flow


def test_a_flow_knows_its_guest_service_and_endpoint() -> None:
    """From the mark, the tuples, the ports and the services."""
    flow = one(tracked())
    assert ALICE == flow.registration
    assert ("metadata", SERVICE, 80) == (flow.service, flow.address, flow.port)
    assert (IPv4Address("169.254.64.1"), 8097) == (flow.endpoint, flow.endpoint_port)
    assert flow.is_local
    assert IPv4Address("10.0.0.5") == flow.source
    assert "ESTABLISHED" == flow.state


def test_an_endpoint_in_the_fabric_is_not_local() -> None:
    """Its number is another, and it sees the host's address."""
    host = IPv4Address("192.0.2.9")
    reply = Tuple(17, IPv4Address("192.0.2.1"), host, 53, 40000)
    flow = one(tracked(mark=5 << 16 | 2, reply=reply))
    assert not flow.is_local
    assert (host, 40000) == (flow.host, flow.host_port)


def test_a_removed_port_leaves_its_identity() -> None:
    """Until its flows are gone, they are shown as nobody's."""
    flow = one(tracked(), by_index={})
    assert flow.registration is None
    assert IPv4Address("169.254.64.2") == flow.source


def test_an_unknown_address_leaves_the_identity() -> None:
    """A port without an IPv4 address has no better name for its flow."""
    port = replace(PORT, address=None, address6=IPv6Address("fd00::5"))
    flow = one(tracked(), by_index={2: replace(ALICE, port=port)})
    assert IPv4Address("169.254.64.2") == flow.source


def test_a_service_that_is_gone_has_no_name() -> None:
    """The flow is shown all the same."""
    assert "" == one(tracked(), services=EMPTY).service


@pytest.mark.parametrize(
    ("protocol", "tcp_state", "status", "expected"),
    [
        *((6, number, 0, name) for number, name in enumerate(TCP_STATES)),
        (6, len(TCP_STATES), 0, f"TCP {len(TCP_STATES)}"),
        (6, None, SEEN_REPLY, "REPLIED"),
        (17, None, 0, "UNREPLIED"),
        (17, None, SEEN_REPLY, "REPLIED"),
        (17, None, SEEN_REPLY | ASSURED, "ASSURED"),
    ],
)
def test_states_have_names(
    protocol: int, tcp_state: int | None, status: int, expected: str
) -> None:
    """TCP's own, or what conntrack knows of others."""
    original = Tuple(protocol, IPv4Address("169.254.64.2"), SERVICE, 33000, 80)
    flow = one(tracked(original=original, tcp_state=tcp_state, status=status))
    assert expected == flow.state


@pytest.mark.parametrize(
    ("start", "age", "microseconds"),
    [
        (None, None, None),
        (1_469_000_000_000_001_999, 9, 1_469_000_000_000_001),
        (1_469_000_020_000_000_000, 0, 1_469_000_020_000_000),
    ],
)
def test_age_is_known_or_not(
    start: int | None, age: int | None, microseconds: int | None
) -> None:
    """Whole seconds; a clock that was set back makes no negative age."""
    flow = one(tracked(start=start))
    assert (age, microseconds) == (flow.age, flow.start)


@pytest.mark.parametrize(
    "other",
    [
        tracked(mark=2),
        tracked(mark=LISTENER << 16),
        tracked(mark=REFUSE << 16 | 2),
        tracked(mark=LISTENER << 16 | 3),
        tracked(original=Tuple(6, IPv4Address("10.0.0.5"), SERVICE, 1, 80)),
        tracked(original=Tuple(6, IPv6Address("fe80::2"), SERVICE, 1, 80)),
    ],
)
def test_marks_of_others_are_not_ours(other: Tracked) -> None:
    """No endpoint, no index, refused, or an opener that is not that identity."""
    assert [tracked()] == list(of_guests([other, tracked()], NETWORK))


@pytest.mark.parametrize(
    ("count", "is_cut"), [(MAX_FLOWS - 1, False), (MAX_FLOWS, False)]
)
def test_flows_up_to_the_ceiling_are_told(count: int, is_cut: bool) -> None:
    """All of them, and nothing says that there are more."""
    many = (tracked(source_port=number) for number in range(count))
    found = flow_list(many, {}, EMPTY, NOW)
    assert (count, is_cut) == (len(found.flows), found.is_cut)


def test_more_flows_than_the_ceiling_are_cut() -> None:
    """The rest is not even asked for."""
    coming = iter(range(MAX_FLOWS + 10))
    found = flow_list((tracked(source_port=n) for n in coming), {}, EMPTY, NOW)
    assert MAX_FLOWS == len(found.flows)
    assert found.is_cut
    assert MAX_FLOWS + 1 == next(coming)


def test_flows_are_in_order_and_pages_go_on_after_a_key() -> None:
    """By guest, then by port; a key that is gone does not matter."""
    many = [tracked(index, port) for index in (3, 2) for port in (9, 8)]
    found = flow_list(many, {}, EMPTY, NOW).flows
    assert [(2, 8), (2, 9), (3, 8), (3, 9)] == [f.key[:2] for f in found]
    assert list(found[2:]) == after(found, found[1].key)
    assert list(found[2:]) == after(found, (2, 9_999, 0, 0, 0, 0))


def test_what_the_fast_path_carried_counts() -> None:
    """For the flow with that id and tuple, where the kernel counts at all."""
    each = tracked(sent=Traffic(5, 500), received=Traffic(4, 400))
    carried = {
        (each.id, each.original): FastPathTraffic(
            Traffic(7, 70), Traffic(6, 60), is_on_it=True
        )
    }
    (flow,) = flow_list([each], {}, SERVICES, NOW, carried).flows
    assert (flow.sent, flow.received) == (Traffic(12, 570), Traffic(10, 460))
    assert flow.is_on_fast_path
    for other in (tracked(id=8), tracked(source_port=1)):
        (flow,) = flow_list([other], {}, SERVICES, NOW, carried).flows
        assert flow.sent is None
        assert not flow.is_on_fast_path
    (flow,) = flow_list([tracked()], {}, SERVICES, NOW, carried).flows
    assert flow.sent is None
    assert flow.is_on_fast_path
