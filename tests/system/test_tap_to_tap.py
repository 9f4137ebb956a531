"""The program towards the guests, run by the kernel on single frames
(BPF_PROG_TEST_RUN). scapy computes the checksums of what is expected.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.system.tap_run import run
from vagent.datapath.tap.layout import (
    REASONS,
    REPLY_SIZE,
    Constants,
    DropReason,
    MapNumbers,
    Reply,
    encode_number,
    encode_reply,
)
from vagent.datapath.tap.to_tap import to_tap
from vagent.kernel import bpf
from vagent.kernel.bpf import BpfMap, MapKind

pytestmark = [pytest.mark.system, pytest.mark.kernel]

DROP, REDIRECT = 2, 7
LOOPBACK = 1
GUEST_MAC, SERVICE_MAC = "02:00:00:00:00:01", "02:00:a9:fe:a9:fe"
HOST_MAC = "02:00:00:00:00:77"
BASE = IPv4Address("169.254.64.0")
INDEX = 0x105
IDENTITY, ADDRESS = "169.254.65.5", "10.0.0.5"
IDENTITY6, ADDRESS6 = "fd40:140:105::1", "2001:db8::5"
IDENTITY_LL, ADDRESS_LL = "fd40:140:105:fefa:a:b:c:d", "fe80::a:b:c:d"
SERVER, SERVER6 = "169.254.169.254", "fd00:ec2::254"
FAR, FAR6 = "203.0.113.1", "2001:db8:f::1"


def octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


GUEST = Reply(
    LOOPBACK,
    1500,
    octets(GUEST_MAC),
    address4=IPv4Address(ADDRESS),
    address6=IPv6Address(ADDRESS6),
    takes_link_local=True,
)


class Program:
    """to_tap, loaded, with one guest in its map."""

    def __init__(self) -> None:
        self.reply = BpfMap(MapKind.HASH, key=4, value=REPLY_SIZE, entries=8)
        self.lost = BpfMap(MapKind.ARRAY, key=4, value=8, entries=REASONS)
        constants = Constants(
            guest_side=LOOPBACK,
            host_mac=octets(HOST_MAC),
            service_mac=octets(SERVICE_MAC),
            identity_base=int(BASE),
            identity_prefix6=IPv6Address(IDENTITY6).packed[:4],
            fast_path=False,
        )
        numbers = dict.fromkeys(MapNumbers._fields, 0)
        numbers |= {"reply": self.reply.descriptor, "lost": self.lost.descriptor}
        self.number = bpf.load(to_tap(constants, MapNumbers(**numbers)))
        self.enter(GUEST)

    def enter(self, reply: Reply) -> None:
        self.reply.write(encode_number(INDEX), encode_reply(reply))

    def counted(self) -> dict[DropReason, int]:
        found = {}
        for reason in DropReason:
            value = self.lost.read(encode_number(reason))
            assert value is not None
            if count := struct.unpack("=Q", value)[0]:
                found[reason] = count
        return found

    def sends(self, sent: Packet, expected: Packet) -> None:
        """What the host sends comes out as expected, byte by byte."""
        said, frame, _ = run(self.number, bytes(sent))
        assert (said, frame) == (REDIRECT, bytes(expected)), (
            f"{Ether(frame)!r} {self.counted()}"
        )

    def loses(self, sent: bytes, reason: DropReason | None) -> None:
        before = self.counted()
        said, _, _ = run(self.number, sent)
        assert said == DROP
        after = self.counted()
        if reason is not None:
            before[reason] = before.get(reason, 0) + 1
        assert after == before

    def close(self) -> None:
        self.reply.close()
        self.lost.close()
        os.close(self.number)


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.close()


class Form(NamedTuple):
    """One kind of identity, and what it becomes."""

    identity: str
    address: str

    @property
    def is_6(self) -> bool:
        return ":" in self.identity

    def packet(self, inner: Packet, *, down: bool, **fields: Any) -> Packet:
        """To the identity as the host sends it, or to the guest."""
        destination = self.address if down else self.identity
        header: Packet
        if self.is_6:
            header = IPv6(src=SERVER6, dst=destination, hlim=63, **fields)
        else:
            header = IP(src=SERVER, dst=destination, ttl=63, id=7, **fields)
        to_mac = GUEST_MAC if down else HOST_MAC
        return Ether(src=SERVICE_MAC if down else "02:00:00:00:00:66", dst=to_mac) / (
            header / inner
        )


FORMS = {
    "ipv4": Form(IDENTITY, ADDRESS),
    "registered": Form(IDENTITY6, ADDRESS6),
    "link-local": Form(IDENTITY_LL, ADDRESS_LL),
}
V6 = [FORMS["registered"], FORMS["link-local"]]
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
both_forms6 = pytest.mark.parametrize("form", V6, ids=["registered", "link-local"])

INNER = {
    "tcp": TCP(sport=80, dport=4000, flags="SA", options=[("MSS", 1460)]),
    "data": TCP(sport=80, dport=4000, flags="PA") / Raw(b"odd"),
    "udp": UDP(sport=53, dport=4000) / Raw(b"even"),
    "empty": UDP(sport=53, dport=4000),
    "full": UDP(sport=53, dport=4000) / Raw(b"x" * 1400),
}


@every_form
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
def test_replies_reach_the_guest_as_its_own(
    program: Program, form: Form, inner: Packet
) -> None:
    """As if they had been sent to its address, MAC included."""
    program.sends(form.packet(inner, down=False), form.packet(inner, down=True))
    assert program.counted() == {}


@every_form
def test_an_echo_reply_reaches_the_guest(program: Program, form: Form) -> None:
    inner = ICMPv6EchoReply(id=3) if form.is_6 else ICMP(type=0, id=3)
    inner /= Raw(b"abc")
    program.sends(form.packet(inner, down=False), form.packet(inner, down=True))


@every_form
def test_a_protocol_without_a_checksum_over_addresses(
    program: Program, form: Form
) -> None:
    fields = {"nh": 132} if form.is_6 else {"proto": 132}
    inner = Raw(b"x" * 20)
    program.sends(
        form.packet(inner, down=False, **fields),
        form.packet(inner, down=True, **fields),
    )


def test_ipv4_options_are_carried(program: Program) -> None:
    form, options = FORMS["ipv4"], [IPOption(b"\x94\x04\0\0")] * 10
    for inner in (*INNER.values(), ICMP(type=0)):
        program.sends(
            form.packet(inner, down=False, options=options),
            form.packet(inner, down=True, options=options),
        )


def test_udp_without_a_checksum_gets_none(program: Program) -> None:
    form = FORMS["ipv4"]
    inner = UDP(sport=53, dport=4000, chksum=0) / Raw(b"x")
    program.sends(form.packet(inner, down=False), form.packet(inner, down=True))


@pytest.mark.parametrize("form", [FORMS["ipv4"], FORMS["registered"]])
def test_a_udp_checksum_that_comes_out_as_zero(program: Program, form: Form) -> None:
    """Is sent as 0xffff: 0 would mean that there is none (RFC 768)."""
    empty = UDP(sport=53, dport=4000) / Raw(bytes(2))
    rest = UDP(bytes(form.packet(empty, down=True)[UDP])).chksum
    inner = UDP(sport=53, dport=4000) / Raw(struct.pack("!H", rest))
    expected = form.packet(inner, down=True)
    assert UDP(bytes(expected[UDP])).chksum == 0xFFFF
    program.sends(form.packet(inner, down=False), expected)


def test_a_wrong_checksum_stays_wrong(program: Program) -> None:
    """The sum changes by what the address does; nothing is mended for the sender."""
    for form in FORMS.values():
        good, bad = (
            form.packet(
                UDP(sport=53, dport=4000, chksum=chksum) / Raw(b"x"), down=False
            )
            for chksum in (None, 0x1234)
        )
        right = UDP(bytes(good)[-9:]).chksum
        after = run(program.number, bytes(bad))[1]
        expected = UDP(bytes(form.packet(good[UDP].copy(), down=True))[-9:]).chksum
        off = (UDP(after[-9:]).chksum - expected) % 0xFFFF
        assert off == (0x1234 - right) % 0xFFFF


# Fragments


def pieces(form: Form, inner: Packet, *, down: bool) -> list[Packet]:
    """The packet in two fragments, with the checksum of the whole."""
    whole = bytes(form.packet(inner, down=down).payload)
    head, data = (whole[:40], whole[40:]) if form.is_6 else (whole[:20], whole[20:])
    made = []
    for more, part, offset in ((1, data[:48], 0), (0, data[48:], 6)):
        if form.is_6:
            piece = IPv6ExtHdrFragment(nh=head[6], m=more, offset=offset, id=9)
            made.append(form.packet(piece / Raw(part), down=down, nh=44))
        else:
            made.append(
                form.packet(
                    Raw(part), down=down, proto=head[9], frag=offset, flags=more
                )
            )
    return made


@every_form
@pytest.mark.parametrize(
    "inner",
    [UDP(sport=53, dport=4000) / Raw(b"x" * 80), TCP(sport=8) / Raw(b"y" * 80)],
    ids=["udp", "tcp"],
)
def test_fragments_reach_the_guest(program: Program, form: Form, inner: Packet) -> None:
    """The first has the checksum of the whole; later ones have none."""
    for sent, expected in zip(
        pieces(form, inner, down=False), pieces(form, inner, down=True), strict=True
    ):
        program.sends(sent, expected)


@every_form
@pytest.mark.parametrize(("protocol", "least"), [(6, 18), (17, 8), (58, 4)])
def test_a_first_fragment_that_ends_before_its_checksum(
    program: Program, form: Form, protocol: int, least: int
) -> None:
    """Cannot be translated; a whole packet that does is malformed."""
    if protocol == 58 and not form.is_6:
        return
    for length in range(least + 1):
        part = Raw(b"\x81" * length)
        if form.is_6:
            frag = IPv6ExtHdrFragment(nh=protocol, m=1) / part
            sent = form.packet(frag, down=False, nh=44)
            whole = form.packet(part, down=False, nh=protocol)
        else:
            sent = form.packet(part, down=False, proto=protocol, flags=1)
            whole = form.packet(part, down=False, proto=protocol)
        if length >= least:
            assert run(program.number, bytes(sent))[0] == REDIRECT
            assert run(program.number, bytes(whole))[0] == REDIRECT
        elif protocol == 58 and length == 0:
            program.loses(bytes(sent), DropReason.MALFORMED)
        elif protocol != 17 or length < 8:
            program.loses(bytes(sent), DropReason.FRAGMENT)
            program.loses(bytes(whole), DropReason.MALFORMED)


@both_forms6
def test_a_fragment_header_alone_makes_no_fragment(
    program: Program, form: Form
) -> None:
    """An atomic fragment is a whole packet (RFC 6946)."""
    inner = IPv6ExtHdrFragment(nh=17) / UDP(sport=53, dport=9, chksum=0) / Raw(b"abc")
    sent, expected = (form.packet(inner.copy(), down=d, nh=44) for d in (False, True))
    for packet in (sent, expected):
        plain = form.packet(
            UDP(sport=53, dport=9) / Raw(b"abc"), down=packet is expected
        )
        packet[UDP].chksum = UDP(bytes(plain[UDP])).chksum
    program.sends(sent, expected)


# ICMP errors


def asked(form: Form, *, down: bool, **fields: Any) -> Packet:
    """What the guest had sent, as an error quotes it above or below the tap."""
    source = form.address if down else form.identity
    inner = UDP(sport=4000, dport=53, chksum=0x1234) / Raw(b"question")
    if form.is_6:
        return IPv6(**{"src": source, "dst": SERVER6, **fields}) / inner
    return IP(**{"src": source, "dst": SERVER, **fields}) / inner


ERRORS6 = {
    "unreachable": ICMPv6DestUnreach(code=4),
    "too-big": ICMPv6PacketTooBig(mtu=1280),
    "exceeded": ICMPv6TimeExceeded(),
}
ERRORS4 = {
    "unreachable": ICMP(type=3, code=3),
    "too-big": ICMP(type=3, code=4, nexthopmtu=1280),
    "exceeded": ICMP(type=11),
}


@every_form
@pytest.mark.parametrize("error", sorted(ERRORS4))
def test_errors_about_a_flow_quote_what_the_guest_sent(
    program: Program, form: Form, error: str
) -> None:
    """Its own address is the source of what is quoted."""
    head = ERRORS6[error] if form.is_6 else ERRORS4[error]
    program.sends(
        form.packet(head / asked(form, down=False), down=False),
        form.packet(head / asked(form, down=True), down=True),
    )


@every_form
def test_an_error_about_a_fragment_is_translated(program: Program, form: Form) -> None:
    """Of a quoted fragment, too, the address is the guest's."""
    fields: dict[str, Any] = {"nh": 44} if form.is_6 else {"frag": 100}
    head = ERRORS6["exceeded"] if form.is_6 else ERRORS4["exceeded"]
    program.sends(
        form.packet(head / asked(form, down=False, **fields), down=False),
        form.packet(head / asked(form, down=True, **fields), down=True),
    )


