"""The fast path's programs, run by the kernel on single frames (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from lab.agent import SOURCE
from lab.namespaces import Machine
from vagent.datapath.fast_path.program import at_fabric
from vagent.datapath.tap import translate
from vagent.datapath.tap.flow_entry import (
    KEY_SIZE,
    VALUE_SIZE,
    Match,
    Pair,
    Way,
    decode_count,
    encode_entry,
    encode_match,
)
from vagent.datapath.tap.idioms import CONTEXT, RESULT, leave, look_up
from vagent.datapath.tap.idioms import PASS as LET_PASS
from vagent.datapath.tap.translate import AGAIN, THRESHOLD
from vagent.kernel import bpf
from vagent.kernel.bpf import BpfMap, MapKind
from vagent.kernel.bpf_assembler import Code, If, Op

pytestmark = [pytest.mark.system, pytest.mark.kernel]

PASS, REDIRECT = 0xFFFFFFFF, 7
LOOPBACK = 1
TCP, UDP = 6, 17
FIN, SYN, RST, ACK = 1, 2, 4, 16
GUEST_MAC, SERVICE_MAC = bytes.fromhex("020000000001"), bytes.fromhex("0200a9fea9fe")
ASKED = Pair(IPv4Address("10.0.0.5"), IPv4Address("169.254.1.7"), 4000, 7)
SENT = Pair(IPv4Address("198.51.100.1"), IPv4Address("198.51.100.10"), 61000, 7777)
ANSWER, TOLD = SENT.reversed(), ASKED.reversed()


def at_tap(
    *, entries: int, lease: int, services: int, counted: int, candidates: int
) -> bytes:
    """The stages that translate what guests send, without those around them."""
    code = Code()
    code.take(Op.MOV, CONTEXT, 1)
    translate.read(code, "pass")
    translate.complete_key(code, from_guest=True)
    look_up(code, services, translate.KEY + 16)
    code.jump_if(If.EQUAL, RESULT, 0, "pass")
    translate.translate(
        code, entries, lease, absent="fast path: count", otherwise="pass"
    )
    translate.send_to_fabric(code)
    translate.count(code, counted, candidates, "pass")
    code.label("pass")
    leave(code, LET_PASS)
    return code.assembled()


def summed(data: bytes) -> int:
    """The checksum over it (RFC 1071): 0 where one is in it, and right."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass
class Frame:
    """One frame, with right checksums unless told otherwise."""

    pair: Pair = ASKED
    protocol: int = UDP
    payload: bytes = b"odd"
    from_mac: bytes = GUEST_MAC
    to_mac: bytes = bytes(6)
    ethertype: bytes = b"\x08\x00"
    ttl: int = 64
    fragment: int = 0x4000
    options: bytes = b""
    tcp_options: bytes = b""
    flags: int = ACK
    checksum: bool = True
    total: int | None = None
    trailer: bytes = b""

    def packed(self) -> bytes:
        inner = self.inner()
        total = 20 + len(self.options) + len(inner)
        header = struct.pack(
            "!BBHHHBBH",
            0x45 + len(self.options) // 4,
            0,
            total if self.total is None else self.total,
            7,
            self.fragment,
            self.ttl,
            self.protocol,
            0,
        )
        header += self.pair.addresses + self.options
        header = header[:10] + struct.pack("!H", summed(header)) + header[12:]
        ethernet = self.to_mac + self.from_mac + self.ethertype
        return ethernet + header + inner + self.trailer

    def inner(self) -> bytes:
        if self.protocol == UDP:
            length = struct.pack("!HH", 8 + len(self.payload), 0)
            data, at = self.pair.ports + length + self.payload, 6
        else:
            offset = 5 + len(self.tcp_options) // 4
            rest = struct.pack("!IIBBHHH", 1, 2, offset << 4, self.flags, 9, 0, 0)
            data, at = self.pair.ports + rest + self.tcp_options + self.payload, 16
        if not self.checksum:
            return data
        checksum = struct.pack("!H", summed(self.pseudo(data) + data))
        return data[:at] + checksum + data[at + 2 :]

    def pseudo(self, data: bytes) -> bytes:
        return self.pair.addresses + struct.pack("!BBH", 0, self.protocol, len(data))


