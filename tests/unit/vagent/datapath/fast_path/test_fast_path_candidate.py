"""Which flows may take the fast path, and how often a guest may ask for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from vagent.datapath.fast_path.candidate import MAX_TRIES_OF_GUEST, Tries, why_not
from vagent.datapath.state import INDEX_BITS, LISTENER, REFUSE
from vagent.datapath.tap.flow_entry import Match, Pair
from vagent.kernel.conntrack import (
    DYING,
    ESTABLISHED,
    HELPED,
    OFFLOADED,
    SEEN_REPLY,
    SEQUENCE_ADJUSTED,
    Tracked,
    Tuple,
)
from vagent.kernel.ip_packet import TCP, UDP

INDEX, FABRIC = 5, 7
IDENTITY, SERVICE = IPv4Address("169.254.64.5"), IPv4Address("169.254.1.7")
ENDPOINT, HOST = IPv4Address("198.51.100.10"), IPv4Address("198.51.100.1")
PAIR = Pair(IPv4Address("10.0.0.5"), SERVICE, 4000, 7)


def reason(protocol: int = UDP, **changes: Any) -> str:
    """Why not, for a flow that may, but for these changes."""
    values: dict[str, Any] = {
        "id": 1,
        "mark": FABRIC << INDEX_BITS | INDEX,
        "original": Tuple(protocol, IDENTITY, SERVICE, 4000, 7),
        "reply": Tuple(protocol, ENDPOINT, HOST, 7777, 4000),
        "status": SEEN_REPLY,
        "timeout": 10,
        "tcp_state": ESTABLISHED if protocol == TCP else None,
        "sent": None,
        "received": None,
        "start": None,
    }
    match = Match(11, bytes(6), protocol, PAIR)
    return why_not(match, INDEX, Tracked(**(values | changes)))


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_flow_to_a_fabric_endpoint_may(protocol: int) -> None:
    """Answered, and for TCP established."""
    assert "" == reason(protocol)


def test_a_flow_that_conntrack_does_not_have_may_not() -> None:
    """There is nothing to compare it with."""
    match = Match(11, bytes(6), UDP, PAIR)
    assert "conntrack does not have it" == why_not(match, INDEX, None)


@pytest.mark.parametrize("number", [0, LISTENER, REFUSE])
def test_a_flow_that_ends_on_this_host_may_not(number: int) -> None:
    """Nothing would forward it."""
    expected = "it ends on this host"
    assert expected == reason(mark=number << INDEX_BITS | INDEX)


@pytest.mark.parametrize("source", [IPv4Address("127.0.0.1"), IPv6Address("::2")])
def test_nor_may_one_whose_endpoint_is_local_or_ipv6(
    source: IPv4Address | IPv6Address,
) -> None:
    """A loopback address is this host; the programs translate IPv4 only."""
    reply = Tuple(UDP, source, HOST, 7777, 4000)
    assert "it ends on this host" == reason(reply=reply)


def test_a_flow_of_another_guest_may_not() -> None:
    """The mark says whose it is."""
    assert "it is another's" == reason(mark=FABRIC << INDEX_BITS | INDEX + 1)


@pytest.mark.parametrize("bit", [SEQUENCE_ADJUSTED, DYING, HELPED, OFFLOADED])
def test_a_flow_that_the_kernel_works_on_may_not(bit: int) -> None:
    """A helper, a flowtable, its end."""
    assert "somebody else looks into it" == reason(status=SEEN_REPLY | bit)


def test_a_flow_must_be_answered() -> None:
    """Its reply's addresses are certain then."""
    assert "it was not answered" == reason(status=0)


def test_a_connection_must_be_established() -> None:
    """UDP has no such state."""
    assert "it is not established" == reason(TCP, tcp_state=ESTABLISHED + 1)
    assert "" == reason(UDP, tcp_state=None)


def test_each_guest_has_so_many_tries_in_a_second() -> None:
    """n, n+1; another guest, and the next second, have their own."""
    tries = Tries()
    taken = [tries.take(2, 100.0) for _ in range(MAX_TRIES_OF_GUEST + 1)]
    assert [True] * MAX_TRIES_OF_GUEST + [False] == taken
    assert tries.take(3, 100.0)
    assert not tries.take(2, 100.9)
    assert tries.take(2, 101.0)
