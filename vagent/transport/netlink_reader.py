"""A netlink socket of the kernel's news in the reactor. What they say is elsewhere."""

from __future__ import annotations

import socket

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IReadDescriptor)
class NetlinkReader:
    """Holds the socket from `read_from` to `close`. A subclass has `doRead`."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = None

    def read_from(self, link: socket.socket) -> None:
        """Have the reactor read from this socket, which is bound already."""
        self._socket = link
        self._reactor.addReader(self)

    def close(self) -> None:
        """Hear no more."""
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """The netlink socket, or -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """Name in Twisted's log lines."""
        return type(self).__name__

    def doRead(self) -> None:
        """Read what there is, in a bounded batch."""
        raise NotImplementedError

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave the descriptor up."""
        self.close()
