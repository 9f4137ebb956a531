"""The reader of NFQUEUE: takes trapped packets in bounded batches, sets verdicts.

It knows nothing of verdicts: `mark_of` says with which mark a packet goes on, and
whatever goes wrong in there costs that packet alone.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol, cast

from netfilterqueue import NetfilterQueue
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.datapath.state import REJECT_MARK
from vagent.datapath.trap.events import QueueOverrun, VerdictFailed
from vagent.errors import KernelError
from vagent.kernel.namespace import Network
from vagent.observe.event import Emit

COPY_RANGE = 128
"""Bytes of each packet that the kernel copies: enough for the longest IPv4 header (60)
and the ports, or for an IPv6 header with extensions and the ports."""
MAX_BATCH = 64
"""Packets per turn of the reactor, about 1 ms: a flood of opening packets must not keep
requests waiting."""
RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes of the netlink socket's receive buffer: room for a full queue of 4,096 packets,
each with 128 bytes and the kernel's overhead."""


class TrappedPacket(Protocol):
    """A packet as the library of the queue hands it over."""

    def get_payload(self) -> bytes:
        """The first COPY_RANGE bytes of the packet, from the IP header on."""

    def get_mark(self) -> int:
        """The mark that the packet came with."""

    def set_mark(self, mark: int) -> None:
        """Set the mark with which the packet goes on."""

    def accept(self) -> None:
        """Let the packet go on."""

    def drop(self) -> None:
        """Drop the packet."""


class _Batch:
    """A socket for the library's `run_socket`, which reads until there is nothing left.
    It says so after `left` packets, so that the reactor gets its turn.
    """

    def __init__(self, queue_socket: socket.socket, emit: Emit) -> None:
        self._socket = queue_socket
        self._emit = emit
        self.left = 0

    def recv(self, size: int) -> bytes:
        if self.left == 0:
            raise BlockingIOError(errno.EAGAIN, "end of this batch")
        self.left -= 1
        try:
            return self._socket.recv(size, socket.MSG_DONTWAIT)
        except OSError as failure:
            if failure.errno == errno.ENOBUFS:
                self._emit(QueueOverrun())
            raise


@implementer(IReadDescriptor)
class PacketTrap:
    """One NFQUEUE in the reactor.

    A packet goes on with the mark that `mark_of` gives it, or is dropped where that is
    0. Datagrams with REJECT_MARK were refused by the kernel already: they come here for
    the ICMP error that `reject` sends, and are dropped.
    """

    def __init__(
        self,
        queue_number: int,
        *,
        queue_length: int,
        mark_of: Callable[[bytes], int],
        reject: Callable[[bytes], None],
        network: Network,
        emit: Emit,
        reactor: IReactorFDSet,
    ) -> None:
        self._number = queue_number
        self._length = queue_length
        self._mark_of = mark_of
        self._reject = reject
        self._network = network
        self._emit = emit
        self._reactor = reactor
        self._queue: NetfilterQueue | None = None
        self._batch: _Batch | None = None
        self._socket: socket.socket | None = None

    def __repr__(self) -> str:
        state = "open" if self._queue is not None else "closed"
        return f"<PacketTrap queue {self._number} {state}>"

    def open(self) -> None:
        """Bind the queue and begin to read. Raises KernelError."""
        try:
            with self._network.entered():
                queue = NetfilterQueue()
            queue.bind(
                self._number,
                self._take,
                max_len=self._length,
                range=COPY_RANGE,
                sock_len=RECEIVE_BUFFER,
            )
        except (OSError, RuntimeError) as failure:
            raise KernelError(
                f"cannot bind NFQUEUE number {self._number}: {failure}; either it is"
                " taken by another program, or this process lacks CAP_NET_ADMIN"
            ) from failure
        self._queue = queue
        self._socket = socket.socket(fileno=os.dup(queue.get_fd()))
        self._batch = _Batch(self._socket, self._emit)
        self._reactor.addReader(self)

    def close(self) -> None:
        """Stop reading and unbind the queue; the kernel drops what is in it."""
        if self._queue is None:
            return
        self._reactor.removeReader(self)
        self._queue.unbind()
        if self._socket is not None:
            self._socket.close()
        self._queue = self._batch = self._socket = None

    def fileno(self) -> int:
        """The netlink socket, or -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """Name in Twisted's log lines."""
        return "PacketTrap"

    def doRead(self) -> None:
        """Take at most MAX_BATCH packets."""
        if self._queue is None or self._batch is None:
            return
        self._batch.left = MAX_BATCH
        self._queue.run_socket(cast("socket.socket", self._batch))

    def connectionLost(self, reason: Failure) -> None:
        """The reactor dropped the descriptor, at shutdown or after an error."""
        self.close()

    def _take(self, packet: TrappedPacket) -> None:
        try:
            if packet.get_mark() == REJECT_MARK:
                self._reject(packet.get_payload())
                mark = 0
            else:
                mark = self._mark_of(packet.get_payload())
        except Exception as failure:  # one packet must not stop the queue
            self._emit(VerdictFailed(f"{type(failure).__name__}: {failure}"))
            mark = 0
        if mark:
            packet.set_mark(mark)
            packet.accept()
        else:
            packet.drop()
