"""Who owns a TCP socket of this host: sock_diag(7) as bytes, and one quick question.

Only a socket that is ESTABLISHED and has an inode counts. After its process has closed
it, the kernel shows user 0 for what is left of a connection, and no inode; where
nothing matches exactly, it may answer with a listening socket. Structures are those of
linux/inet_diag.h, RFC 3549 has the headers around them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from vagent.errors import KernelError
from vagent.kernel.netlink import NLM_REQUEST, ask, message, messages

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
TCP_ESTABLISHED = 1
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = 0xFFFFFFFF
_REQUEST = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
_REST_OF_ID = struct.Struct("=III")
_REPLY = struct.Struct("=BBBB2s2s16s16sIIIIIIII")

Address = IPv4Address | IPv6Address
End = tuple[Address, int]
"""Address and port of one end of a connection."""


@dataclass(frozen=True, slots=True)
class Found:
    """A socket as the kernel describes it. `inode` is 0 where no process has it."""

    state: int
    here: End
    there: End
    uid: int
    inode: int


def owner_question(here: End, there: End) -> bytes:
    """The netlink message that asks for the one TCP socket whose own end is `here` and
    whose peer is `there`. Both are of one family.
    """
    family = socket.AF_INET if here[0].version == 4 else socket.AF_INET6
    return message(
        SOCK_DIAG_BY_FAMILY,
        NLM_REQUEST,
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ANY_STATE)
        + _PORTS.pack(here[1], there[1])
        + here[0].packed.ljust(16, b"\0")
        + there[0].packed.ljust(16, b"\0")
        + _REST_OF_ID.pack(0, _NO_COOKIE, _NO_COOKIE),
    )


def found_in(reply: bytes) -> Found | None:
    """The socket in an answer; None where it says that there is none, or cannot be
    read. An IPv4 connection of an IPv6 socket has its IPv4 addresses here.
    """
    for kind, body in messages(reply):
        if kind == SOCK_DIAG_BY_FAMILY and len(body) >= _REPLY.size:
            family, state, _, _, sport, dport, source, target, *rest = _REPLY.unpack(
                body[: _REPLY.size]
            )
            return Found(
                state=state,
                here=(_address(family, source), int.from_bytes(sport, "big")),
                there=(_address(family, target), int.from_bytes(dport, "big")),
                uid=rest[6],
                inode=rest[7],
            )
    return None


def owner_in(reply: bytes, here: End, there: End) -> int | None:
    """The user id in an answer, if it tells of an open socket with exactly these ends;
    else None.
    """
    found = found_in(reply)
    if found is None or found.state != TCP_ESTABLISHED or not found.inode:
        return None
    ends = _plain(here), _plain(there)
    return found.uid if (found.here, found.there) == ends else None


def socket_owner(here: End, there: End) -> int | None:
    """The user id of the process that made the TCP socket with its own end `here` and
    its peer `there`; None where there is no such socket, it is closed, or the kernel
    cannot tell. Takes some 10 µs and never waits: the kernel answers within the call.
    """
    here, there = _plain(here), _plain(there)
    try:
        reply = ask(
            owner_question(here, there),
            "socket owner",
            NETLINK_SOCK_DIAG,
            timeout=0,
        )
    except (KernelError, OSError):
        return None
    return owner_in(reply, here, there)


def _plain(end: End) -> End:
    """The end with an IPv4 address where it is one that an IPv6 socket shows."""
    address = end[0]
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (address if mapped is None else mapped), end[1]


def _address(family: int, packed: bytes) -> Address:
    if family == socket.AF_INET:
        return IPv4Address(packed[:4])
    address = ip_address(packed)
    return _plain((address, 0))[0]