@every_form
def test_other_errors_are_lost(program: Program, form: Form) -> None:
    """Of other kinds, about somebody else's flow, or cut before the quoted ports."""
    quoted = asked(form, down=False)
    error = ERRORS6["unreachable"] if form.is_6 else ERRORS4["unreachable"]
    if form.is_6:
        others = [
            ICMPv6ParamProblem() / quoted,
            ICMPv6Unknown(type=0) / quoted,
            ICMPv6Unknown(type=127) / quoted,
            error / asked(form, down=False, src=f"{form.identity[:-1]}9"),
            error / asked(form, down=False, src=ADDRESS6),
            error / asked(form, down=False, version=4),
            error / Raw(bytes(quoted)[:47]),
            error / Raw(b""),
        ]
    else:
        others = [
            *(ICMP(type=kind) / quoted for kind in (4, 5, 12)),
            error / asked(form, down=False, src="169.254.65.6"),
            error / asked(form, down=False, src=ADDRESS),
            error / asked(form, down=False, options=[IPOption(b"\1\1\1\1")]),
            error / Raw(bytes(quoted)[:27]),
            error / Raw(b""),
        ]
    for other in others:
        program.loses(bytes(form.packet(other, down=False)), DropReason.ICMP_ERROR)


@every_form
def test_errors_in_fragments_are_lost(program: Program, form: Form) -> None:
    """They cannot be read as a whole."""
    error = ERRORS6["unreachable"] if form.is_6 else ERRORS4["unreachable"]
    sent = pieces(form, error / asked(form, down=False), down=False)[0]
    program.loses(bytes(sent), DropReason.ICMP_ERROR)


