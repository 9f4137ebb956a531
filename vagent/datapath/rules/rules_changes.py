"""Hears from the kernel that some program has changed rules, whichever.

Each transaction of nf_tables ends with one message about its number. Those about what
was changed are filtered out in the kernel: a reader that looks for itself needs none of
them, and a ruleset has thousands.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable

from twisted.internet.interfaces import IReactorFDSet

from vagent.errors import KernelError
from vagent.kernel.namespace import Network
from vagent.kernel.netlink import NETLINK_NETFILTER
from vagent.kernel.nf_tables_dump import NEW_GENERATION
from vagent.transport.netlink_reader import NetlinkReader

MAX_BATCH = 64
"""Messages that are read in one turn of the reactor; each says the same."""
_GROUP = 1 << (7 - 1)
"""NFNLGRP_NFTABLES (linux/netfilter/nfnetlink.h), as a bit of a netlink address."""
_SO_ATTACH_FILTER = 26
_STEP = struct.Struct("=HBBI")
_LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x28, 0x15, 0x06
"""Classic BPF (linux/filter.h): ldh, jeq, ret."""
_KIND_AT = 4
_READ = 4096


class RulesChanges(NetlinkReader):
    """Calls `changed` when rules of this network may have changed: one call for many
    transactions in a row.
    """

    def __init__(
        self, network: Network, changed: Callable[[], None], *, reactor: IReactorFDSet
    ) -> None:
        super().__init__(reactor)
        self._network = network
        self._changed = changed

    def __repr__(self) -> str:
        return f"<RulesChanges {'closed' if self._socket is None else 'open'}>"

    def open(self) -> None:
        """No change is missed from now on. Raises KernelError."""
        try:
            with self._network.entered():
                link = socket.socket(
                    socket.AF_NETLINK,
                    socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                    NETLINK_NETFILTER,
                )
            _let_generations_in(link)
            link.bind((0, _GROUP))
        except OSError as failure:
            raise KernelError(f"changes of rules: {failure}") from failure
        self.read_from(link)

    def doRead(self) -> None:
        """Read at most MAX_BATCH messages, and tell once."""
        if self._socket is None:
            return
        for _ in range(MAX_BATCH):
            try:
                self._socket.recv(_READ)
            except BlockingIOError:
                break
            except OSError as failure:
                # There were more than the buffer holds, and each says the same.
                if failure.errno != errno.ENOBUFS:
                    raise
        self._changed()


def _let_generations_in(link: socket.socket) -> None:
    """Filter out every message but those about a transaction's end."""
    # The filter reads in network order what the kernel wrote in its own.
    kind = int.from_bytes(NEW_GENERATION.to_bytes(2, sys.byteorder), "big")
    steps = b"".join(
        _STEP.pack(*step)
        for step in (
            (_LOAD_HALF, 0, 0, _KIND_AT),
            (_JUMP_EQUAL, 0, 1, kind),
            (_RETURN, 0, 0, 0xFFFFFFFF),
            (_RETURN, 0, 0, 0),
        )
    )
    held = ctypes.create_string_buffer(steps)
    program = struct.pack("@HP", len(steps) // _STEP.size, ctypes.addressof(held))
    link.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
