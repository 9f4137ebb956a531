"""IPv4 from a guest: what is for a service gets the guest's identity and goes to the
host.
"""

from __future__ import annotations

from vagent.datapath.tap import layout, translate
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    PSEUDO_HEADER,
    RESULT,
    STACK,
    ZERO_MEANS_NONE,
    Helper,
    Skb,
    look_up,
    network,
    store_bytes,
    swap16,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.datapath.tap.up.frame import (
    ADDRESS,
    END,
    HEADER,
    NEW,
    PLACE,
    STRANGER,
    SUM_FLAGS,
    TARGET,
    UP,
    WHERE,
    accept,
    find_probe,
    refused,
    set_family,
    write_keys,
    write_mapped,
)
from vagent.datapath.tap.up.icmp_errors import icmp_error
from vagent.datapath.tap.up.options import FOR_OTHERS, options
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import TCP, UDP

_VERSION, _TOTAL, _FRAGMENT, _PROTOCOL, _SUM, _SOURCE, _DESTINATION = (
    *(0, 2, 6, 9, 10),
    *(12, 16),
)
"""Offsets in the header (RFC 791)."""
_MORE_FRAGMENTS, _FRAGMENT_OFFSET = network(0x2000), network(0x1FFF)
_MIN_VERSION, _MAX_VERSION = 0x45, 0x4F
"""Version 4 with the least and the greatest length of the header."""
_ICMP = 1
_SIZE = 4
"""Of an address. As a flag of the checksum's helpers: 32 bits change."""

TRANSPORT = 8
"""Register: where in the packet the transport header begins; then where in the frame
its checksum is, 0 for none that changes."""


