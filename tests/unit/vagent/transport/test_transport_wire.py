"""Sending: at once if the kernel takes it, else in order through the reactor."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.unit.vagent.metadata.proxy_rig import FakeTransport
from vagent.transport.wire import Wire, has_unread


def test_order_is_kept_when_the_kernel_is_full() -> None:
    """What could not be sent at once goes before what is written later."""
    transport = FakeTransport()
    drained: list[bool] = []
    wire = Wire(transport, lambda: drained.append(True))
    transport.room = 4
    wire.write(b"abcdef")
    wire.write(b"ghi")
    assert (b"abcd", b"efghi", True) == (
        transport.sent,
        transport.pending,
        wire.pending,
    )
    transport.drain()
    assert (b"abcdefghi", False, [True]) == (transport.sent, wire.pending, drained)
    wire.write(b"j")
    assert transport.sent.endswith(b"j")
    wire.close()
    wire.write(b"k")
    assert transport.sent.endswith(b"j")


def test_a_lost_connection_is_left_to_the_reactor() -> None:
    """An error of the kernel is found again, and reported, by the reactor."""

    class Lost(FakeTransport):
        def send(self, data: bytes) -> int:
            raise BrokenPipeError

    transport = Lost()
    wire = Wire(transport)
    wire.write(b"abc")
    assert b"abc" == transport.pending


def test_without_a_socket_the_transport_sends() -> None:
    """As TLS is: it has nothing to send on directly."""

    class Layer:
        sent = b""

        def write(self, data: bytes) -> None:
            self.sent += data

        def loseConnection(self) -> None:
            self.sent += b"."

    layer = Layer()
    wire = Wire(layer)
    wire.write(b"abc")
    wire.finish()
    assert (b"abc.", True) == (layer.sent, wire.closed)


@pytest.mark.parametrize(
    ("family", "option"),
    [
        (socket.AF_INET, (socket.IPPROTO_IP, socket.IP_TTL, 2)),
        (socket.AF_INET6, (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 2)),
    ],
)
def test_hops_are_limited(family: Any, option: tuple[int, int, int]) -> None:
    """By the option of the connection's address family."""
    transport = FakeTransport()
    transport.family = family
    Wire(transport).limit_hops(2)
    assert [option] == transport.options


def test_a_silent_peer_is_probed() -> None:
    """By the kernel (tcp(7)), and only once asked for."""
    transport = FakeTransport()
    wire = Wire(transport)
    assert [] == transport.options
    wire.probe_peer(60, 15, 4)
    assert [
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ] == transport.options


def test_the_end_waits_for_what_is_pending() -> None:
    """Else it is at once, and reading goes on after a half-close."""
    for room, state in ((1 << 30, "closed"), (0, "closing")):
        transport = FakeTransport()
        transport.protocol = Lost()
        transport.room = room
        wire = Wire(transport)
        wire.write(b"abc")
        wire.end()
        wire.end()
        assert (state, True) == (transport.state, wire.closed)
    transport = FakeTransport()
    wire = Wire(transport)
    wire.finish()
    assert ("half-closed", False) == (transport.state, wire.closed)


class Lost:
    """A protocol that may be told of its end once."""

    ends = 0

    def connectionLost(self, _reason: object) -> None:
        self.ends += 1
        assert 1 == self.ends


def test_what_waits_in_a_socket_is_seen_and_left_there() -> None:
    """Bytes, the end, an error; nothing where there is no socket."""

    class Transport:
        """With this socket."""

        def __init__(self, one: socket.socket) -> None:
            self.getHandle = lambda: one

    ours, theirs = socket.socketpair()
    with ours:
        transport = Transport(ours)
        assert not has_unread(transport)
        with theirs:
            theirs.sendall(b"x")
            assert has_unread(transport)
            assert b"x" == ours.recv(9)
            assert not has_unread(transport)
        assert has_unread(transport)
    assert has_unread(transport)
    assert not has_unread(object())