# What is not sent


@pytest.mark.parametrize(
    "destination",
    ["169.254.65.4", "169.254.64.0", "169.254.63.255", "170.254.65.5", "8.8.8.8"],
)
def test_ipv4_to_nobody_is_lost(program: Program, destination: str) -> None:
    sent = Form(destination, ADDRESS).packet(INNER["udp"], down=False)
    program.loses(bytes(sent), DropReason.UNKNOWN_IDENTITY)


@pytest.mark.parametrize(
    "destination",
    [
        "fd40:140:104::1",
        "fd40:140:104:fefb::1",
        "fd40:141:105::1",
        "fd41:140:105::1",
        "fd40:140:105::2",
        "fd40:140:105:0:0:0:1:1",
        "fd40:140:105:0:1::1",
        "fd40:140:105:fefb::1",
        "fd40:140:105:1::1",
        "2001:db8::5",
        "fe80::a:b:c:d",
    ],
)
def test_ipv6_to_nobody_is_lost(program: Program, destination: str) -> None:
    sent = Form(destination, ADDRESS6).packet(INNER["udp"], down=False)
    program.loses(bytes(sent), DropReason.UNKNOWN_IDENTITY)


@every_form
def test_a_guest_has_the_identities_that_it_is_entered_with(
    program: Program, form: Form
) -> None:
    """Of each of three kinds."""
    sent = form.packet(INNER["udp"], down=False)
    nothing = GUEST._replace(address4=None, address6=None, takes_link_local=False)
    had = (
        nothing._replace(address4=GUEST.address4),
        nothing._replace(address6=GUEST.address6),
        nothing._replace(takes_link_local=True),
    )
    for kind, reply in zip(FORMS.values(), had, strict=True):
        program.enter(reply)
        if kind is form:
            program.sends(sent, form.packet(INNER["udp"], down=True))
        else:
            program.loses(bytes(sent), DropReason.UNKNOWN_IDENTITY)


