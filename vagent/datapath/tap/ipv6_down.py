"""Stages of to_tap for IPv6: the identity becomes the guest's address.

`vagent.ports.identity` says which forms an identity has.
"""

from __future__ import annotations

import socket
import struct

from vagent.datapath.tap import layout
from vagent.datapath.tap.down import (
    ADDRESS,
    DIFFERENCE,
    FRAGMENT,
    HEADER,
    ICMP,
    ICMP6_SUM,
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
    ETHERNET,
    PSEUDO_HEADER,
    STACK,
    WITH_SUM,
    ZERO_MEANS_NONE,
    at_stack,
    difference,
    put_wide,
    store_bytes_at,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers, ReplyFlag
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import ICMP6, TCP, UDP
from vagent.ports.identity import LINK_LOCAL, MAX_INDEX

# Offsets in the IPv6 header.
_NEXT, _SOURCE, _DESTINATION = 6, 8, 24
_LENGTH = 40
# Offsets in the destination: the index, its complement or 0, and the lower half.
_PREFIX, _INDEX, _COMPLEMENT, _LOWER = (_DESTINATION + at for at in (0, 4, 6, 8))
_REGISTERED = bytes(7) + b"\1"
"""Lower half of the identity of a registered address."""

_FRAGMENT_HEADER, _FRAGMENT_LENGTH = 44, 8
_OFFSET, _IS_PART = socket.htons(0xFFF8), socket.htons(0xFFF9)
"""Bits of the fragment header: of a later fragment, of any."""
_EXTENSION_HEADERS = (0, 43, 44, 51, 60, 135, 139, 140)
"""Those that may stand between the IPv6 header and the transport's (IANA, IPv6
Extension Header Types), a second fragment header included."""

_QUOTE, _PORTS = 8, 8
"""Bytes of an ICMPv6 error before the packet that it quotes, and of that packet behind
its header: those with the ports (RFC 4443 2.4)."""
_FIRST_ABOUT_FLOWS, _LAST_ABOUT_FLOWS, _LAST_ERROR = 1, 3, 127
"""ICMPv6 types that are translated (destination unreachable, packet too big, time
exceeded), and of all errors the last (RFC 4443 2.1)."""


def ipv6_down(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """From the frame as it came to its end."""
    code.label("ipv6")
    _read_header(code)
    _find_index(code, constants)
    find_guest(code, maps)
    _choose_address(code)
    fit(code, "ipv6")
    _find_transport(code)
    _choose_transport(code)
    _translate_error(code)
    _translate_checksum(code)
    _translate_header(code)


def _read_header(code: Code) -> None:
    malformed = lost(DropReason.MALFORMED)
    code.put(Op.MOV, 2, ETHERNET)
    read(code, HEADER, _LENGTH, short=malformed)
    code.load(Size.BYTE, 1, STACK, HEADER)
    code.put(Op.AND, 1, 0xF0)
    code.jump_if(If.UNEQUAL, 1, 0x60, malformed)
    code.load(Size.BYTE, 1, STACK, HEADER + _DESTINATION)
    code.jump_if(If.EQUAL, 1, 0xFF, UNCOUNTED)


def _find_index(code: Code, constants: Constants) -> None:
    unknown = lost(DropReason.UNKNOWN_IDENTITY)
    for at, half in enumerate(struct.unpack("<HH", constants.identity_prefix6)):
        code.load(Size.HALF, 1, STACK, HEADER + _PREFIX + 2 * at)
        code.jump_if(If.UNEQUAL, 1, half, unknown)
    load_number(code, HEADER + _INDEX, 2)
    code.store(Size.DOUBLE, STACK, KEY, 1)


def _choose_address(code: Code) -> None:
    """ADDRESS = the guest's, by the form of the identity."""
    code.load(Size.HALF, 1, STACK, HEADER + _COMPLEMENT)
    code.jump_if(If.EQUAL, 1, 0, "registered")
    _choose_link_local(code)
    code.label("registered")
    _choose_registered(code)
    code.label("ipv6 address")


def _choose_link_local(code: Code) -> None:
    """The lower half is the guest's own, and no checksum changes."""
    code.load(Size.HALF, 2, STACK, HEADER + _INDEX)
    code.take(Op.XOR, 1, 2)
    code.jump_if(If.UNEQUAL, 1, MAX_INDEX, lost(DropReason.UNKNOWN_IDENTITY))
    demand(code, ReplyFlag.TAKES_LINK_LOCAL)
    prefix = LINK_LOCAL.network_address.packed[:8]
    put_wide(code, 1, int.from_bytes(prefix, "little"))
    code.store(Size.DOUBLE, STACK, ADDRESS, 1)
    code.load(Size.DOUBLE, 1, STACK, HEADER + _LOWER)
    code.store(Size.DOUBLE, STACK, ADDRESS + 8, 1)
    code.store_number(Size.DOUBLE, STACK, DIFFERENCE, 0)
    code.jump("ipv6 address")


def _choose_registered(code: Code) -> None:
    unknown = lost(DropReason.UNKNOWN_IDENTITY)
    for at, word in enumerate(struct.unpack("<II", _REGISTERED)):
        code.load(Size.WORD, 1, STACK, HEADER + _LOWER + 4 * at)
        code.jump_if(If.UNEQUAL, 1, word, unknown)
    demand(code, ReplyFlag.HAS_IPV6)
    for at in (0, 8):
        code.load(Size.DOUBLE, 1, REPLY, layout.REPLY_ADDRESS6 + at)
        code.store(Size.DOUBLE, STACK, ADDRESS + at, 1)
    difference(code, HEADER + _DESTINATION, ADDRESS)
    code.store(Size.DOUBLE, STACK, DIFFERENCE, 0)


def _find_transport(code: Code) -> None:
    """A fragment header may stand in front of it; none other is in what the agent
    carries. A later fragment has no transport: its protocol is then none that we know.
    """
    malformed = lost(DropReason.MALFORMED)
    code.put(Op.MOV, TRANSPORT, ETHERNET + _LENGTH)
    code.store_number(Size.DOUBLE, STACK, FRAGMENT, 0)
    code.load(Size.BYTE, PROTOCOL, STACK, HEADER + _NEXT)
    code.jump_if(If.UNEQUAL, PROTOCOL, _FRAGMENT_HEADER, "ipv6 protocol")
    in_transport(code, 0)
    read(code, FRAGMENT, _FRAGMENT_LENGTH, short=malformed)
    code.put(Op.ADD, TRANSPORT, _FRAGMENT_LENGTH)
    code.load(Size.BYTE, PROTOCOL, STACK, FRAGMENT)
    code.load(Size.HALF, 1, STACK, FRAGMENT + 2)
    code.jump_if(If.BITS, 1, _OFFSET, "ipv6 later fragment")
    code.label("ipv6 protocol")
    for header in _EXTENSION_HEADERS:
        code.jump_if(If.EQUAL, PROTOCOL, header, lost(DropReason.EXTENSION_HEADER))
    code.jump("ipv6 transport")
    code.label("ipv6 later fragment")
    code.put(Op.MOV, PROTOCOL, -1)
    code.label("ipv6 transport")


def _choose_transport(code: Code) -> None:
    """What is neither TCP, UDP nor ICMPv6 has no checksum over its addresses that we
    know of.
    """
    code.jump_if(If.EQUAL, PROTOCOL, ICMP6, "icmp6")
    in_transport(code, TCP_SUM)
    code.put(Op.MOV, 5, PSEUDO_HEADER)
    code.jump_if(If.EQUAL, PROTOCOL, TCP, "ipv6 checksum")
    in_transport(code, UDP_SUM)
    code.put(Op.MOV, 5, PSEUDO_HEADER | ZERO_MEANS_NONE)
    code.jump_if(If.EQUAL, PROTOCOL, UDP, "ipv6 checksum")
    code.jump("ipv6 header")


def _translate_error(code: Code) -> None:
    """In an ICMPv6 error about a flow of the guest the source of the quoted packet is
    its identity. ICMPv6's checksum covers what is quoted, too.
    """
    refused = lost(DropReason.ICMP_ERROR)
    code.label("icmp6")
    in_transport(code, 0)
    read(code, ICMP, 1, short=lost(DropReason.MALFORMED))
    code.load(Size.BYTE, 1, STACK, ICMP)
    code.jump_if(If.GREATER, 1, _LAST_ERROR, "icmp6 checksum")
    code.jump_if(If.LESS, 1, _FIRST_ABOUT_FLOWS, refused)
    code.jump_if(If.GREATER, 1, _LAST_ABOUT_FLOWS, refused)
    code.load(Size.HALF, 1, STACK, FRAGMENT + 2)
    code.jump_if(If.BITS, 1, _IS_PART, refused)
    in_transport(code, 0)
    read(code, ICMP, _QUOTE + _LENGTH + _PORTS, short=refused)
    code.load(Size.BYTE, 1, STACK, ICMP + _QUOTE)
    code.put(Op.AND, 1, 0xF0)
    code.jump_if(If.UNEQUAL, 1, 0x60, refused)
    for at in range(0, 16, 4):
        code.load(Size.WORD, 1, STACK, ICMP + _QUOTE + _SOURCE + at)
        code.load(Size.WORD, 2, STACK, HEADER + _DESTINATION + at)
        code.jump_by(If.UNEQUAL, 1, 2, refused)
    in_transport(code, _QUOTE + _SOURCE)
    at_stack(code, 3, ADDRESS)
    store_bytes_at(code, 16)
    in_transport(code, ICMP6_SUM)
    code.put(Op.MOV, 5, 0)
    _replace_checksum(code)
    code.label("icmp6 checksum")
    in_transport(code, ICMP6_SUM)
    code.put(Op.MOV, 5, PSEUDO_HEADER)


def _translate_checksum(code: Code) -> None:
    code.label("ipv6 checksum")
    _replace_checksum(code)


def _replace_checksum(code: Code) -> None:
    """Let the checksum at the offset in register 2 grow by DIFFERENCE."""
    code.put(Op.MOV, 3, 0)
    code.load(Size.DOUBLE, 4, STACK, DIFFERENCE)
    replace_checksum(code, short="ipv6 short")


def _translate_header(code: Code) -> None:
    code.label("ipv6 header")
    code.put(Op.MOV, 2, ETHERNET + _DESTINATION)
    at_stack(code, 3, ADDRESS)
    store_bytes_at(code, 16, WITH_SUM)
    code.jump(SEND)
    code.label("ipv6 short")
    code.load(Size.HALF, 1, STACK, FRAGMENT + 2)
    code.jump_if(If.BITS, 1, _IS_PART, lost(DropReason.FRAGMENT))
    code.jump(lost(DropReason.MALFORMED))
