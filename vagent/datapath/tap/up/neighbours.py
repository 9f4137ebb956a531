"""Neighbour discovery (RFC 4861) from a guest: asked for a service, the program answers
itself, by making the advertisement out of the frame. Nobody else may have a service's
address.
"""

from __future__ import annotations

from vagent.datapath.tap import layout
from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    FROM_MAC,
    RESULT,
    STACK,
    WITH_SUM,
    Helper,
    at_stack,
    load_bytes_at,
    look_up,
    store_bytes_at,
    write_constant,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.datapath.tap.up.frame import (
    ADDRESS,
    ANSWER,
    GUEST_KEY,
    HEADER,
    MORE,
    copy_address,
    refused,
    write_keys,
)
from vagent.datapath.tap.up.ipv6_headers import CUT, FRAGMENT, LATER, OFFSET, WALK
from vagent.kernel.bpf_assembler import Code, If, Op, Size

SOLICITATION, ADVERTISEMENT, REDIRECT = 135, 136, 137
ABOUT, REDIRECTED = 8, 24
"""Offsets in the message of the address that it is about: of the first two, and of a
redirect."""
ABOUT_SIZE, REDIRECTED_SIZE = ABOUT + 16, REDIRECTED + 16
_HOPS, _ALL_HOPS = 7, 255

_ADVERT = -368
"""On the stack: the advertisement from its source MAC address on."""
_SOURCE, _DESTINATION, _MESSAGE, _TARGET, _OPTION, _END = 16, 32, 48, 56, 72, 80
_START = bytes.fromhex("86dd 60000000 0020 3aff")
"""Ethernet type, IPv6 header up to the addresses: 32 bytes of ICMPv6, 255 hops."""
_FLAGS = bytes.fromhex("88 00 0000 60000000")
"""Solicited, override; without checksum."""
_LINK_LAYER = bytes.fromhex("02 01")
_SUM_OF_LENGTH_AND_PROTOCOL = (32 + 58) << 24
"""What the pseudo header has besides the addresses (RFC 8200 8.1), as the program reads
numbers in network byte order."""


def neighbours(code: Code, constants: Constants, maps: MapNumbers) -> None:
    """The stage for ICMPv6. Goes on with what is not neighbour discovery about a
    service.
    """
    code.jump_if(If.BITS, WALK, LATER, "ipv6 not about neighbours")
    load_bytes_at(code, OFFSET, MORE, 1, CUT)
    code.load(Size.BYTE, 1, STACK, MORE)
    code.jump_if(If.EQUAL, 1, REDIRECT, "redirect")
    code.jump_if(If.EQUAL, 1, ADVERTISEMENT, "neighbour")
    code.jump_if(If.UNEQUAL, 1, SOLICITATION, "ipv6 not about neighbours")
    code.label("neighbour")
    load_bytes_at(code, OFFSET, MORE, ABOUT_SIZE, CUT)
    look_up(code, maps.service, MORE + ABOUT)
    code.jump_if(If.EQUAL, RESULT, 0, "ipv6 not about neighbours")
    code.jump_if(If.BITS, WALK, FRAGMENT, refused(DropReason.FRAGMENT))
    code.load(Size.BYTE, 1, STACK, MORE)
    code.jump_if(If.UNEQUAL, 1, SOLICITATION, refused(DropReason.CLAIMED))
    _check(code, maps)
    _answer(code, constants)
    code.label("redirect")
    load_bytes_at(code, OFFSET, MORE, REDIRECTED_SIZE, CUT)
    look_up(code, maps.service, MORE + REDIRECTED)
    code.jump_if(If.EQUAL, RESULT, 0, "ipv6 not about neighbours")
    code.jump_if(If.BITS, WALK, FRAGMENT, refused(DropReason.FRAGMENT))
    code.jump(refused(DropReason.CLAIMED))
    code.label("ipv6 not about neighbours")


def _check(code: Code, maps: MapNumbers) -> None:
    """Answer a solicitation of a guest. One without a source looks for others that use
    the address which the guest wants for itself. Register 8 is then the VLAN of the
    answer.
    """
    spoofed = refused(DropReason.SPOOFED)
    code.load(Size.DOUBLE, 1, STACK, ADDRESS)
    code.load(Size.DOUBLE, 2, STACK, ADDRESS + 8)
    code.take(Op.OR, 1, 2)
    code.jump_if(If.EQUAL, 1, 0, refused(DropReason.CLAIMED))
    code.load(Size.BYTE, 1, STACK, HEADER + _HOPS)
    code.jump_if(If.UNEQUAL, 1, _ALL_HOPS, spoofed)
    code.load(Size.BYTE, 1, STACK, MORE + 1)
    code.jump_if(If.UNEQUAL, 1, 0, spoofed)
    write_keys(code)
    look_up(code, maps.guest, GUEST_KEY)
    code.jump_if(If.EQUAL, RESULT, 0, spoofed)
    code.load(Size.HALF, 8, RESULT, layout.GUEST_VLAN_GOT)


def _answer(code: Code, constants: Constants) -> None:
    write_constant(code, _ADVERT, constants.service_mac + _START)
    copy_address(code, _ADVERT + _SOURCE, MORE + ABOUT)
    copy_address(code, _ADVERT + _DESTINATION, ADDRESS)
    write_constant(code, _ADVERT + _MESSAGE, _FLAGS)
    copy_address(code, _ADVERT + _TARGET, MORE + ABOUT)
    write_constant(code, _ADVERT + _OPTION, _LINK_LAYER + constants.service_mac)
    _sum(code)
    code.take(Op.MOV, 1, CONTEXT)
    code.put(Op.MOV, 2, FROM_MAC + _END)
    code.put(Op.MOV, 3, 0)
    code.call(Helper.CHANGE_TAIL)
    code.jump_if(If.UNEQUAL, RESULT, 0, "drop")
    code.put(Op.MOV, 2, ETHERNET)
    at_stack(code, 3, _ADVERT + ETHERNET - FROM_MAC)
    store_bytes_at(code, _END + FROM_MAC - ETHERNET, WITH_SUM)
    code.jump(ANSWER)


def _sum(code: Code) -> None:
    """Write the checksum: over addresses and message, which follow on each other."""
    code.put(Op.MOV, 1, 0)
    code.put(Op.MOV, 2, 0)
    at_stack(code, 3, _ADVERT + _SOURCE)
    code.put(Op.MOV, 4, _END - _SOURCE)
    code.put(Op.MOV, 5, _SUM_OF_LENGTH_AND_PROTOCOL)
    code.call(Helper.DIFFERENCE)
    for _ in range(3):
        code.take(Op.MOV, 1, RESULT)
        code.put(Op.RSH, 1, 16)
        code.put(Op.AND, RESULT, 0xFFFF)
        code.take(Op.ADD, RESULT, 1)
    code.put(Op.XOR, RESULT, 0xFFFF)
    code.put(Op.LSH, RESULT, 16)  # bytes 2 and 3 of the message
    code.load(Size.DOUBLE, 1, STACK, _ADVERT + _MESSAGE)
    code.take(Op.ADD, 1, RESULT)
    code.store(Size.DOUBLE, STACK, _ADVERT + _MESSAGE, 1)
