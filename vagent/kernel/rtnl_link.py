"""The kernel's messages about interfaces (rtnetlink), as bytes and as values."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from vagent.kernel.netlink import (
    NLM_REQUEST,
    attribute,
    attributes_in,
    message,
    messages,
)

LINK_GROUP = 1
"""The multicast group RTMGRP_LINK, in which the kernel announces each change of an
interface."""
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINK_NETNSID = 3, 5, 37
_INDEX = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")


class LinkChange(NamedTuple):
    """What a message says of an interface: it has this name, or is gone."""

    ifindex: int
    name: str
    is_gone: bool


def links_in(data: bytes) -> Iterator[LinkChange]:
    """The messages of a datagram, as far as it can be read."""
    for kind, body in messages(data):
        if kind in (_RTM_NEWLINK, _RTM_DELLINK) and len(body) >= _LINK.size:
            name = _text(attributes_in(body[_LINK.size :]).get(_IFLA_IFNAME, b""))
            if name:
                family, _, ifindex, *_ = _LINK.unpack_from(body)
                # A port that leaves a bridge is "deleted", too, in AF_BRIDGE's words.
                is_gone = kind == _RTM_DELLINK and family == socket.AF_UNSPEC
                yield LinkChange(ifindex, name, is_gone)


def encode_question(name: str) -> bytes:
    """Ask for the interface of this name."""
    asked = attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + asked
    return message(_RTM_GETLINK, NLM_REQUEST, body)


def linked_in(answer: bytes) -> int:
    """The answer to `encode_question`: ifindex of the interface that this one is tied
    to, which is the other end of a veth, or what a VLAN interface is on. 0 where there
    is none, or it is in another network namespace.
    """
    for kind, body in messages(answer):
        if kind != _RTM_NEWLINK:
            continue
        found = attributes_in(body[_LINK.size :])
        tied = found.get(_IFLA_LINK, b"")
        if _IFLA_LINK_NETNSID not in found and len(tied) == _INDEX.size:
            return int(_INDEX.unpack(tied)[0])
    return 0


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")
