"""Promises of vagent.web.gate: who may use an operator's site."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from vagent.config.model import Access, AccessMode, Secret
from vagent.web.caller import Operators, SiteCaller
from vagent.web.gate import End, Gate

TOKEN = "0123456789abcdef"
ROOT, MEMBER, STRANGER = 0, 5, 65534
NOT_ALLOWED = (
    "User 65534 may not use this API; allowed: root and members of the group vagent"
)


class Transport:
    """One end of a connection."""

    def __init__(self, here: str, there: str) -> None:
        self._here = IPv4Address("TCP", here, 9091)
        self._there = IPv4Address("TCP", there, 4711)

    def getHost(self) -> IPv4Address:
        return self._here

    def getPeer(self) -> IPv4Address:
        return self._there


class SocketTransport:
    """One end of a Unix socket, with a peer in this process."""

    def __init__(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pair = pair

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(None)

    def getHandle(self) -> socket.socket:
        return self._pair[0]


class Door:
    """A gate, and the user whom it finds at the other end."""

    def __init__(self, mode: AccessMode) -> None:
        self.owner: int | None = None
        self.asked: list[tuple[End, End]] = []
        self.gate = Gate(
            Access(mode, Secret(TOKEN.encode() if mode == "token" else b"")),
            operators=Operators(
                group=lambda: 7,
                groups=lambda uid: frozenset({7} if uid == MEMBER else {8}),
            ),
            owner_of=self.owner_of,
        )

    def owner_of(self, here: End, there: End) -> int | None:
        self.asked.append((here, there))
        return self.owner

    def status(self, caller: SiteCaller, *credentials: str) -> int:
        denial = self.gate.denial(caller, credentials)
        return 200 if denial is None else denial.status


@pytest.mark.parametrize(
    ("mode", "uid", "status"),
    [
        ("peer-uid", ROOT, 200),
        ("peer-uid", MEMBER, 200),
        ("peer-uid", STRANGER, 403),
        ("peer-uid", None, 403),
        ("open", STRANGER, 200),
        ("open", None, 200),
        ("token", ROOT, 401),
    ],
)
def test_over_tcp(mode: str, uid: int | None, status: int) -> None:
    """What `<access>` says."""
    assert status == Door(AccessMode(mode)).status(SiteCaller("TCP", uid))


@pytest.mark.parametrize("mode", list(AccessMode))
@pytest.mark.parametrize(
    ("uid", "status"), [(ROOT, 200), (MEMBER, 200), (STRANGER, 403), (None, 403)]
)
def test_by_a_socket(mode: AccessMode, uid: int | None, status: int) -> None:
    """Root and members, whatever TCP wants."""
    assert status == Door(mode).status(SiteCaller("socket", uid, 1))


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ([f"Bearer {TOKEN}"], 200),
        ([f"bearer  {TOKEN} "], 200),
        ([], 401),
        ([f"Bearer {TOKEN}x"], 401),
        ([f"Bearer {TOKEN[:-1]}"], 401),
        (["Bearer "], 401),
        (["Bearer"], 401),
        ([TOKEN], 401),
        ([f"Basic {TOKEN}"], 401),
        ([f"Bearer {TOKEN}"] * 2, 401),
        (["Bearer \xe9"], 401),
    ],
)
def test_tokens(credentials: list[str], status: int) -> None:
    """Exactly one header with exactly the token; the scheme's case does not count."""
    door = Door(AccessMode.TOKEN)
    assert status == door.status(SiteCaller("TCP", ROOT), *credentials)


def test_what_is_said() -> None:
    """What is allowed; never what was sent."""
    door = Door(AccessMode.PEER_UID)
    denial = door.gate.denial(SiteCaller("TCP", STRANGER), ())
    assert denial is not None
    assert (NOT_ALLOWED, "user") == (denial.text, denial.reason)
    denial = Door(AccessMode.TOKEN).gate.denial(SiteCaller("TCP", 0), ("Bearer xyz",))
    assert denial is not None
    assert ("token", False) == (denial.reason, "xyz" in denial.text)


@pytest.mark.parametrize("there", ["127.0.0.1", "127.8.8.8", "10.0.0.5"])
def test_the_user_at_the_other_end(there: str) -> None:
    """Is asked for by the exact ends of the connection, each time anew: whatever local
    address a client on this host uses, its peer is ours on loopback.
    """
    door = Door(AccessMode.PEER_UID)
    transport = Transport("127.0.0.1", there)
    for owner in (1000, None):
        door.owner = owner
        assert SiteCaller("TCP", owner, address=there) == door.gate.caller(transport)
    ends = ((ip_address(there), 4711), (ip_address("127.0.0.1"), 9091))
    assert [ends, ends] == door.asked


def test_a_user_on_another_machine() -> None:
    """Is not asked for."""
    door = Door(AccessMode.TOKEN)
    caller = door.gate.caller(Transport("192.0.2.1", "192.0.2.2"))
    assert (SiteCaller("TCP", address="192.0.2.2"), []) == (caller, door.asked)


def test_the_user_behind_a_socket() -> None:
    """The kernel says who connected."""
    first, second = socket.socketpair()
    with first, second:
        transport: Any = SocketTransport((first, second))
        caller = Door(AccessMode.PEER_UID).gate.caller(transport)
    assert SiteCaller("socket", os.geteuid(), os.getegid()) == caller


@pytest.mark.parametrize(
    ("uid", "place"), [(ROOT, 0), (MEMBER, 5), (STRANGER, None), (None, None)]
)
def test_whose_place_a_connection_takes(uid: int | None, place: int | None) -> None:
    """An operator's own, or one of all others'."""
    assert place == Door(AccessMode.OPEN).gate.place(SiteCaller("TCP", uid))
