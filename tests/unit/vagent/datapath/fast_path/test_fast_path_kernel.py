"""A flow is two in conntrack, one in the namespace and one on the host; told and kept
as one. That the kernel agrees is shown in `tests/system/test_system_fast_path.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, cast

import pytest

from vagent.datapath.fast_path.kernel import LinuxFastPath, joined, opens_outside
from vagent.datapath.names import Names
from vagent.errors import KernelError
from vagent.kernel.conntrack import (
    ASSURED,
    DYING,
    ESTABLISHED,
    HELPED,
    SEEN_REPLY,
    Tracked,
    Tuple,
    encode_find,
    encode_keep,
)
from vagent.kernel.ip_packet import TCP, OpeningPacket
from vagent.kernel.rtnl_route import Hop

ROOM = "vagent.datapath.fast_path.kernel"
ASK_IFINDEX = f"{ROOM}.socket.if_nametoindex"
IDENTITY, SERVICE = IPv4Address("169.254.64.2"), IPv4Address("169.254.1.7")
ENDPOINT = IPv4Address("198.51.100.10")
INNER_UPLINK, HOST = IPv4Address("169.254.0.1"), IPv4Address("198.51.100.1")
OPENING = OpeningPacket(TCP, int(IDENTITY), int(SERVICE), 4000, 7)
ON_THE_UPLINK = OpeningPacket(TCP, int(INNER_UPLINK), int(ENDPOINT), 1024, 7777)
INNER = Tracked(
    id=1,
    mark=2 << 16 | 2,
    original=Tuple(TCP, IDENTITY, SERVICE, 4000, 7),
    reply=Tuple(TCP, ENDPOINT, INNER_UPLINK, 7777, 1024),
    status=SEEN_REPLY,
    timeout=10,
    tcp_state=ESTABLISHED,
    sent=None,
    received=None,
    start=None,
)
OUTER = INNER._replace(
    id=2,
    mark=0,
    original=Tuple(TCP, INNER_UPLINK, ENDPOINT, 1024, 7777),
    reply=Tuple(TCP, ENDPOINT, HOST, 7777, 2048),
    timeout=500,
)


def test_a_flow_of_the_namespace_opens_one_of_the_host() -> None:
    """From the address and port that source NAT there has given it, to its endpoint."""
    assert ON_THE_UPLINK == opens_outside(INNER)


def test_both_together_lead_from_the_guest_to_the_fabric() -> None:
    """Opened by the guest, and answered to the host."""
    both = joined(INNER, OUTER)
    assert (INNER.original, OUTER.reply) == (both.original, both.reply)
    assert (INNER.id, INNER.mark, INNER.timeout) == (both.id, both.mark, both.timeout)


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (SEEN_REPLY, SEEN_REPLY, SEEN_REPLY),
        (SEEN_REPLY, 0, 0),
        (0, SEEN_REPLY, 0),
        (SEEN_REPLY | DYING, SEEN_REPLY, SEEN_REPLY | DYING),
        (SEEN_REPLY, SEEN_REPLY | HELPED, SEEN_REPLY | HELPED),
        (ASSURED, SEEN_REPLY, ASSURED),
    ],
)
def test_it_is_answered_if_both_are(inner: int, outer: int, expected: int) -> None:
    """What keeps one of them off the fast path keeps the flow off."""
    both = joined(INNER._replace(status=inner), OUTER._replace(status=outer))
    assert expected == both.status


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (ESTABLISHED, ESTABLISHED, ESTABLISHED),
        (ESTABLISHED, 4, 4),
        (2, ESTABLISHED, 2),
        (5, 4, 5),
        (None, None, None),
    ],
)
def test_it_is_established_if_both_are(
    inner: int | None, outer: int | None, expected: int | None
) -> None:
    """Else it has the state of one that is not."""
    both = joined(INNER._replace(tcp_state=inner), OUTER._replace(tcp_state=outer))
    assert expected == both.tcp_state


@dataclass
class Kernel:
    """Conntrack of both networks, by what is asked."""

    is_inside: bool = False
    flows: dict[tuple[bool, bytes], Tracked] = field(default_factory=dict)
    told: list[tuple[bool, bytes]] = field(default_factory=list)

    @contextmanager
    def entered(self) -> Iterator[None]:
        assert not self.is_inside
        self.is_inside = True
        try:
            yield
        finally:
            self.is_inside = False

    def ask(self, question: bytes, _what: str) -> Tracked | None:
        return self.flows.get((self.is_inside, question))

    def decode(self, found: Tracked | None, *, is_marked: bool) -> Tracked | None:
        return found if found and (found.mark or not is_marked) else None

    def transact(self, message: bytes, _what: str) -> None:
        self.told.append((self.is_inside, message))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """With the flow in both."""
    made = Kernel()
    made.flows[True, encode_find(OPENING)] = INNER
    made.flows[False, encode_find(ON_THE_UPLINK)] = OUTER
    monkeypatch.setattr(f"{ROOM}.netlink.ask", made.ask)
    monkeypatch.setattr(f"{ROOM}.netlink.transact", made.transact)
    monkeypatch.setattr(f"{ROOM}.decode_found", made.decode)
    return made


@pytest.fixture
def fast_path(kernel: Kernel, names: Names) -> LinuxFastPath:
    """Of that kernel; its maps are not asked for."""
    return LinuxFastPath(cast("Any", None), names, inside=kernel)


def test_a_flow_is_looked_up_in_both(fast_path: LinuxFastPath) -> None:
    """First inside, then on the host the one that it has opened there."""
    assert joined(INNER, OUTER) == fast_path.find(OPENING)


@pytest.mark.parametrize("where", [True, False], ids=["inside", "host"])
def test_half_a_flow_is_none(
    fast_path: LinuxFastPath, kernel: Kernel, *, where: bool
) -> None:
    """Either side may have forgotten it; then it cannot be kept, either."""
    kernel.flows = {key: flow for key, flow in kernel.flows.items() if key[0] != where}
    assert fast_path.find(OPENING) is None
    with pytest.raises(KernelError, match="the flow has ended"):
        fast_path.keep(OPENING, 120)
    assert [] == kernel.told


def test_only_flows_of_the_namespace_have_our_mark(
    fast_path: LinuxFastPath, kernel: Kernel
) -> None:
    """One without is not a guest's; on the host none has, or has somebody else's."""
    assert 0 == OUTER.mark
    kernel.flows[False, encode_find(ON_THE_UPLINK)] = OUTER._replace(mark=5)
    found = fast_path.find(OPENING)
    assert (found and found.mark) == INNER.mark
    kernel.flows[True, encode_find(OPENING)] = INNER._replace(mark=0)
    assert fast_path.find(OPENING) is None


def test_both_are_kept(fast_path: LinuxFastPath, kernel: Kernel) -> None:
    """Each with the status that it has, so that none is taken for the other's."""
    kernel.flows[False, encode_find(ON_THE_UPLINK)] = OUTER._replace(status=HELPED)
    fast_path.keep(OPENING, 120)
    assert [
        (True, encode_keep(OPENING, SEEN_REPLY, 120)),
        (False, encode_keep(ON_THE_UPLINK, HELPED, 120)),
    ] == kernel.told


def test_the_way_is_that_from_the_uplink(
    fast_path: LinuxFastPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy rules of the host see a packet from there, not from the guest."""
    way = Hop(90, ENDPOINT, 1500)
    asked: list[object] = []

    def hop(*question: object) -> Hop:
        asked.append(question)
        return way

    monkeypatch.setattr(ASK_IFINDEX, {"vagentu": 33}.__getitem__)
    monkeypatch.setattr(f"{ROOM}.route.hop", hop)
    assert way == fast_path.hop(ENDPOINT)
    assert [(INNER_UPLINK, ENDPOINT, 33)] == asked


def test_without_the_uplink_there_is_no_way(
    fast_path: LinuxFastPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's reason is told."""

    def gone(_name: str) -> int:
        raise OSError("No such device")

    monkeypatch.setattr(ASK_IFINDEX, gone)
    with pytest.raises(KernelError, match="interface vagentu: No such device"):
        fast_path.hop(ENDPOINT)
