"""What the fast path asks of the kernel: the interface, and Linux behind it."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv4Address
from typing import Protocol

from vagent.datapath.names import Names
from vagent.datapath.tap.flow_entry import KEY_SIZE, VALUE_SIZE, Count, decode_count
from vagent.datapath.tap.kernel import LinuxTapKernel
from vagent.datapath.tap.layout import MapForm
from vagent.errors import KernelError
from vagent.kernel import netlink
from vagent.kernel import rtnl_route as route
from vagent.kernel.bpf import BpfMap, MapKind
from vagent.kernel.conntrack import (
    ESTABLISHED,
    SEEN_REPLY,
    Tracked,
    decode_found,
    encode_find,
    encode_keep,
)
from vagent.kernel.ip_packet import OpeningPacket
from vagent.kernel.namespace import Network
from vagent.kernel.rtnl_route import Hop

LEASE = 3.0
"""Seconds without renewal after which no entry holds any more, and every packet takes
the usual way: the agent was killed, or is stuck."""
MAX_ENTRIES = 1024
"""Entries: two for each flow that the fast path may carry at a time."""
MAX_COUNTED = 8192
"""Flows without an entry whose packets are counted, the latest of all guests; 1 MiB."""
MAX_CANDIDATES = 256
"""Length of the queue of candidate flows. A flow that finds no room in it is put there
again after some packets."""


def opens_outside(inner: Tracked) -> OpeningPacket:
    """The packet by which a flow of the namespace opens one of the host."""
    seen = inner.reply
    return OpeningPacket(
        seen.protocol,
        int(seen.destination),
        int(seen.source),
        seen.destination_port,
        seen.source_port,
    )


def joined(inner: Tracked, outer: Tracked) -> Tracked:
    """A flow through both connection trackings as one: from the guest's packets to
    those on the fabric. It has been answered, and is established, if it is in both.
    """
    either = inner.status | outer.status
    is_inner_established = inner.tcp_state == ESTABLISHED
    return inner._replace(
        reply=outer.reply,
        status=either & ~SEEN_REPLY | inner.status & outer.status & SEEN_REPLY,
        tcp_state=outer.tcp_state if is_inner_established else inner.tcp_state,
    )


def _found(packet: OpeningPacket, *, is_marked: bool) -> Tracked | None:
    answer = netlink.ask(encode_find(packet), "flow")
    return decode_found(answer, is_marked=is_marked)


class FastPathKernel(Protocol):
    """Every method may raise KernelError."""

    def open(self) -> None:
        """Begin without entries, whatever an earlier agent left."""

    def close(self) -> None:
        """End the lease, and take away all that is attached."""

    def attach_fabric(self, ifindex: int) -> None:
        """Run the program for the fabric at this interface."""

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
        """The flow that this packet opened, as it is between the guest and the fabric;
        None where there is none. Raises WireError, too.
        """

    def keep(self, packet: OpeningPacket, seconds: int) -> None:
        """Let conntrack keep the flow that this packet opened for so many seconds from
        now. Raises WireError, too.
        """

    def hop(self, destination: IPv4Address) -> Hop | None:
        """How a packet that comes by the uplink is forwarded; None unless that is plain
        forwarding over Ethernet.
        """

    def link_mtu(self, ifindex: int) -> int | None:
        """The MTU of an Ethernet interface, in bytes of IP; None where it is of another
        kind, or down.
        """

    def has_ipsec(self) -> bool:
        """Has this host any IPsec policy?"""


MAPS = {
    "entries": MapForm(MapKind.HASH, KEY_SIZE, VALUE_SIZE, MAX_ENTRIES),
    "lease": MapForm(MapKind.ARRAY, 4, 8, 1),
    "counted": MapForm(MapKind.LRU_HASH, KEY_SIZE, 8, MAX_COUNTED),
    "candidates": MapForm(MapKind.QUEUE, 0, KEY_SIZE, MAX_CANDIDATES),
}
"""The fast path's maps, beside those that the tap programs have without it."""


class LinuxFastPath:
    """The kernel of this host. The tap programs translate what guests send, by maps of
    ours, which `taps` holds.
    """

    def __init__(self, taps: LinuxTapKernel, names: Names, *, inside: Network) -> None:
        self._taps = taps
        self._inside = inside
        self._uplink = names.uplink
        self._source = names.uplink_address + 1
        self._until = 0

    def open(self) -> None:
        self._lease(0)
        entries = self._map("entries")
        for key, _ in entries.elements():
            entries.delete(key)
        while self.next_candidate() is not None:
            pass

    def close(self) -> None:
        # Entries end first, in case a program does not go.
        self._lease(0)
        self._taps.detach_fabric()

    def attach_fabric(self, ifindex: int) -> None:
        self._taps.attach_fabric(ifindex)

    def has_lapsed(self) -> bool:
        return time.monotonic_ns() > self._until

    def renew(self) -> None:
        self._lease(time.monotonic_ns() + int(LEASE * 1e9))

    def next_candidate(self) -> bytes | None:
        return self._map("candidates").take()

    def put(self, key: bytes, entry: bytes) -> None:
        self._map("entries").write(key, entry)

    def count(self, key: bytes) -> Count | None:
        value = self._map("entries").read(key)
        return None if value is None else decode_count(value)

    def delete(self, key: bytes) -> None:
        self._map("entries").delete(key)

    def find(self, packet: OpeningPacket) -> Tracked | None:
        parts = self._parts(packet)
        return None if parts is None else joined(*parts)

    def keep(self, packet: OpeningPacket, seconds: int) -> None:
        parts = self._parts(packet)
        if parts is None:
            raise KernelError("the flow has ended")
        (inner, outer), what = parts, "flow's time-out"
        with self._inside.entered():
            netlink.transact(encode_keep(packet, inner.status, seconds), what)
        netlink.transact(encode_keep(opens_outside(inner), outer.status, seconds), what)

    def hop(self, destination: IPv4Address) -> Hop | None:
        try:
            came_in = socket.if_nametoindex(self._uplink)
        except OSError as failure:
            raise KernelError(f"interface {self._uplink}: {failure}") from failure
        return route.hop(self._source, destination, came_in)

    def link_mtu(self, ifindex: int) -> int | None:
        return route.link_mtu(ifindex)

    def has_ipsec(self) -> bool:
        return route.has_ipsec()

    def _parts(self, packet: OpeningPacket) -> tuple[Tracked, Tracked] | None:
        """The flow as the namespace has it, and as the host has it."""
        with self._inside.entered():
            inner = _found(packet, is_marked=True)
        # The host has no reason to mark it.
        outer = inner and _found(opens_outside(inner), is_marked=False)
        return (inner, outer) if inner and outer else None

    def _map(self, name: str) -> BpfMap:
        return self._taps.maps[name]

    def _lease(self, until: int) -> None:
        self._map("lease").write(bytes(4), struct.pack("=Q", until))
        self._until = until
