"""Readings of the flow table: what is asked, what is bounded, what makes room."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from unittest.mock import MagicMock

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from vagent.datapath.flows.flow import TCP_STATES, FlowList
from vagent.datapath.flows.reader import DEADLINE, MAX_READINGS, FlowReader, received
from vagent.datapath.state import LISTENER
from vagent.errors import KernelError, LimitError
from vagent.kernel.conntrack import Tracked, Tuple, encode_dump
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.table import ServiceTable
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


class Kernel:
    """Answers dumps with these flows."""

    def __init__(self, *answer: Tracked) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    def __call__(
        self, question: bytes, /, *, clock: Callable[[], float]
    ) -> Iterator[Tracked]:
        self.asked.append(question)
        yield from self.answer


def reader(kernel: Kernel, run_in_thread: Any = None) -> FlowReader:
    return FlowReader(
        NETWORK,
        guests=dict.fromkeys(ALICE.indexes, ALICE),
        services=lambda: SERVICES,
        run_in_thread=run_in_thread or (lambda work: succeed(work())),
        now=lambda: NOW,
        clock=lambda: 0.0,
        dump=kernel,
    )


def result(coroutine: Any) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(got.append)
    if isinstance(got[0], Failure):
        got[0].raiseException()
    return got[0]


def test_all_flows_are_read_without_a_mark() -> None:
    """And told with what is registered and provisioned."""
    kernel = Kernel(tracked())
    read = result(reader(kernel).read())
    assert [encode_dump(family=socket.AF_UNSPEC)] == kernel.asked
    assert ["metadata"] == [flow.service for flow in read.flows]
    assert [ALICE] == [flow.registration for flow in read.flows]


def test_flows_of_one_port_are_read_by_its_index() -> None:
    """The kernel filters by the lower half of the mark."""
    kernel = Kernel()
    assert FlowList() == result(reader(kernel).read(ALICE))
    asked = encode_dump(family=socket.AF_UNSPEC, mark=2, mask=0xFFFF)
    assert [asked] == kernel.asked


def test_live_flows_are_counted_by_port() -> None:
    """Connections that have ended do not count."""
    closing = (TCP_STATES.index(name) for name in ("TIME_WAIT", "CLOSE"))
    ended = (tracked(3, 9, tcp_state=state) for state in closing)
    kernel = Kernel(tracked(), tracked(2, 9), tracked(3, 1, tcp_state=None), *ended)
    assert {2: 2, 3: 1} == result(reader(kernel).count())


def test_readings_have_a_ceiling() -> None:
    """MAX_READINGS may wait; one more is refused, and there is room when one ends."""
    waiting: list[Deferred[FlowList]] = []

    def later(_work: Any) -> Deferred[FlowList]:
        waiting.append(Deferred())
        return waiting[-1]

    reads = reader(Kernel(), later)
    for _ in range(MAX_READINGS):
        Deferred.fromCoroutine(reads.read())
    assert f"<FlowReader 169.254.64.0/18, {MAX_READINGS} readings>" == repr(reads)
    with pytest.raises(LimitError, match=str(MAX_READINGS)):
        result(reads.read())
    waiting[0].callback(FlowList())
    Deferred.fromCoroutine(reads.read())
    assert MAX_READINGS + 1 == len(waiting)


def test_a_failed_reading_makes_room() -> None:
    """What the kernel refused is raised, and nothing stays behind."""

    def refuse(_work: Any) -> Any:
        raise KernelError("flow dump: no")

    reads = reader(Kernel(), refuse)
    for _ in range(MAX_READINGS + 1):
        with pytest.raises(KernelError):
            result(reads.read())


def test_datagrams_are_read_up_to_the_last() -> None:
    """No read after the end."""
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    left = [b"", done, b"never read"]
    assert [] == list(received(lambda _size: left.pop(0), clock=lambda: 0.0))
    assert [b"never read"] == left


@pytest.mark.parametrize(
    ("late", "ends"), [(DEADLINE, True), (DEADLINE + 0.001, False)]
)
def test_a_dump_has_a_deadline(late: float, ends: bool) -> None:
    """A kernel that goes on and on is not listened to for ever."""
    times = iter([0.0, late])
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    left = [b"", done]
    reading = received(lambda _size: left.pop(0), clock=lambda: next(times))
    if ends:
        assert [] == list(reading)
        return
    with pytest.raises(KernelError, match="not done"):
        list(reading)


def test_flows_are_those_of_the_network_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question's socket is made there, and only that: it stays there for good."""
    inside: list[bool] = []
    done = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)

    class Inside:
        @contextmanager
        def entered(self) -> Iterator[None]:
            inside.append(True)
            yield
            inside.append(False)

    def made(*kind: int) -> Any:
        assert (socket.AF_NETLINK, socket.SOCK_RAW, 12) == kind
        assert [True] == inside
        link = MagicMock()
        link.__enter__.return_value = link
        link.recv.return_value = done
        return link

    monkeypatch.setattr("vagent.datapath.flows.reader.socket.socket", made)
    reads = FlowReader(
        NETWORK,
        guests={},
        services=lambda: SERVICES,
        run_in_thread=lambda work: succeed(work()),
        now=lambda: NOW,
        clock=lambda: 0.0,
        inside=Inside(),
    )
    assert FlowList() == result(reads.read())
    assert [True, False] == inside


def test_a_port_of_several_addresses_has_all_of_their_flows() -> None:
    """The kernel gives all, and those of others are left out."""
    port = replace(PORT, further=(IPv4Address("10.0.0.9"),))
    alice = replace(ALICE, port=port, further=(7,))
    kernel = Kernel(tracked(), tracked(7), tracked(8))
    reader_ = FlowReader(
        NETWORK,
        guests=dict.fromkeys(alice.indexes, alice),
        services=lambda: SERVICES,
        run_in_thread=lambda work: succeed(work()),
        now=lambda: NOW,
        clock=lambda: 0.0,
        dump=kernel,
    )
    read = result(reader_.read(alice))
    assert [encode_dump(family=socket.AF_UNSPEC)] == kernel.asked
    assert ["10.0.0.5", "10.0.0.9"] == [str(flow.source) for flow in read.flows]
