"""A host that routes, with guests, a neighbour and somebody else's metadata service
beyond it, and raw sockets wherever a frame could come out.
"""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from lab.agent import port_add
from lab.guests import Guest, Wiring
from lab.namespaces import PATIENCE, Machine
from tests.system.service_frames import IPV4, Sender, frame, ipv4, mentions
from tests.system.test_system_identity import QUIET, wire

VLAN = 7
"""In which alice has a second port, on the same tap."""
EXPERIMENTAL = 0x88B5
"""Ethernet type for local experiments (IEEE 802)."""
UPSTREAM = "198.51.100.1"
BATCH = 500
"""Frames after which everything that is observed is looked through."""
DEADLINE = 20.0 * PATIENCE
UDP = 17


class Scene:
    """A host that routes, with guests and a neighbour; beyond it is somebody else's
    metadata service.
    """

    def __init__(self, site: Any) -> None:
        self._site = site
        self.alice: Guest = bridged(site, "alice", 5)
        self.neighbour: Guest = bridged(site, "dave", 6)
        self.carol: Guest = site.carol()
        self._upstream = site.uplink()
        self._route6()
        site.introduce(self.alice, self.carol)
        self.tagged = replace(
            self.alice, port_id="5a3c1b0e-0000-4000-8000-000000000007"
        )
        site.agent.tool(*port_add(self.tagged), "--vlan", str(VLAN))
        site.provision()
        self.wires = {
            name: wire(name)
            for name in (
                *(self._upstream, site.gateway("blue"), site.gateway("green")),
                self.neighbour.machine.name,
            )
        }
        self._serial = 0

    def close(self) -> None:
        for each in self.wires.values():
            each.close()

    def _route6(self) -> None:
        """The host routes IPv6 as well, takes whatever comes, and beyond it the service
        addresses are there.
        """
        run, beyond = self._site.lab.host.run, Machine(self._upstream).run
        for name in ("all", "default", self.carol.tap):
            run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
            run("sysctl", "-qw", f"net.ipv4.conf.{name}.accept_source_route=1")
        run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        run("ip", "address", "add", "2001:db8:99::2/64", "dev", "uplink", "nodad")
        run("ip", "route", "add", "default", "via", "2001:db8:99::1")
        for address in ("2001:db8:99::1/64", "fd00:ec2::254/128", "169.254.169.254/32"):
            nodad = ["nodad"] if ":" in address else []
            beyond("ip", "address", "add", address, "dev", "eth0", *nodad)

    def senders(self, guest: Guest) -> list[Sender]:
        """The guest, and strangers on its tap: another MAC address, other addresses."""
        run = self._site.lab.host.run
        to = b"\xff" * 6
        if guest is self.carol:
            text = run("cat", f"/sys/class/net/{guest.tap}/address").strip()
            to = bytes.fromhex(text.replace(":", ""))
        own = Sender(
            bytes.fromhex(guest.mac.replace(":", "")),
            IPv4Address(guest.address),
            IPv6Address(guest.address6 or "2001:db8::9"),
            to,
        )
        return [
            own,
            replace(own, mac=bytes.fromhex("020000000099")),
            replace(
                own,
                address=IPv4Address("10.0.0.88"),
                address6=IPv6Address("2001:db8::88"),
            ),
        ]

    def observers(self, guest: Guest) -> list[socket.socket]:
        """Where whatever this guest sends to others comes out."""
        if guest is self.carol:
            return [self.wires[self._upstream]]
        places = self._site.gateway("blue"), self.neighbour.machine.name
        return [self.wires[each] for each in places]

    def send(self, guest: Guest, frames: Iterable[bytes]) -> int:
        """Send them from this guest's machine; how many they were. Fails when one of
        them is seen by somebody else.
        """
        count, rest = 0, iter(frames)
        with closing(wire(guest.machine.name)) as raw:
            while batch := list(itertools.islice(rest, BATCH)):
                for each in batch:
                    raw.send(each)
                count += len(batch)
                self._check(guest, raw)
        return count

    def _check(self, guest: Guest, raw: socket.socket) -> None:
        """A frame that must pass comes through, and before it none that must not."""
        self._serial += 1
        mark = b"the end of batch %08d" % self._serial
        sender = self.senders(guest)[0]
        body = (EXPERIMENTAL, mark)
        if guest is self.carol:
            message = struct.pack("!HHHH", 9, 9, 8 + len(mark), 0) + mark
            to = IPv4Address(UPSTREAM)
            body = (IPV4, ipv4(sender.address, to, UDP, message))
        raw.send(frame(sender, (), body))
        for each in self.observers(guest):
            leaked = [data for data in until(each, mark) if mentions(data)]
            assert not leaked, f"{len(leaked)} passed: {[x.hex() for x in leaked[:5]]}"

    def nothing_late(self) -> None:
        """Nor has anything come since, at any place."""
        deadline = time.monotonic() + QUIET
        for name, each in self.wires.items():
            seen = []
            with suppress(TimeoutError, BlockingIOError):
                while True:
                    each.settimeout(max(0.0, deadline - time.monotonic()))
                    seen.append(each.recv(4096))
            bad = [data.hex() for data in seen if mentions(data)]
            assert not bad, f"{len(bad)} at {name}: {bad[:5]}"


def until(raw: socket.socket, mark: bytes) -> Iterator[bytes]:
    """What came, up to the frame with this mark. Raises AssertionError without one."""
    deadline = time.monotonic() + DEADLINE
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        data = raw.recv(65536)
        if mark in data:
            return
        yield data
    pytest.fail("a frame that concerns nobody did not come through")


def bridged(site: Any, name: str, number: int) -> Guest:
    """A guest on the bridge blue with addresses of both families."""
    made: Guest = site.lab.guest(
        name,
        Wiring.BRIDGED,
        address=f"10.0.0.{number}/24",
        address6=f"2001:db8::{number}/64",
        gateway="10.0.0.1",
        bridge="blue",
    )
    return made
