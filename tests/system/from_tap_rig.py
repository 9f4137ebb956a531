"""The program at the taps with maps of its own, run by the kernel on single frames.

A test run knows no tag beside the frame. So for a frame with one, a few instructions in
front of the program push it, and a few behind it tell by the frame's mark which tag it
has in the end.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.system.tap_run import Ran, run
from vagent.datapath.tap import layout
from vagent.datapath.tap.flow_entry import KEY_SIZE, VALUE_SIZE
from vagent.datapath.tap.from_tap import from_tap
from vagent.datapath.tap.layout import (
    Constants,
    DropReason,
    Guest,
    GuestFlag,
    GuestPlace,
    IdentityEntry,
    MapNumbers,
)
from vagent.kernel import bpf
from vagent.kernel.bpf import BpfMap, MapKind
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.ports.identity import identity6_of

PASS, DROP, REDIRECT = 0xFFFFFFFF, 2, 7
LOOPBACK = 1
GUEST_MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SERVICE_MAC, HOST_MAC = "02:00:a9:fe:a9:fe", "02:00:00:00:00:77"
SERVICE, SERVICE6 = "169.254.169.254", "fd00:a9fe:a9fe::254"
FAR, FAR6 = "203.0.113.1", "2001:db8:f::1"
BASE = IPv4Address("169.254.64.0")
INDEX = 0x105
ADDRESS, ADDRESS6, ADDRESS_LL = "10.0.0.5", "2001:db8::5", "fe80::a:b:c:d"
IDENTITY, IDENTITY6 = "169.254.65.5", str(identity6_of(INDEX, int(BASE)))
IDENTITY_LL = "fd40:140:105:fefa:a:b:c:d"
CUSTOMER, PROVIDER = 0x8100, 0x88A8

_SMALL = 64
_EXIT, _JUMP = 0x95, 0x05
_HAS_TAG, _TAG, _MARK = 20, 24, 8
_HAD_TAG = 0x10000


class Outcome(NamedTuple):
    """What the program said, the frame, and the VLAN tag beside it, if any."""

    said: int
    frame: bytes
    tag: int | None


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def pushed(kind: int, tag: int) -> bytes:
    """Instructions that put a tag beside the frame."""
    code = Code()
    code.take(Op.MOV, 6, 1)
    code.put(Op.MOV, 2, int.from_bytes(kind.to_bytes(2, "big"), "little"))
    code.put(Op.MOV, 3, tag)
    code.call(18)
    code.take(Op.MOV, 1, 6)
    return code.assembled()


def shortened(length: int) -> bytes:
    """Instructions that cut the frame. A test run refuses frames that are too short for
    their Ethernet type.
    """
    code = Code()
    code.take(Op.MOV, 6, 1)
    code.put(Op.MOV, 2, length)
    code.put(Op.MOV, 3, 0)
    code.call(38)
    code.take(Op.MOV, 1, 6)
    return code.assembled()


def telling_tag(program: bytes) -> bytes:
    """The program, which tells by the mark which tag is beside the frame in the end."""
    behind = Code()
    behind.load(Size.WORD, 1, 6, _HAS_TAG)
    behind.jump_if(If.EQUAL, 1, 0, "told")
    behind.load(Size.WORD, 1, 6, _TAG)
    behind.put(Op.OR, 1, _HAD_TAG)
    behind.store(Size.WORD, 6, _MARK, 1)
    behind.label("told")
    behind.leave()
    count = len(program) // 8
    text = bytearray(program)
    for at in range(count):
        if text[8 * at] == _EXIT and not any(text[8 * at + 1 : 8 * at + 8]):
            struct.pack_into("<BBhi", text, 8 * at, _JUMP, 0, count - at - 1, 0)
    return bytes(text) + behind.assembled()


def fast_path_maps() -> dict[str, BpfMap]:
    """As the fast path makes them, but smaller."""
    return {
        "entries": BpfMap(MapKind.HASH, key=KEY_SIZE, value=VALUE_SIZE, entries=8),
        "lease": BpfMap(MapKind.ARRAY, key=4, value=8, entries=1),
        "counted": BpfMap(MapKind.LRU_HASH, key=KEY_SIZE, value=8, entries=_SMALL),
        "candidates": BpfMap(MapKind.QUEUE, key=0, value=KEY_SIZE, entries=8),
    }


class FromTap:
    """from_tap with an untagged guest that has an address of each kind."""

    def __init__(self, *, fast_path: bool = False) -> None:
        self.maps = {
            name: BpfMap(
                form.kind,
                key=form.key,
                value=form.value,
                entries=min(form.entries, _SMALL),
            )
            for name, form in layout.MAPS.items()
        }
        if fast_path:
            self.maps |= fast_path_maps()
        self.constants = Constants(
            guest_side=LOOPBACK,
            host_mac=octets(HOST_MAC),
            service_mac=octets(SERVICE_MAC),
            identity_base=int(BASE),
            identity_prefix6=IPv6Address(IDENTITY6).packed[:4],
            fast_path=fast_path,
        )
        numbers = {name: each.descriptor for name, each in self.maps.items()}
        self.text = from_tap(self.constants, MapNumbers(**numbers))
        self.number = bpf.load(self.text)
        for service in (SERVICE, SERVICE6):
            self.maps["service"].write(*layout.encode_service(ip_address(service)))
        key = layout.encode_number(LOOPBACK)
        self.maps["tap"].write(key, layout.encode_drops())
        self.register()

    def register(
        self, *, vlan: int = 0, vlan_got: int = 0, flags: int = 1, mac: str = GUEST_MAC
    ) -> None:
        """Enter the guest on a VLAN."""
        guest = Guest(INDEX, GuestFlag(flags), vlan_got)
        key = layout.encode_guest_key(LOOPBACK, vlan, octets(mac))
        self.maps["guest"].write(key, layout.encode_guest(guest))
        for address, identity in ((ADDRESS, IDENTITY), (ADDRESS6, IDENTITY6)):
            place = GuestPlace(LOOPBACK, vlan, octets(mac), ip_address(address))
            entry = IdentityEntry(INDEX, ip_address(identity))
            self.maps["identity"].write(
                layout.encode_place(place), layout.encode_identity(entry)
            )

    def guest(self, vlan: int = 0, mac: str = GUEST_MAC) -> Guest:
        key = layout.encode_guest_key(LOOPBACK, vlan, octets(mac))
        value = self.maps["guest"].read(key)
        assert value is not None
        return layout.decode_guest(value)

    def tap_drops(self) -> tuple[int, ...]:
        value = self.maps["tap"].read(layout.encode_number(LOOPBACK))
        assert value is not None
        return layout.decode_drops(value)

    def news(self) -> list[GuestPlace]:
        """What is in the queue, and is taken out of it."""
        told = []
        while (value := self.maps["news"].take()) is not None:
            told.append(layout.decode_place(value))
        return told

    def run(self, frame: bytes | Packet, **given: int) -> Ran:
        return run(self.number, bytes(frame), **given)

    def run_tagged(
        self, frame: bytes | Packet, tag: int | None, kind: int = CUSTOMER
    ) -> Outcome:
        """Run it on a frame with a tag beside it."""
        before = b"" if tag is None else pushed(kind, tag)
        said, after, mark = self._run_text(before + telling_tag(self.text), frame)
        return Outcome(said, after, mark & 0xFFFF if mark & _HAD_TAG else None)

    def run_cut(self, frame: bytes | Packet, length: int) -> Ran:
        """Run it on the first bytes of a frame."""
        return self._run_text(shortened(length) + self.text, frame)

    def _run_text(self, text: bytes, frame: bytes | Packet) -> Ran:
        number = bpf.load(text)
        try:
            return run(number, bytes(frame))
        finally:
            os.close(number)

    def passes(self, frame: bytes | Packet) -> None:
        """It goes on as it was, and nothing is counted."""
        before = self.counted()
        assert self.run(frame, mark=5) == (PASS, bytes(frame), 5), described(frame)
        assert self.counted() == before
        assert self.news() == []

    def sends(self, frame: bytes | Packet, expected: Packet) -> None:
        """What is expected goes to the host, byte by byte, without a mark."""
        before = self.guest().packets
        said, after, mark = self.run(frame, mark=5)
        assert (said, after, mark) == (REDIRECT, bytes(expected), 0), (
            f"{said} {Ether(after)!r} {self.counted()}"
        )
        assert self.guest().packets == before + 1
        assert self.news() == []

    def answers(self, frame: bytes | Packet, expected: Packet) -> None:
        """What is expected goes back to the guest."""
        said, after, _ = self.run(frame)
        assert (said, after) == (REDIRECT, bytes(expected)), (
            f"{said} {Ether(after)!r} {self.counted()}"
        )
        assert self.guest().packets == 0
        assert self.news() == []

    def refuses(
        self, frame: bytes | Packet, reason: DropReason, address: str | None = None
    ) -> None:
        """It is dropped and counted for this reason."""
        before = self.counted()
        said, _, _ = self.run(frame)
        assert said == DROP, described(frame)
        assert self.counted() == before | {reason: before.get(reason, 0) + 1}, (
            described(frame)
        )
        for place in self.news():
            assert place[:3] == (LOOPBACK, 0, bytes(frame)[6:12])
            assert place.reason == reason
            if address is not None:
                assert place.address == ip_address(address)

    def counted(self) -> dict[int, int]:
        """Drops by reason, of guest and tap together."""
        both = zip(self.guest().drops, self.tap_drops(), strict=True)
        sums = {reason: sum(two) for reason, two in enumerate(both)}
        return {reason: count for reason, count in sums.items() if count}

    def close(self) -> None:
        for each in self.maps.values():
            each.close()
        os.close(self.number)


AGENT_CAPABILITIES = "+net_admin,+net_raw,+bpf"


def load_with(capabilities: str, text: bytes, maps: Iterable[BpfMap]) -> str:
    """What another process with these capabilities says to the program: "loaded", or
    what the kernel says. It gets the maps as they are.
    """
    script = (
        "import sys\n"
        "from vagent.errors import KernelError\n"
        "from vagent.kernel import bpf\n"
        "try:\n"
        "    bpf.load(sys.stdin.buffer.read())\n"
        "    print('loaded')\n"
        "except KernelError as failure:\n"
        "    print(failure)\n"
    )
    done = subprocess.run(
        [
            "setpriv",
            f"--bounding-set=-all,{capabilities}",
            sys.executable,
            "-c",
            script,
        ],
        input=text,
        capture_output=True,
        check=False,
        pass_fds=[each.descriptor for each in maps],
    )
    return done.stdout.decode() or done.stderr.decode()


def described(frame: bytes | Packet) -> str:
    return repr(Ether(bytes(frame)))