@every_form
def test_what_is_longer_than_the_mtu_is_lost(program: Program, form: Form) -> None:
    sent = form.packet(INNER["full"], down=False)
    length = len(sent) - 14
    program.enter(GUEST._replace(mtu=length))
    program.sends(sent, form.packet(INNER["full"], down=True))
    program.enter(GUEST._replace(mtu=length - 1))
    program.loses(bytes(sent), DropReason.TOO_BIG)


@every_form
def test_what_the_interface_cuts_into_segments_may_be_longer(
    program: Program, form: Form
) -> None:
    inner = TCP(sport=80, dport=4000, flags="A") / Raw(b"z" * 3000)
    sent, expected = (bytes(form.packet(inner, down=down)) for down in (False, True))
    said, frame, _ = run(program.number, sent, segment=1400)
    assert (said, frame) == (REDIRECT, expected)
    program.loses(sent, DropReason.TOO_BIG)


@both_forms6
@pytest.mark.parametrize(
    "header",
    [
        IPv6ExtHdrHopByHop(),
        IPv6ExtHdrDestOpt(),
        IPv6ExtHdrRouting(),
        IPv6ExtHdrFragment(nh=60) / IPv6ExtHdrDestOpt(),
        IPv6ExtHdrFragment(nh=44) / IPv6ExtHdrFragment(),
    ],
    ids=["hop-by-hop", "destination", "routing", "behind a fragment header", "two"],
)
def test_extension_headers_are_not_carried(
    program: Program, form: Form, header: Packet
) -> None:
    sent = form.packet(header / INNER["udp"], down=False)
    program.loses(bytes(sent), DropReason.EXTENSION_HEADER)


