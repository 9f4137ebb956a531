"""Which interfaces exist: the kernel's own messages (rtnetlink), read in the reactor.

Level-triggered: a message only says that a name deserves a look; the look is fresh.
When messages were lost (ENOBUFS), every name deserves one.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.datapath.netlink import (
    NLM_REQUEST,
    attribute,
    attributes_in,
    message,
    messages,
)

_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINK_NETNSID = 3, 5, 37
_INDEX = struct.Struct("=i")
_LINK = struct.Struct("=BxHiII")
MAX_BATCH = 128
"""Messages per turn of the reactor; a host that starts 1,000 guests sends thousands."""
_BUFFER = 4 * 1024 * 1024
_READ = 65536


class Link(NamedTuple):
    """What a link message says: an interface has this name, or is gone."""

    ifindex: int
    name: str
    is_gone: bool


def links_in(data: bytes) -> Iterator[Link]:
    """What a datagram of link messages says, as far as it parses."""
    for kind, body in messages(data):
        if kind in (_RTM_NEWLINK, _RTM_DELLINK) and len(body) >= _LINK.size:
            name = _text(attributes_in(body[_LINK.size :]).get(_IFLA_IFNAME, b""))
            if name:
                family, _, ifindex, *_ = _LINK.unpack_from(body)
                # A port that leaves a bridge is "deleted", too, in AF_BRIDGE's words.
                is_gone = kind == _RTM_DELLINK and family == socket.AF_UNSPEC
                yield Link(ifindex, name, is_gone)


class LinkNames:
    """The names that interfaces have, because a message about a renamed one does not
    say what its name was. As many as the host has interfaces.
    """

    def __init__(self, links: Iterable[tuple[int, str]] = ()) -> None:
        self._names = dict(links)

    def take(self, link: Link) -> set[str]:
        """The names that deserve a look after this message."""
        before = self._names.pop(link.ifindex, link.name)
        if not link.is_gone:
            self._names[link.ifindex] = link.name
        return {before, link.name}


def encode_question(name: str) -> bytes:
    """The message that asks for one interface."""
    asked = attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + asked
    return message(_RTM_GETLINK, NLM_REQUEST, body)


def linked_in(answer: bytes) -> int:
    """The ifindex of the interface that the one asked for is tied to: the other end of
    a veth, what a VLAN interface is on. 0 where there is none, or elsewhere.
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


@implementer(IReadDescriptor)
class LinkMonitor:
    """Calls `changed` with the names that may have come, gone or been renamed; None
    means any.
    """

    def __init__(
        self, changed: Callable[[set[str] | None], None], *, reactor: IReactorFDSet
    ) -> None:
        self._changed = changed
        self._reactor = reactor
        self._socket: socket.socket | None = None
        self._names = LinkNames()

    def open(self) -> None:
        """Subscribe. From here on no change is missed."""
        link = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        link.bind((0, _RTMGRP_LINK))
        self._socket = link
        self._names = LinkNames(socket.if_nameindex())
        self._reactor.addReader(self)

    def close(self) -> None:
        """Unsubscribe."""
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The netlink socket, or -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """Name in Twisted's log lines."""
        return "LinkMonitor"

    def doRead(self) -> None:
        """Read at most MAX_BATCH messages and report their names at once."""
        if self._socket is None:
            return
        names: set[str] = set()
        for _ in range(MAX_BATCH):
            try:
                for link in links_in(self._socket.recv(_READ)):
                    names |= self._names.take(link)
            except BlockingIOError:
                break
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                self._names = LinkNames(socket.if_nameindex())
                self._changed(None)
        if names:
            self._changed(names)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave the descriptor up."""
        self.close()
