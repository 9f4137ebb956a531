"""The kernel's messages about interfaces (rtnetlink), as bytes and as values."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from vagent.kernel.netlink import (
    NLM_DUMP,
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
_IFLA_MASTER, _IFLA_LINKINFO = 10, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_TUN_TYPE, _IFF_TAP = 3, 2
_IFF_UP = 1
_INDEX = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")


class LinkChange(NamedTuple):
    """What a message says of an interface: it has this name, or is gone."""

    ifindex: int
    name: str
    is_gone: bool


class Link(NamedTuple):
    """An interface, as the kernel lists it. `kind` is `bridge`, `veth`, `tun`,
    `openvswitch`, … or "" for a physical one; `is_tap` says that a `tun` carries
    Ethernet. `master` is the ifindex of the bridge (or other master) that it is a port
    of, 0 for none. `tied` is the ifindex of the interface that it is tied to: the other
    end of a veth, or what a VLAN interface is on; `is_away` says that this is in
    another network namespace.
    """

    ifindex: int
    name: str
    kind: str
    is_up: bool
    master: int = 0
    is_tap: bool = False
    tied: int = 0
    is_away: bool = False


def encode_list() -> bytes:
    """Ask for all interfaces, to be dumped."""
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    return message(_RTM_GETLINK, NLM_REQUEST | NLM_DUMP, body)


def link_in(kind: int, body: bytes) -> Link | None:
    """One message of the answer to `encode_list`; None for any other message."""
    if kind != _RTM_NEWLINK or len(body) < _LINK.size:
        return None
    _, _, ifindex, flags, _ = _LINK.unpack_from(body)
    found = attributes_in(body[_LINK.size :])
    about = attributes_in(found.get(_IFLA_LINKINFO, b""))
    data = attributes_in(about.get(_IFLA_INFO_DATA, b""))
    what = _text(about.get(_IFLA_INFO_KIND, b""))
    return Link(
        ifindex,
        _text(found.get(_IFLA_IFNAME, b"")),
        what,
        bool(flags & _IFF_UP),
        _number(found.get(_IFLA_MASTER, b"")),
        what == "tun" and data.get(_IFLA_TUN_TYPE) == bytes([_IFF_TAP]),
        _number(found.get(_IFLA_LINK, b"")),
        _IFLA_LINK_NETNSID in found,
    )


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
    return _tied_in(answer, elsewhere=False)


def linked_elsewhere_in(answer: bytes) -> int:
    """The same for one that is tied to an interface in another network namespace: its
    ifindex there.
    """
    return _tied_in(answer, elsewhere=True)


def _tied_in(answer: bytes, *, elsewhere: bool) -> int:
    for kind, body in messages(answer):
        if kind != _RTM_NEWLINK:
            continue
        found = attributes_in(body[_LINK.size :])
        if (_IFLA_LINK_NETNSID in found) == elsewhere:
            return _number(found.get(_IFLA_LINK, b""))
    return 0


def _number(value: bytes) -> int:
    return int(_INDEX.unpack(value)[0]) if len(value) == _INDEX.size else 0


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")
