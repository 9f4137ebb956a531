"""Stages of to_tap for IPv4: the identity becomes the guest's address."""

from __future__ import annotations

import socket

from vagent.datapath.tap import layout
from vagent.datapath.tap.down import (
    HEADER,
    ICMP,
    KEY,
    PROTOCOL,
    REPLY,
    SEND,
    TCP_SUM,
    TRANSPORT,
    UDP_SUM,
    UNCOUNTED,
    demand,
    find_guest,
    fit,
    in_transport,
    load_number,
    lost,
    read,
    replace_checksum,
)
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    PSEUDO_HEADER,
    STACK,
    ZERO_MEANS_NONE,
    Helper,
    store_bytes_at,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers, ReplyFlag
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import TCP, UDP
from vagent.ports.identity import MAX_INDEX

_ICMP4 = 1
_WORD = 4
"""Flag of the checksum helpers: what changes has four bytes."""

# Offsets in the IPv4 header.
_FRAGMENT, _NEXT, _SUM, _SOURCE, _DESTINATION = 6, 9, 10, 12, 16
_LENGTH = 20
_OFFSET, _IS_PART = socket.htons(0x1FFF), socket.htons(0x3FFF)
"""Bits of the fragment field: of a later fragment, of any."""

_QUOTE, _PORTS = 8, 8
"""Bytes of an ICMP error before the packet that it quotes, and of that packet behind
its header: those with the ports (RFC 792)."""
_ABOUT_FLOWS = (3, 11)
"""ICMP errors that are translated: destination unreachable and time exceeded."""
_OTHER_ERRORS = (4, 5, 12)
"""Source quench, redirect, parameter problem: they tell a guest nothing it needs."""


