"""Promises of vagent.kernel.sock_diag, on recorded bytes and on loopback."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from vagent.errors import KernelError
from vagent.kernel import sock_diag
from vagent.kernel.sock_diag import (
    End,
    Found,
    found_in,
    owner_in,
    owner_question,
    socket_owner,
)

HERE: End = (IPv4Address("127.0.0.1"), 41372)
THERE: End = (IPv4Address("127.0.0.1"), 47421)
HEAD = "7c0000001400000001000000f3790000"
RECORDED = bytes.fromhex(
    HEAD + "02010000a19cb93d7f00000100000000000000000000000"
    "07f00000100000000000000000000000000000000d8130000000000000000000000000000"
    "00000000e8030000008a894200050008000000000008000f00000000000c00150001000000"
    "000000000600160052000000"
)
"""What Linux 6.18 answers: ESTABLISHED, user 1000."""


def test_the_question() -> None:
    """One socket by its exact tuple (struct inet_diag_req_v2), not a dump."""
    asked = owner_question(HERE, THERE)
    assert struct.pack("=IHHII", 72, 20, 1, 1, 0) == asked[:16]
    assert b"\x02\x06\x00\x00\xff\xff\xff\xff" == asked[16:24]
    assert struct.pack("!HH", 41372, 47421) == asked[24:28]
    assert b"\x7f\0\0\1" + bytes(12) == asked[28:44] == asked[44:60]
    assert bytes(4) + b"\xff" * 8 == asked[60:]
    asked = owner_question((IPv6Address("::1"), 1), (IPv6Address("::2"), 2))
    assert (10, IPv6Address("::1").packed) == (asked[16], asked[28:44])


def test_the_answer() -> None:
    """State, both ends, user and inode."""
    found = Found(1, HERE, THERE, uid=1000, inode=RECORDED_INODE)
    assert found == found_in(RECORDED)
    assert 1000 == owner_in(RECORDED, HERE, THERE)


RECORDED_INODE = int.from_bytes(RECORDED[16 + 68 : 16 + 72], "little")


def changed(offset: int, value: bytes) -> bytes:
    """The recorded answer with other bytes in the structure."""
    at = 16 + offset
    return RECORDED[:at] + value + RECORDED[at + len(value) :]


@pytest.mark.parametrize(
    "reply",
    [
        *(changed(1, bytes([state])) for state in (2, 4, 6, 7, 8, 10, 12)),
        changed(68, bytes(4)),
        changed(4, b"\0\1"),
        changed(6, b"\0\1"),
        changed(8, b"\x7f\0\0\2"),
        changed(24, b"\x7f\0\0\2"),
        struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -errno.ENOENT) + bytes(16),
        RECORDED[:80],
        b"",
    ],
    ids=lambda reply: reply[:48].hex(),
)
def test_what_does_not_count(reply: bytes) -> None:
    """Another state, no inode, another socket, an error, a stump: nobody's."""
    assert None is owner_in(reply, HERE, THERE)


class Loopback(ExitStack):
    """A connection on loopback, of the family that a client chooses."""

    def __init__(self, listening: str, calling: str) -> None:
        super().__init__()
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        server = self.enter_context(
            socket.socket(family[ip_address(listening).version])
        )
        server.bind((listening, 0))
        server.listen()
        self.client = self.enter_context(
            socket.socket(family[ip_address(calling).version])
        )
        self.client.connect((calling, server.getsockname()[1]))
        self.accepted = self.enter_context(server.accept()[0])

    def owner(self) -> int | None:
        """As the server asks: it knows its own end and the peer's."""
        peer, own = self.accepted.getpeername(), self.accepted.getsockname()
        return socket_owner(
            (ip_address(peer[0]), peer[1]), (ip_address(own[0]), own[1])
        )


@pytest.fixture(
    params=[
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("::1", "::1"),
    ],
    ids=["IPv4", "mapped", "IPv6"],
)
def loopback(request: pytest.FixtureRequest) -> Iterator[Loopback]:
    """A connection of each kind."""
    with Loopback(*request.param) as connection:
        yield connection


def test_the_owner_of_a_connection(loopback: Loopback) -> None:
    """The user who runs this test, while its socket is open."""
    assert os.geteuid() == loopback.owner()
    loopback.client.close()
    assert None is loopback.owner()


def test_a_socket_that_is_not_connected() -> None:
    """A listening one is not an answer, nor is no socket."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        end = (IPv4Address("127.0.0.1"), server.getsockname()[1])
        assert None is socket_owner(end, (IPv4Address("127.0.0.1"), 1))


@pytest.mark.parametrize("error", [KernelError("no"), OSError(errno.EPROTONOSUPPORT)])
def test_a_kernel_that_cannot_tell(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nobody's."""

    def refuse(*_arguments: Any, **_options: Any) -> bytes:
        raise error

    monkeypatch.setattr(sock_diag, "ask", refuse)
    assert None is socket_owner(HERE, THERE)