def test_what_is_cut_is_lost(program: Program) -> None:
    """At every length of the headers."""
    for form in FORMS.values():
        sent = bytes(form.packet(INNER["tcp"], down=False))
        for length in range(34 if not form.is_6 else 54, len(sent)):
            needed = (34 if not form.is_6 else 54) + 18
            if length < needed:
                program.loses(sent[:length], DropReason.MALFORMED)
    fragment = FORMS["registered"].packet(IPv6ExtHdrFragment(nh=17), down=False)
    for length in range(54, len(fragment)):
        program.loses(bytes(fragment)[:length], DropReason.MALFORMED)


@pytest.mark.parametrize("first", [0x00, 0x44, 0x35, 0x55, 0x65])
def test_an_impossible_ipv4_header_is_lost(program: Program, first: int) -> None:
    sent = bytearray(bytes(FORMS["ipv4"].packet(INNER["udp"], down=False)))
    sent[14] = first
    program.loses(bytes(sent), DropReason.MALFORMED)


@pytest.mark.parametrize("first", [0x00, 0x45, 0x50, 0x70])
def test_an_impossible_ipv6_header_is_lost(program: Program, first: int) -> None:
    sent = bytearray(bytes(FORMS["registered"].packet(INNER["udp"], down=False)))
    sent[14] = first
    program.loses(bytes(sent), DropReason.MALFORMED)


def test_multicasts_are_dropped_uncounted(program: Program) -> None:
    """The kernel sends them on any interface; they are no reply."""
    for destination in ("ff02::1", "ff02::16", "224.0.0.251", "239.255.255.250"):
        sent = Form(destination, ADDRESS6).packet(INNER["udp"], down=False)
        program.loses(bytes(sent), None)


def test_other_frames_are_lost(program: Program) -> None:
    """ARP, tags, and types that nobody knows."""
    ethernet = Ether(src=SERVICE_MAC, dst="ff:ff:ff:ff:ff:ff")
    tagged = FORMS["ipv4"].packet(INNER["udp"], down=False)
    tagged = Ether(dst=HOST_MAC) / Dot1Q(vlan=5) / tagged.payload
    for sent in (
        ethernet / ARP(pdst=IDENTITY),
        tagged,
        Ether(dst=HOST_MAC, type=0x88B5) / Raw(bytes(60)),
    ):
        program.loses(bytes(sent), DropReason.UNKNOWN_IDENTITY)


def test_no_mark_of_the_host_goes_along(program: Program) -> None:
    sent = bytes(FORMS["ipv4"].packet(INNER["udp"], down=False))
    assert run(program.number, sent, mark=77)[2] == 0


@pytest.mark.parametrize(
    ("capabilities", "said"), [("+net_admin,+bpf", "loaded"), ("+net_admin", "EPERM")]
)
def test_the_capabilities_of_the_unit_are_enough_and_needed(
    capabilities: str, said: str
) -> None:
    """A verifier is stricter with those that have no more than these."""
    text = (
        "from tests.system.test_tap_to_tap import Program\n"
        "from vagent.errors import KernelError\n"
        "try:\n"
        "    Program()\n"
        "    print('loaded')\n"
        "except KernelError as failure:\n"
        "    print(failure)\n"
    )
    done = subprocess.run(
        ["setpriv", f"--bounding-set=-all,{capabilities}", sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stdout, done.stderr
