"""The program towards the guests on a veth pair: what a test run on single frames does
not have. Those are tags that the kernel keeps beside the frame, and checksums that a
sender leaves to the interface.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from lab.namespaces import COMMAND_DEADLINE, Machine, inside
from tests.system.test_tap_to_tap import (
    ADDRESS,
    ADDRESS6,
    ADDRESS_LL,
    GUEST,
    GUEST_MAC,
    IDENTITY,
    IDENTITY6,
    IDENTITY_LL,
    SERVICE_MAC,
    Program,
)

pytestmark = [pytest.mark.system]

FORMS = {IDENTITY: ADDRESS, IDENTITY6: ADDRESS6, IDENTITY_LL: ADDRESS_LL}
_INGRESS = 0xFFFFFFF2
_ETHTOOL, _SET_SENDING_SUMS = 0x8946, 0x17
_ALL = 3
_PACKET, _AUXDATA = 263, 8
_HAS_TAG, _WITHOUT_SUM = 0x10, 0x08
"""TP_STATUS_VLAN_VALID, TP_STATUS_CSUMNOTREADY (linux/if_packet.h)."""


class Heard(NamedTuple):
    """A frame at the guest's end, its tag, and whether its checksum is incomplete."""

    frame: bytes
    tag: int | None
    without_sum: bool


class Wire:
    """A host with the veth pair of the agent and the tap of a guest, and the guest's
    end of that, all in one namespace.
    """

    def __init__(self) -> None:
        self.machine = Machine.create(f"vt{os.getpid()}-wire")
        run = self.machine.run
        for one, other in (("guests", "host"), ("tap", "eth")):
            run("ip", "link", "add", one, "type", "veth", "peer", "name", other)
            run("ip", "link", "set", one, "up")
        run("ip", "link", "set", "host", "address", SERVICE_MAC, "arp", "off")
        for name in ("host", "eth"):
            run("ip", "link", "set", name, "up")
        run("ip", "address", "add", "169.254.64.1/18", "dev", "host")
        run("ip", "address", "add", "fd40:140:1::1/32", "dev", "host", "nodad")
        self.program = Program()
        self.inside(self._attach)
        self.heard = self.inside(self._listen)

    def inside(self, make: Callable[[], Any]) -> Any:
        return inside(self.machine.name, make)

    def close(self) -> None:
        self.heard.close()
        self.program.close()
        self.machine.destroy()

    def register(self, vlan: int) -> None:
        tap = self.inside(lambda: socket.if_nametoindex("tap"))
        self.program.enter(GUEST._replace(tap=tap, vlan=vlan))

    def leave_sums(self, to_interface: bool) -> None:
        """Whether the tap says that it computes checksums itself."""

        def ask() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                value = struct.pack("=II", _SET_SENDING_SUMS, to_interface)
                held = ctypes.create_string_buffer(value, len(value))
                request = struct.pack("16sQ16x", b"tap", ctypes.addressof(held))
                fcntl.ioctl(any_socket, _ETHTOOL, request)

        self.inside(ask)

    def send(self, identity: str, data: bytes) -> None:
        """From a socket of the host."""
        family = socket.AF_INET6 if ":" in identity else socket.AF_INET

        def ask() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.bind(("", 53))
                sender.sendto(data, (identity, 4000))

        self.inside(ask)

    def next_heard(self) -> Heard:
        """The next frame for the guest."""
        while True:
            frame, ancillary, _, _ = self.heard.recvmsg(2048, 64)
            if Ether(frame).src != SERVICE_MAC:
                continue  # of the machine's own
            status, tag = struct.unpack_from("=I12xH", ancillary[0][2])
            known = tag if status & _HAS_TAG else None
            return Heard(frame, known, bool(status & _WITHOUT_SUM))

    def _attach(self) -> None:
        where = socket.if_nametoindex("guests")
        with IPRoute() as route:
            route.tc("add", "clsact", where)
            route.tc(
                *("add-filter", "bpf", where, 1),
                fd=self.program.number,
                name="to_tap",
                parent=_INGRESS,
                classid=1,
                direct_action=True,
            )

    def _listen(self) -> socket.socket:
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        heard.bind(("eth", _ALL))
        heard.setsockopt(_PACKET, _AUXDATA, 1)
        heard.settimeout(COMMAND_DEADLINE)
        return heard


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.mark.parametrize("identity", FORMS)
@pytest.mark.parametrize("vlan", [0, 100])
def test_a_guest_gets_its_tag_and_right_checksums(
    wire: Wire, identity: str, vlan: int
) -> None:
    """Whoever computes them: the sender has left them to the interface."""
    wire.register(vlan)
    for to_interface in (True, False):
        wire.leave_sums(to_interface)
        wire.send(identity, b"answer")
        frame, tag, without_sum = wire.next_heard()
        assert tag == (vlan or None)
        assert without_sum == to_interface
        seen = Ether(frame)
        assert (seen.dst, seen.payload.dst) == (GUEST_MAC, FORMS[identity])
        if without_sum:
            continue
        again = Ether(frame)
        del again[UDP].chksum
        if IP in again:
            del again[IP].chksum
        assert bytes(again) == frame
