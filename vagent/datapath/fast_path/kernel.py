"""What the fast path asks of the kernel: a small seam, and the real thing."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from vagent.datapath.fast_path.program import (
    KEY_SIZE,
    VALUE_SIZE,
    Count,
    at_fabric,
    at_tap,
    decode_count,
)
from vagent.errors import KernelError
from vagent.kernel import bpf, netlink
from vagent.kernel import rtnl_route as route
from vagent.kernel import tc as traffic_control
from vagent.kernel.bpf import BpfMap, MapKind
from vagent.kernel.conntrack import Tracked, decode_found, encode_find, encode_keep
from vagent.kernel.ip_packet import OpeningPacket
from vagent.kernel.rtnl_route import Hop

LEASE = 3.0
"""Seconds without a turn of the agent after which every packet takes the way through
the rules again: the agent was killed, or is stuck."""
MAX_ENTRIES = 1024
"""Two for each flow that the fast path may carry at a time."""
MAX_ADDRESSES = 1024
"""Service addresses; flows to further ones take the usual way."""
MAX_SEEN = 8192
"""Flows of all guests whose packets are counted, the latest ones; 1 MiB."""
MAX_TOLD = 256
"""Of them that wait to be looked at; the rest is told again after some packets."""


class FastPathKernel(Protocol):
    """All of it raises KernelError."""

    def open(self) -> None:
        """Load what will be attached. What an earlier agent left goes first."""

    def close(self) -> None:
        """Take away all that is attached."""

    def clear(self) -> int:
        """Take away what any agent of this name has attached; at how many interfaces
        it was.
        """

    def attach_tap(self, ifindex: int) -> None:
        """Look at what comes from a guest."""

    def attach_fabric(self, ifindex: int) -> None:
        """Look at what comes from the fabric there."""

    def detach(self, ifindex: int) -> None:
        """Look no more; the interface may be gone."""

    def serve(self, addresses: Iterable[IPv4Address]) -> None:
        """Look only at packets to these."""

    def has_lapsed(self) -> bool:
        """Is the lease over?"""

    def renew(self) -> None:
        """Entries hold for LEASE seconds from now."""

    def told(self) -> bytes | None:
        """The match of a flow that has many packets, None when there is no more."""

    def put(self, key: bytes, entry: bytes) -> None:
        """Let an entry hold."""

    def count(self, key: bytes) -> Count | None:
        """What it has seen."""

    def delete(self, key: bytes) -> None:
        """It holds no more, if it did."""

    def find(self, packet: OpeningPacket) -> Tracked | None:
        """Conntrack's flow that this packet opened; None where there is none. Raises
        WireError, too.
        """

    def keep(self, packet: OpeningPacket, status: int, seconds: int) -> None:
        """Let conntrack's flow live so long from now, seen or not; its status."""

    def hop(self, source: IPv4Address, destination: IPv4Address) -> Hop | None:
        """Where a packet of this identity is forwarded to, None where not simply."""

    def link_mtu(self, ifindex: int) -> int | None:
        """Bytes of IP that an Ethernet interface takes."""

    def has_ipsec(self) -> bool:
        """Has this host any IPsec policy?"""


class LinuxFastPath:
    """The kernel of this host. Our filters are told from all others' by their name, and
    by a handle made of the queue's number: agents on one host have other queues.
    """

    def __init__(self, *, queue_number: int, name: str, host_side: str) -> None:
        self._handle = queue_number + 1  # 0 would mean any
        self._name = name
        self._host_side = host_side
        self._maps: dict[str, BpfMap] = {}
        self._tap_program = self._fabric_program = -1
        self._until = 0
        self._addresses: frozenset[IPv4Address] = frozenset()

    def open(self) -> None:
        self.clear()
        self._maps = {
            "entries": BpfMap(
                MapKind.HASH, key=KEY_SIZE, value=VALUE_SIZE, entries=MAX_ENTRIES
            ),
            "lease": BpfMap(MapKind.ARRAY, key=4, value=8, entries=1),
            "services": BpfMap(MapKind.HASH, key=4, value=1, entries=MAX_ADDRESSES),
            "seen": BpfMap(MapKind.LRU_HASH, key=KEY_SIZE, value=8, entries=MAX_SEEN),
            "told": BpfMap(MapKind.QUEUE, key=0, value=KEY_SIZE, entries=MAX_TOLD),
        }
        numbers = {name: each.descriptor for name, each in self._maps.items()}
        self._tap_program = bpf.load(at_tap(**numbers))
        self._fabric_program = bpf.load(
            at_fabric(entries=numbers["entries"], lease=numbers["lease"])
        )

    def close(self) -> None:
        # Entries end first, in case a filter does not go.
        try:
            if "lease" in self._maps:
                self._lease(0)
            self.clear()
        finally:
            for each in self._maps.values():
                each.close()
            for program in (self._tap_program, self._fabric_program):
                if program >= 0:
                    os.close(program)
            self._maps = {}
            self._tap_program = self._fabric_program = -1

    def clear(self) -> int:
        return sum(map(self._detach, list(traffic_control.attached())))

    def attach_tap(self, ifindex: int) -> None:
        self._attach(ifindex, self._tap_program)

    def attach_fabric(self, ifindex: int) -> None:
        self._attach(ifindex, self._fabric_program)

    def detach(self, ifindex: int) -> None:
        self._detach(ifindex)

    def serve(self, addresses: Iterable[IPv4Address]) -> None:
        chosen = frozenset(sorted(addresses)[:MAX_ADDRESSES])
        services = self._maps["services"]
        for gone in self._addresses - chosen:
            services.delete(gone.packed)
        for come in chosen - self._addresses:
            services.write(come.packed, b"\1")
        self._addresses = chosen

    def has_lapsed(self) -> bool:
        return time.monotonic_ns() > self._until

    def renew(self) -> None:
        self._lease(time.monotonic_ns() + int(LEASE * 1e9))

    def told(self) -> bytes | None:
        return self._maps["told"].take()

    def put(self, key: bytes, entry: bytes) -> None:
        self._maps["entries"].write(key, entry)

    def count(self, key: bytes) -> Count | None:
        value = self._maps["entries"].read(key)
        return None if value is None else decode_count(value)

    def delete(self, key: bytes) -> None:
        self._maps["entries"].delete(key)

    def find(self, packet: OpeningPacket) -> Tracked | None:
        return decode_found(netlink.ask(encode_find(packet), "flow"))

    def keep(self, packet: OpeningPacket, status: int, seconds: int) -> None:
        netlink.transact(encode_keep(packet, status, seconds), "flow's time-out")

    def hop(self, source: IPv4Address, destination: IPv4Address) -> Hop | None:
        try:
            came_in = socket.if_nametoindex(self._host_side)
        except OSError as failure:
            raise KernelError(f"interface {self._host_side}: {failure}") from failure
        return route.hop(source, destination, came_in)

    def link_mtu(self, ifindex: int) -> int | None:
        return route.link_mtu(ifindex)

    def has_ipsec(self) -> bool:
        return route.has_ipsec()

    def _detach(self, ifindex: int) -> bool:
        return traffic_control.detach(ifindex, handle=self._handle, name=self._name)

    def _attach(self, ifindex: int, program: int) -> None:
        traffic_control.attach(ifindex, program, handle=self._handle, name=self._name)

    def _lease(self, until: int) -> None:
        self._maps["lease"].write(bytes(4), struct.pack("=Q", until))
        self._until = until
