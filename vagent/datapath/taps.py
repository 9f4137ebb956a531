"""Hears from the kernel which interfaces of the host come, go or get another name, and
which ones get or lose what filters at ingress hang on.

A message only says that a name deserves a look; what is there is looked up afresh. When
messages were lost (ENOBUFS) every name deserves one.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorFDSet

from vagent.kernel.rtnl_link import LINK_GROUP, LinkChange, links_in
from vagent.kernel.tc import (
    DISCIPLINE_GROUP,
    DisciplineChange,
    discipline_changes_in,
)
from vagent.transport.netlink_reader import NetlinkReader

MAX_BATCH = 128
"""Messages per turn of the reactor; a host that starts 1,000 guests sends thousands."""
_BUFFER = 4 * 1024 * 1024
_READ = 65536


class LinkNames:
    """Remembers the name of each interface of the host: a message about one that was
    renamed does not say what its name was before.
    """

    def __init__(self, links: Iterable[tuple[int, str]] = ()) -> None:
        self._names = dict(links)

    def take(self, link: LinkChange) -> set[str]:
        """Which names deserve a look after this message."""
        before = self._names.pop(link.ifindex, link.name)
        if not link.is_gone:
            self._names[link.ifindex] = link.name
        return {before, link.name}


class LinkMonitor(NetlinkReader):
    """Calls `changed` with the names of interfaces that may have come or gone; None
    means that it may be any. Calls `discipline_changed` with each change of a
    discipline at ingress.
    """

    def __init__(
        self,
        changed: Callable[[set[str] | None], None],
        discipline_changed: Callable[[DisciplineChange], None],
        *,
        reactor: IReactorFDSet,
    ) -> None:
        super().__init__(reactor)
        self._changed = changed
        self._discipline_changed = discipline_changed
        self._names = LinkNames()

    def open(self) -> None:
        """Subscribe; no change is missed from now on."""
        link = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        link.bind((0, LINK_GROUP | DISCIPLINE_GROUP))
        self._names = LinkNames(socket.if_nameindex())
        self.read_from(link)

    def doRead(self) -> None:
        """Read at most MAX_BATCH messages and report their names at once."""
        if self._socket is None:
            return
        names: set[str] = set()
        disciplines: list[DisciplineChange] = []
        for _ in range(MAX_BATCH):
            try:
                data = self._socket.recv(_READ)
                for link in links_in(data):
                    names |= self._names.take(link)
                disciplines += discipline_changes_in(data)
            except BlockingIOError:
                break
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                self._names = LinkNames(socket.if_nameindex())
                self._changed(None)
        if names:
            self._changed(names)
        for change in disciplines:
            self._discipline_changed(change)