class Programs:
    """Both, with maps of their own."""

    def __init__(self) -> None:
        self.entries = BpfMap(MapKind.HASH, key=KEY_SIZE, value=VALUE_SIZE, entries=8)
        self.lease = BpfMap(MapKind.ARRAY, key=4, value=8, entries=1)
        self.services = BpfMap(MapKind.HASH, key=4, value=1, entries=8)
        self.counted = BpfMap(MapKind.LRU_HASH, key=KEY_SIZE, value=8, entries=64)
        self.candidates = BpfMap(MapKind.QUEUE, key=0, value=KEY_SIZE, entries=8)
        self.tap = bpf.load(
            at_tap(
                entries=self.entries.descriptor,
                lease=self.lease.descriptor,
                services=self.services.descriptor,
                counted=self.counted.descriptor,
                candidates=self.candidates.descriptor,
            )
        )
        self.fabric = bpf.load(
            at_fabric(entries=self.entries.descriptor, lease=self.lease.descriptor)
        )
        self.services.write(ASKED.destination.packed, b"\1")
        self.renew(60)

    def renew(self, seconds: int) -> None:
        until = time.monotonic_ns() + seconds * 10**9
        self.lease.write(bytes(4), struct.pack("=Q", until))

    def enter(self, protocol: int, mtu: int = 1500) -> tuple[bytes, bytes]:
        """Entries of one flow, both ways; their keys."""
        there = encode_match(Match(LOOPBACK, GUEST_MAC, protocol, ASKED))
        back = encode_match(Match(LOOPBACK, bytes(6), protocol, ANSWER))
        out = Way(LOOPBACK, mtu, SENT.destination)
        home = Way(LOOPBACK, mtu, None, GUEST_MAC, SERVICE_MAC)
        self.entries.write(there, encode_entry(ASKED, SENT, out, back))
        self.entries.write(back, encode_entry(ANSWER, TOLD, home, there))
        return there, back

    def close(self) -> None:
        for each in (
            self.entries,
            self.lease,
            self.services,
            self.counted,
            self.candidates,
        ):
            each.close()
        os.close(self.tap)
        os.close(self.fabric)


@pytest.fixture
def programs() -> Iterator[Programs]:
    made = Programs()
    yield made
    made.close()


def run(program: int, frame: bytes, times: int = 1) -> tuple[int, bytes]:
    """What the program says, and the frame afterwards."""
    given = ctypes.create_string_buffer(frame, len(frame))
    taken = ctypes.create_string_buffer(len(frame) + 256)
    attributes = bytearray(
        struct.pack(
            "=IIIIQQII",
            program,
            0,
            len(frame),
            len(taken),
            ctypes.addressof(given),
            ctypes.addressof(taken),
            times,
            0,
        ).ljust(80, b"\0")
    )
    held = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 10, held, len(attributes)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, said, _, length = struct.unpack_from("=IIII", attributes)
    return said, taken.raw[:length]


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(1000)])
@pytest.mark.parametrize(
    "frame",
    [
        Frame(),
        Frame(protocol=TCP),
        Frame(protocol=TCP, tcp_options=b"\1\1\x08\x0a12345678"),
        Frame(fragment=0),
        Frame(ttl=2),
    ],
)
def test_packets_are_translated_whole(
    programs: Programs, frame: Frame, payload: bytes
) -> None:
    """There and back: as if they had been made with the new addresses, bar a hop."""
    programs.enter(frame.protocol)
    frame = Frame(**{**vars(frame), "payload": payload})
    sent = Frame(**{**vars(frame), "pair": SENT, "ttl": frame.ttl - 1})
    assert run(programs.tap, frame.packed()) == (REDIRECT, sent.packed())
    answer = Frame(**{**vars(frame), "pair": ANSWER})
    told = Frame(
        **{
            **vars(frame),
            "pair": TOLD,
            "ttl": frame.ttl - 1,
            "from_mac": SERVICE_MAC,
            "to_mac": GUEST_MAC,
        }
    )
    assert run(programs.fabric, answer.packed()) == (REDIRECT, told.packed())


def test_packets_and_bytes_are_counted(programs: Programs) -> None:
    """Bytes as conntrack counts them: of IP."""
    there, back = programs.enter(UDP)
    run(programs.tap, Frame().packed(), 3)
    value = programs.entries.read(there)
    assert value is not None
    assert decode_count(value).packets == 1  # then its source is another
    assert decode_count(value).bytes == 31
    value = programs.entries.read(back)
    assert value is not None
    assert decode_count(value).packets == 0


def test_udp_without_a_checksum_gets_none(programs: Programs) -> None:
    programs.enter(UDP)
    said, after = run(programs.tap, Frame(checksum=False).packed())
    assert said == REDIRECT
    assert after[40:42] == b"\0\0"


@pytest.mark.parametrize(
    "frame",
    [
        Frame(from_mac=bytes.fromhex("020000000002")),
        Frame(pair=ASKED._replace(source=IPv4Address("10.0.0.6"))),
        Frame(pair=ASKED._replace(source_port=4001)),
        Frame(pair=ASKED._replace(destination_port=8)),
        Frame(pair=ASKED._replace(destination=IPv4Address("169.254.1.8"))),
        Frame(protocol=TCP),  # the entry is UDP's
        Frame(ttl=1),
        Frame(ttl=0),
        Frame(fragment=0x2000),
        Frame(fragment=0x0010),
        Frame(options=b"\1\1\1\1"),
        Frame(total=2000),
        Frame(total=20),
        Frame(total=0),
        Frame(payload=bytes(1473)),
        Frame(ethertype=b"\x86\xdd", payload=bytes(40)),
        Frame(ethertype=b"\x81\x00"),
        Frame(protocol=1),
    ],
    ids=repr,
)
def test_what_is_odd_or_anothers_is_left_alone(
    programs: Programs, frame: Frame
) -> None:
    programs.enter(UDP)
    before = frame.packed()
    assert run(programs.tap, before) == (PASS, before)


