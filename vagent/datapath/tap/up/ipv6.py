"""IPv6 from a guest: what is for a service gets the guest's identity and goes to the
host.

A registered address becomes the identity of its index, and checksums follow. Of a
link-local one only the upper half changes, and no checksum (`vagent.ports.identity`).
"""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    PSEUDO_HEADER,
    RESULT,
    STACK,
    WITH_SUM,
    ZERO_MEANS_NONE,
    Helper,
    Skb,
    at_stack,
    difference,
    load_bytes,
    look_up,
    store_bytes_at,
    swap16,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.datapath.tap.up.frame import (
    ADDRESS,
    END,
    HEADER,
    LET_PASS,
    NEW,
    STRANGER,
    SUM_FLAGS,
    UP,
    accept,
    copy_address,
    refused,
    set_family,
    write_keys,
)
from vagent.datapath.tap.up.icmp_errors import icmp6_error
from vagent.datapath.tap.up.identity6 import SOURCE, SOURCE_IS_NEUTRAL, find_identity6
from vagent.datapath.tap.up.ipv6_headers import (
    ABOUT_US,
    EXTENDED,
    FIRST_FRAGMENT,
    KIND,
    LATER,
    OFFSET,
    WALK,
    walk,
)
from vagent.datapath.tap.up.neighbours import neighbours
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import ICMP6, TCP, UDP

IPV6_SIZE = 40
_PAYLOAD, _NEXT, _SOURCE, _DESTINATION = 4, 6, 8, 24
"""Offsets in the header (RFC 8200)."""


def ipv6_up(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """The stage for IPv6."""
    malformed = refused(DropReason.MALFORMED)
    code.label("ipv6")
    load_bytes(code, ETHERNET, HEADER, IPV6_SIZE, malformed)
    set_family(code, 6)
    copy_address(code, ADDRESS, HEADER + _SOURCE)
    look_up(code, maps.service, ADDRESS)
    code.jump_if(If.UNEQUAL, RESULT, 0, refused(DropReason.CLAIMED))
    look_up(code, maps.service, HEADER + _DESTINATION)
    code.load(Size.BYTE, WALK, STACK, HEADER + _NEXT)
    code.put(Op.MOV, OFFSET, ETHERNET + IPV6_SIZE)
    code.jump_if(If.EQUAL, RESULT, 0, "ipv6 walk")
    code.put(Op.OR, WALK, ABOUT_US)
    code.label("ipv6 walk")
    walk(code)
    code.jump_if(If.UNEQUAL, 1, ICMP6, "ipv6 for whom")
    neighbours(code, constants, maps)
    code.label("ipv6 for whom")
    code.jump_if(If.BITS, WALK, ABOUT_US, "ipv6 for a service")
    code.jump(LET_PASS)
    code.label("ipv6 for a service")
    code.jump_if(If.BITS, WALK, EXTENDED, refused(DropReason.EXTENSION_HEADER))
    _check_length(code, malformed)
    write_keys(code)
    find_identity6(code, constants, maps, SOURCE, absent=STRANGER)
    _find_checksum(code)
    icmp6_error(code, constants, maps)
    code.jump("ipv6 accepted")
    code.label("ipv6 without checksum")
    code.put(Op.MOV, OFFSET, 0)
    code.label("ipv6 accepted")
    accept(code, maps, "ipv6")
    _rewrite(code)


def _check_length(code: Code, malformed: str) -> None:
    """Write where the packet ends in the frame (END)."""
    code.load(Size.HALF, 1, STACK, HEADER + _PAYLOAD)
    swap16(code, 1, 2)
    code.put(Op.ADD, 1, ETHERNET + IPV6_SIZE)
    code.load(Size.WORD, 2, CONTEXT, Skb.LENGTH)
    code.jump_by(If.GREATER, 1, 2, malformed)
    code.store(Size.DOUBLE, STACK, END, 1)


def _find_checksum(code: Code) -> None:
    """A later fragment has none. A first one that ends before it cannot be carried.
    OFFSET is then where in the frame it is; of ICMPv6, at first where the message is.
    """
    # Also where it is not used: the verifier tries what a processor would speculate.
    code.store_number(Size.DOUBLE, STACK, SUM_FLAGS, 0)
    code.jump_if(If.BITS, WALK, LATER, "ipv6 without checksum")
    code.take(Op.MOV, 1, WALK)
    code.put(Op.AND, 1, KIND)
    code.load(Size.DOUBLE, 3, STACK, END)
    for name, protocol in (("tcp", TCP), ("udp", UDP), ("icmp", ICMP6)):
        code.jump_if(If.EQUAL, 1, protocol, f"ipv6 {name}")
    code.jump("ipv6 without checksum")
    code.label("ipv6 short")
    code.jump_if(If.BITS, WALK, FIRST_FRAGMENT, refused(DropReason.FRAGMENT))
    code.jump(refused(DropReason.MALFORMED))
    for name, needed, at, flags in (
        ("tcp", 18, 16, PSEUDO_HEADER),
        ("udp", 8, 6, PSEUDO_HEADER | ZERO_MEANS_NONE),
        ("icmp", 4, 2, PSEUDO_HEADER),
    ):
        code.label(f"ipv6 {name}")
        code.take(Op.MOV, 2, OFFSET)
        code.put(Op.ADD, 2, needed)
        code.jump_by(If.GREATER, 2, 3, "ipv6 short")
        code.store_number(Size.DOUBLE, STACK, SUM_FLAGS, flags)
        code.put(Op.ADD, OFFSET, at)
        code.jump("ipv6 error" if name == "icmp" else "ipv6 accepted")


def _rewrite(code: Code) -> None:
    """The transport's checksum by the kernel's helper: the kernel alone knows whether
    the sender has left it to the hardware, and it is incomplete yet.
    """
    code.jump_if(If.EQUAL, OFFSET, 0, "ipv6 source")
    code.jump_if(If.BITS, WALK, SOURCE_IS_NEUTRAL, "ipv6 source")
    difference(code, ADDRESS, NEW)
    code.take(Op.MOV, 4, RESULT)
    code.take(Op.MOV, 1, CONTEXT)
    code.take(Op.MOV, 2, OFFSET)
    code.put(Op.MOV, 3, 0)
    code.load(Size.DOUBLE, 5, STACK, SUM_FLAGS)
    code.call(Helper.REPLACE_L4)
    code.label("ipv6 source")
    code.put(Op.MOV, 2, ETHERNET + _SOURCE)
    at_stack(code, 3, NEW)
    store_bytes_at(code, layout.ADDRESS_SIZE, WITH_SUM)
    code.jump(UP)