def ipv4_down(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """From the frame as it came to its end."""
    code.label("ipv4")
    _read_header(code)
    _find_index(code, constants)
    find_guest(code, maps)
    demand(code, ReplyFlag.HAS_IPV4)
    fit(code, "ipv4")
    _choose_transport(code)
    _translate_transport(code)
    _translate_error(code)
    _translate_header(code)


def _read_header(code: Code) -> None:
    malformed = lost(DropReason.MALFORMED)
    code.put(Op.MOV, 2, ETHERNET)
    read(code, HEADER, _LENGTH, short=malformed)
    code.load(Size.BYTE, TRANSPORT, STACK, HEADER)
    code.jump_if(If.LESS, TRANSPORT, 0x45, malformed)
    code.jump_if(If.GREATER, TRANSPORT, 0x4F, malformed)
    code.put(Op.AND, TRANSPORT, 0x0F)
    code.put(Op.LSH, TRANSPORT, 2)
    code.put(Op.ADD, TRANSPORT, ETHERNET)


def _find_index(code: Code, constants: Constants) -> None:
    """KEY = the destination's distance from the first identity, modulo 2**32."""
    code.load(Size.BYTE, 1, STACK, HEADER + _DESTINATION)
    code.put(Op.AND, 1, 0xF0)
    code.jump_if(If.EQUAL, 1, 0xE0, UNCOUNTED)  # 224.0.0.0/4
    load_number(code, HEADER + _DESTINATION, 4)
    code.put(Op.ADD, 1, -constants.identity_base & 0xFFFFFFFF)
    code.put(Op.LSH, 1, 32)
    code.put(Op.RSH, 1, 32)
    code.jump_if(If.GREATER, 1, MAX_INDEX, lost(DropReason.UNKNOWN_IDENTITY))
    code.store(Size.DOUBLE, STACK, KEY, 1)


def _choose_transport(code: Code) -> None:
    """A later fragment has no transport header. What is neither TCP, UDP nor ICMP has
    no checksum over its addresses that we know of.
    """
    code.load(Size.HALF, 1, STACK, HEADER + _FRAGMENT)
    code.jump_if(If.BITS, 1, _OFFSET, "ipv4 header")
    code.load(Size.BYTE, PROTOCOL, STACK, HEADER + _NEXT)
    code.jump_if(If.EQUAL, PROTOCOL, _ICMP4, "icmp")
    in_transport(code, TCP_SUM)
    code.put(Op.MOV, 5, PSEUDO_HEADER | _WORD)
    code.jump_if(If.EQUAL, PROTOCOL, TCP, "ipv4 transport")
    in_transport(code, UDP_SUM)
    code.put(Op.MOV, 5, PSEUDO_HEADER | _WORD | ZERO_MEANS_NONE)
    code.jump_if(If.UNEQUAL, PROTOCOL, UDP, "ipv4 header")


def _translate_transport(code: Code) -> None:
    code.label("ipv4 transport")
    _from_identity_to_address(code)
    replace_checksum(code, short="ipv4 short")
    code.jump("ipv4 header")
    code.label("ipv4 short")
    code.load(Size.HALF, 1, STACK, HEADER + _FRAGMENT)
    code.jump_if(If.BITS, 1, _IS_PART, lost(DropReason.FRAGMENT))
    code.jump(lost(DropReason.MALFORMED))


def _translate_error(code: Code) -> None:
    """In an ICMP error about a flow of the guest the source of the quoted packet is its
    identity. With the quoted header's checksum updated, ICMP's own is right.
    """
    refused = lost(DropReason.ICMP_ERROR)
    code.label("icmp")
    in_transport(code, 0)
    read(code, ICMP, 1, short=lost(DropReason.MALFORMED))
    code.load(Size.BYTE, 1, STACK, ICMP)
    for kind in _OTHER_ERRORS:
        code.jump_if(If.EQUAL, 1, kind, refused)
    for kind in _ABOUT_FLOWS:
        code.jump_if(If.EQUAL, 1, kind, "icmp error")
    code.jump("ipv4 header")
    code.label("icmp error")
    code.load(Size.HALF, 1, STACK, HEADER + _FRAGMENT)
    code.jump_if(If.BITS, 1, _IS_PART, refused)
    in_transport(code, 0)
    read(code, ICMP, _QUOTE + _LENGTH + _PORTS, short=refused)
    code.load(Size.BYTE, 1, STACK, ICMP + _QUOTE)
    code.jump_if(If.UNEQUAL, 1, 0x45, refused)
    code.load(Size.WORD, 1, STACK, ICMP + _QUOTE + _SOURCE)
    code.load(Size.WORD, 2, STACK, HEADER + _DESTINATION)
    code.jump_by(If.UNEQUAL, 1, 2, refused)
    in_transport(code, _QUOTE + _SUM)
    _replace_header_checksum(code)
    in_transport(code, _QUOTE + _SOURCE)
    _write_address(code)


def _translate_header(code: Code) -> None:
    code.label("ipv4 header")
    code.put(Op.MOV, 2, ETHERNET + _SUM)
    _replace_header_checksum(code)
    code.put(Op.MOV, 2, ETHERNET + _DESTINATION)
    _write_address(code)
    code.jump(SEND)


def _replace_header_checksum(code: Code) -> None:
    """Update the checksum of an IPv4 header, at the offset in register 2."""
    _from_identity_to_address(code)
    code.put(Op.MOV, 5, _WORD)
    code.take(Op.MOV, 1, CONTEXT)
    code.call(Helper.REPLACE_L3)


def _from_identity_to_address(code: Code) -> None:
    code.load(Size.WORD, 3, STACK, HEADER + _DESTINATION)
    code.load(Size.WORD, 4, REPLY, layout.REPLY_ADDRESS4)


def _write_address(code: Code) -> None:
    """Write the guest's address at the offset in register 2. No sum over the frame
    changes: the checksum of the header has changed by as much.
    """
    code.take(Op.MOV, 3, REPLY)
    code.put(Op.ADD, 3, layout.REPLY_ADDRESS4)
    store_bytes_at(code, 4)
