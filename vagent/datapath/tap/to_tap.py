"""The program at the ingress of the guests' side of the veth pair: towards the guests.

What the host sends to an identity gets the address, the MAC addresses and the VLAN tag
of its guest, and leaves by the guest's tap. Nothing passes on: every other frame is
dropped, and counted by its reason in the map `lost`, but for the multicasts that the
kernel sends on any interface.
"""

from __future__ import annotations

import socket

from vagent.datapath.tap import layout
from vagent.datapath.tap.down import (
    KEY,
    MACS,
    REPLY,
    SEND,
    UNCOUNTED,
    lost,
)
from vagent.datapath.tap.idioms import (
    CONTEXT,
    DROP,
    STACK,
    Helper,
    Skb,
    at_stack,
    look_up,
    put_wide,
    store_bytes_at,
)
from vagent.datapath.tap.ipv4_down import ipv4_down
from vagent.datapath.tap.ipv6_down import ipv6_down
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_IPV4, _IPV6, _VLAN = (socket.htons(kind) for kind in (0x0800, 0x86DD, 0x8100))

_REASONS = (
    DropReason.MALFORMED,
    DropReason.EXTENSION_HEADER,
    DropReason.FRAGMENT,
    DropReason.ICMP_ERROR,
    DropReason.UNKNOWN_IDENTITY,
    DropReason.TOO_BIG,
)


def to_tap(constants: Constants, maps: MapNumbers) -> bytes:
    """The program as bytes. It reads the map `reply` and counts in `lost`."""
    code = Code()
    _choose_family(code)
    ipv4_down(code, constants, maps)
    ipv6_down(code, constants, maps)
    _send(code, constants)
    _lose(code, maps)
    return code.assembled()


def _choose_family(code: Code) -> None:
    """No guest is behind a tag that the host has set."""
    unknown = lost(DropReason.UNKNOWN_IDENTITY)
    code.take(Op.MOV, CONTEXT, 1)
    code.load(Size.WORD, 1, CONTEXT, Skb.HAS_TAG)
    code.jump_if(If.UNEQUAL, 1, 0, unknown)
    code.load(Size.WORD, 1, CONTEXT, Skb.PROTOCOL)
    code.jump_if(If.EQUAL, 1, _IPV6, "ipv6")
    code.jump_if(If.UNEQUAL, 1, _IPV4, unknown)


def _send(code: Code, constants: Constants) -> None:
    """From the service's MAC to the guest's, with the guest's tag, out of its tap. A
    mark is the host's own, and does not go along.
    """
    code.label(SEND)
    code.load(Size.HALF, 1, REPLY, layout.REPLY_MAC + 4)
    code.put(Op.LSH, 1, 32)
    code.load(Size.WORD, 2, REPLY, layout.REPLY_MAC)
    code.take(Op.ADD, 1, 2)
    # In double words, because the verifier of Linux 6.1, where the program lacks
    # CAP_PERFMON, refuses to have a part of one written after another.
    put_wide(code, 2, int.from_bytes(constants.service_mac[:2], "little") << 48)
    code.take(Op.ADD, 1, 2)
    code.store(Size.DOUBLE, STACK, MACS, 1)
    put_wide(code, 1, int.from_bytes(constants.service_mac[2:], "little"))
    code.store(Size.DOUBLE, STACK, MACS + 8, 1)
    code.put(Op.MOV, 2, 0)
    at_stack(code, 3, MACS)
    store_bytes_at(code, 12)
    code.put(Op.MOV, 1, 0)
    code.store(Size.WORD, CONTEXT, Skb.MARK, 1)
    code.load(Size.HALF, 3, REPLY, layout.REPLY_VLAN)
    code.jump_if(If.EQUAL, 3, 0, "redirect")
    code.take(Op.MOV, 1, CONTEXT)
    code.put(Op.MOV, 2, _VLAN)
    code.call(Helper.PUSH_TAG)
    code.jump_if(If.UNEQUAL, 0, 0, lost(DropReason.MALFORMED))
    code.label("redirect")
    code.load(Size.WORD, 1, REPLY, layout.REPLY_TAP)
    code.put(Op.MOV, 2, 0)
    code.call(Helper.REDIRECT)
    code.leave()


def _lose(code: Code, maps: MapNumbers) -> None:
    for reason in _REASONS:
        code.label(lost(reason))
        code.store_number(Size.DOUBLE, STACK, KEY, reason)
        code.jump("count")
    code.label("count")
    look_up(code, maps.lost, KEY)
    code.jump_if(If.EQUAL, 0, 0, UNCOUNTED)
    code.put(Op.MOV, 1, 1)
    code.count(0, 0, 1)
    code.label(UNCOUNTED)
    code.put(Op.MOV, 0, DROP)
    code.leave()