def test_what_is_cut_is_left_alone(programs: Programs) -> None:
    """At every length behind the IP header."""
    programs.enter(TCP)
    whole = Frame(protocol=TCP).packed()
    for length in range(34, len(whole)):
        assert run(programs.tap, whole[:length]) == (PASS, whole[:length])


def test_padding_is_not_a_part_of_it(programs: Programs) -> None:
    """A short frame is filled up on the wire."""
    programs.enter(UDP)
    assert run(programs.tap, Frame(trailer=bytes(15)).packed())[0] == REDIRECT


def test_frames_for_other_machines_are_left_alone(programs: Programs) -> None:
    programs.enter(UDP)
    frame = Frame(pair=ANSWER, to_mac=bytes.fromhex("02000000000a")).packed()
    assert run(programs.fabric, frame) == (PASS, frame)


def test_nothing_holds_without_a_lease(programs: Programs) -> None:
    programs.enter(UDP)
    programs.renew(-1)
    for program, pair in ((programs.tap, ASKED), (programs.fabric, ANSWER)):
        frame = Frame(pair=pair).packed()
        assert run(program, frame) == (PASS, frame)
    programs.lease.write(bytes(4), bytes(8))
    assert run(programs.tap, Frame().packed())[0] == PASS


@pytest.mark.parametrize("flags", [SYN, FIN | ACK, RST, RST | ACK])
@pytest.mark.parametrize("from_guest", [True, False])
def test_what_opens_or_ends_a_connection_closes_both_entries(
    programs: Programs, flags: int, from_guest: bool
) -> None:
    """It passes itself, and so does everything after it."""
    keys = programs.enter(TCP)
    program, pair = (programs.tap, ASKED) if from_guest else (programs.fabric, ANSWER)
    frame = Frame(pair=pair, protocol=TCP, flags=flags).packed()
    assert run(program, frame) == (PASS, frame)
    for key in keys:
        value = programs.entries.read(key)
        assert value is not None
        assert decode_count(value).is_closed
    for program, pair in ((programs.tap, ASKED), (programs.fabric, ANSWER)):
        frame = Frame(pair=pair, protocol=TCP).packed()
        assert run(program, frame) == (PASS, frame)


def repeat(programs: Programs, make: Callable[[], Frame], times: int) -> None:
    run(programs.tap, make().packed(), times)


def test_flows_with_many_packets_become_candidates(programs: Programs) -> None:
    """Once, and again after many more; not those that are nobody's service."""
    repeat(programs, Frame, THRESHOLD - 1)
    assert programs.candidates.take() is None
    repeat(programs, Frame, 1)
    assert programs.candidates.take() == encode_match(
        Match(LOOPBACK, GUEST_MAC, UDP, ASKED)
    )
    repeat(programs, Frame, AGAIN - 1)
    assert programs.candidates.take() is None
    repeat(programs, Frame, 1)
    assert programs.candidates.take() is not None
    other = ASKED._replace(destination=IPv4Address("192.0.2.1"))
    repeat(programs, lambda: Frame(pair=other), AGAIN)
    assert programs.candidates.take() is None


def test_the_queue_of_candidates_is_bounded(programs: Programs) -> None:
    """What does not fit is put there later."""
    for port in range(5000, 5010):
        pair = ASKED._replace(source_port=port)
        repeat(programs, lambda pair=pair: Frame(pair=pair), THRESHOLD)  # type: ignore[misc]
    found = 0
    while programs.candidates.take() is not None:
        found += 1
    assert found == 8


@pytest.mark.parametrize(
    ("capabilities", "said"), [("+net_admin,+bpf", "loaded"), ("+net_admin", "EPERM")]
)
def test_the_capabilities_of_the_manual_are_enough_and_needed(
    capabilities: str, said: str
) -> None:
    """A verifier is stricter with those that have no more than these."""
    machine = Machine.create("vt-capabilities")
    text = (
        "from vagent.config.model import DataPathConfig\n"
        "from vagent.datapath.fast_path.compose import tap_kernel_of\n"
        "from vagent.datapath.tap.layout import Constants\n"
        "from vagent.errors import KernelError\n"
        "made = tap_kernel_of(DataPathConfig(fast_path=True))\n"
        "try:\n"
        "    made.open(Constants(1, bytes(6), bytes(6), 2851995648, bytes(4), True))\n"
        "    made.attach(1)\n"
        "    print('loaded')\n"
        "except KernelError as failure:\n"
        "    print(failure)\n"
    )
    limited = ["setpriv", f"--bounding-set=-all,{capabilities}", sys.executable]
    done = subprocess.run(
        machine.argv(*machine.with_bpf_files([*limited, "-c", text])),
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    machine.destroy()
    assert said in done.stdout, done.stderr