def ipv4_up(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """The stage for IPv4."""
    code.label("ipv4")
    set_family(code, 4)
    for to, field in ((ADDRESS, _SOURCE), (TARGET, _DESTINATION)):
        code.load(Size.WORD, 1, STACK, HEADER + field)
        write_mapped(code, to, 1)
    look_up(code, maps.service, ADDRESS)
    code.jump_if(If.UNEQUAL, RESULT, 0, refused(DropReason.CLAIMED))
    look_up(code, maps.service, TARGET)
    code.jump_if(If.EQUAL, RESULT, 0, FOR_OTHERS)
    write_keys(code)
    if constants.fast_path:
        _try_fast_path(code, maps)
    _check_header(code)
    look_up(code, maps.identity, PLACE)
    code.jump_if(If.EQUAL, RESULT, 0, STRANGER)
    code.load(Size.WORD, 1, RESULT, layout.IDENTITY_ADDRESS + 12)
    code.store(Size.DOUBLE, STACK, NEW, 1)
    _find_checksum(code)
    icmp_error(code, maps)
    code.label("ipv4 without checksum")
    code.put(Op.MOV, TRANSPORT, 0)
    code.label("ipv4 accepted")
    find_probe(code, maps, "accept a guest's")
    code.load(Size.WORD, 1, RESULT, layout.PROBE_IDENTITY)
    code.store(Size.DOUBLE, STACK, NEW, 1)
    code.put(Op.MOV, 1, 1)
    code.count(RESULT, layout.PROBE_ACCEPTED, 1)
    code.jump("ipv4: accepted")
    code.label("accept a guest's")
    accept(code, maps, "ipv4")
    _rewrite(code)
    options(code, maps)


def _try_fast_path(code: Code, maps: MapNumbers) -> None:
    """A packet of a flow with an entry goes straight to the fabric. Others go on."""
    usual = "ipv4 usual way"
    translate.read(code, usual)
    translate.complete_key(code, from_guest=True)
    translate.translate(
        code, maps.entries, maps.lease, absent="fast path: count", otherwise=usual
    )
    translate.send_to_fabric(code)
    translate.count(code, maps.counted, maps.candidates, usual)
    code.label(usual)
    code.load(Size.DOUBLE, WHERE, STACK, PLACE)  # the register was another meanwhile


def _check_header(code: Code) -> None:
    """Write where the packet ends (END, from its beginning)."""
    malformed = refused(DropReason.MALFORMED)
    code.load(Size.BYTE, TRANSPORT, STACK, HEADER + _VERSION)
    code.jump_if(If.LESS, TRANSPORT, _MIN_VERSION, malformed)
    code.jump_if(If.GREATER, TRANSPORT, _MAX_VERSION, malformed)
    code.put(Op.AND, TRANSPORT, 0x0F)
    code.put(Op.LSH, TRANSPORT, 2)
    code.load(Size.HALF, 1, STACK, HEADER + _TOTAL)
    swap16(code, 1, 2)
    code.jump_by(If.LESS, 1, TRANSPORT, malformed)
    code.load(Size.WORD, 2, CONTEXT, Skb.LENGTH)
    code.put(Op.ADD, 2, -ETHERNET)
    code.jump_by(If.GREATER, 1, 2, malformed)
    code.store(Size.DOUBLE, STACK, END, 1)


def _find_checksum(code: Code) -> None:
    """A later fragment has none. A first one that ends before it cannot be carried."""
    # Also where it is not used: the verifier tries what a processor would speculate.
    code.store_number(Size.DOUBLE, STACK, SUM_FLAGS, 0)
    code.load(Size.HALF, 2, STACK, HEADER + _FRAGMENT)
    code.jump_if(If.BITS, 2, _FRAGMENT_OFFSET, "ipv4 without checksum")
    code.load(Size.DOUBLE, 3, STACK, END)
    code.load(Size.BYTE, 1, STACK, HEADER + _PROTOCOL)
    for name, protocol in (("tcp", TCP), ("udp", UDP), ("icmp", _ICMP)):
        code.jump_if(If.EQUAL, 1, protocol, f"ipv4 {name}")
    code.jump("ipv4 without checksum")
    for name, needed, at, flags in (
        ("tcp", 18, 16, PSEUDO_HEADER),
        ("udp", 8, 6, PSEUDO_HEADER | ZERO_MEANS_NONE),
    ):
        code.label(f"ipv4 {name}")
        code.take(Op.MOV, 1, TRANSPORT)
        code.put(Op.ADD, 1, needed)
        code.jump_by(If.GREATER, 1, 3, "ipv4 cut")
        code.put(Op.ADD, TRANSPORT, ETHERNET + at)
        code.store_number(Size.DOUBLE, STACK, SUM_FLAGS, flags | _SIZE)
        code.jump("ipv4 accepted")
    code.label("ipv4 cut")
    code.jump_if(If.BITS, 2, _MORE_FRAGMENTS, refused(DropReason.FRAGMENT))
    code.jump(refused(DropReason.MALFORMED))


def _rewrite(code: Code) -> None:
    """The transport's checksum by the kernel's helper: the kernel alone knows whether
    the sender has left it to the hardware, and it is incomplete yet.
    """
    code.jump_if(If.EQUAL, TRANSPORT, 0, "ipv4 header")
    code.take(Op.MOV, 2, TRANSPORT)
    code.load(Size.DOUBLE, 5, STACK, SUM_FLAGS)
    _replace(code, Helper.REPLACE_L4)
    code.label("ipv4 header")
    code.put(Op.MOV, 2, ETHERNET + _SUM)
    code.put(Op.MOV, 5, _SIZE)
    _replace(code, Helper.REPLACE_L3)
    store_bytes(code, ETHERNET + _SOURCE, NEW, _SIZE)
    code.jump(UP)


def _replace(code: Code, helper: Helper) -> None:
    code.take(Op.MOV, 1, CONTEXT)
    code.load(Size.WORD, 3, STACK, HEADER + _SOURCE)
    code.load(Size.DOUBLE, 4, STACK, NEW)
    code.call(helper)
