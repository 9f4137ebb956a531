"""What the fast path asks of the kernel: the interface, and Linux behind it."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from vagent.datapath.fast_path.program import at_fabric, at_tap
from vagent.datapath.tap.flow_entry import KEY_SIZE, VALUE_SIZE, Count, decode_count
from vagent.errors import KernelError
from vagent.kernel import bpf, netlink
from vagent.kernel import rtnl_route as route
from vagent.kernel import tc as traffic_control
from vagent.kernel.bpf import BpfMap, MapKind
from vagent.kernel.conntrack import Tracked, decode_found, encode_find, encode_keep
from vagent.kernel.ip_packet import OpeningPacket
from vagent.kernel.rtnl_route import Hop

LEASE = 3.0
"""Seconds without renewal after which no entry holds any more, and every packet takes
the usual way: the agent was killed, or is stuck."""
MAX_ENTRIES = 1024
"""Entries: two for each flow that the fast path may carry at a time."""
MAX_ADDRESSES = 1024
"""Service addresses that are known to the programs; flows to others take the usual
way."""
MAX_COUNTED = 8192
"""Flows without an entry whose packets are counted, the latest of all guests; 1 MiB."""
MAX_CANDIDATES = 256
"""Length of the queue of candidate flows. A flow that finds no room in it is put there
again after some packets."""


class FastPathKernel(Protocol):
    """Every method may raise KernelError."""

    def open(self) -> None:
        """Load the programs. What an earlier agent left is taken away first."""

    def close(self) -> None:
        """End the lease, and take away all that is attached."""

    def clear(self) -> int:
        """Take away what an agent with this name and queue has attached; at how many
        interfaces it was.
        """

    def attach_tap(self, ifindex: int) -> None:
        """Run the program for taps at this interface."""

    def attach_fabric(self, ifindex: int) -> None:
        """Run the program for the fabric at this interface."""

    def detach(self, ifindex: int) -> None:
        """Take our program away from an interface, which may be gone."""

    def serve(self, addresses: Iterable[IPv4Address]) -> None:
        """Let the programs look only at packets to these addresses."""

    def has_lapsed(self) -> bool:
        """Has the lease run out?"""

    def renew(self) -> None:
        """Let entries hold for LEASE seconds from now."""

    def next_candidate(self) -> bytes | None:
        """The key of the next flow with many packets; None where there is none."""

    def put(self, key: bytes, entry: bytes) -> None:
        """Write an entry."""

    def count(self, key: bytes) -> Count | None:
        """The counters of an entry; None where there is no such entry."""

    def delete(self, key: bytes) -> None:
        """Delete an entry, if it is there."""

    def find(self, packet: OpeningPacket) -> Tracked | None:
        """Conntrack's flow that this packet opened; None where there is none. Raises
        WireError, too.
        """

    def keep(self, packet: OpeningPacket, status: int, seconds: int) -> None:
        """Let conntrack keep a flow with this status for so many seconds from now."""

    def hop(self, source: IPv4Address, destination: IPv4Address) -> Hop | None:
        """How a packet from this identity is forwarded; None unless that is plain
        forwarding over Ethernet.
        """

    def link_mtu(self, ifindex: int) -> int | None:
        """The MTU of an Ethernet interface, in bytes of IP; None where it is of another
        kind, or down.
        """

    def has_ipsec(self) -> bool:
        """Has this host any IPsec policy?"""


class LinuxFastPath:
    """The kernel of this host. Our filters are known by their name and by a handle made
    of the queue's number, which is different for each agent of a host.
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
            "counted": BpfMap(
                MapKind.LRU_HASH, key=KEY_SIZE, value=8, entries=MAX_COUNTED
            ),
            "candidates": BpfMap(
                MapKind.QUEUE, key=0, value=KEY_SIZE, entries=MAX_CANDIDATES
            ),
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

    def next_candidate(self) -> bytes | None:
        return self._maps["candidates"].take()

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
