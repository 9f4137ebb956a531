"""The program at the ingress of every tap: what guests send.

What is for a service and comes from a registered place gets the guest's identity and
goes to the host, ARP requests and neighbour solicitations for a service are answered in
place, and what mentions a service address in any other way is dropped. All else passes
untouched.
"""

from __future__ import annotations

from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    STACK,
    TYPE,
    TYPE_ARP,
    TYPE_IPV4,
    TYPE_IPV6,
    load_bytes,
    network,
)
from vagent.datapath.tap.layout import Constants, DropReason, MapNumbers
from vagent.datapath.tap.up.arp import arp
from vagent.datapath.tap.up.frame import ADDRESS, FRAME, LET_PASS, ends, refused
from vagent.datapath.tap.up.ipv4 import ipv4_up
from vagent.datapath.tap.up.ipv6 import ipv6_up
from vagent.datapath.tap.up.refuse import refuse
from vagent.datapath.tap.up.tags import TAG_TYPES, find_place, stacked
from vagent.kernel.bpf_assembler import Code, If, Op, Size

_IPV4_END = ETHERNET + 20


def from_tap(constants: Constants, maps: MapNumbers) -> bytes:
    """The program as bytes."""
    code = Code()
    code.take(Op.MOV, CONTEXT, 1)
    find_place(code)
    _choose_stage(code)
    ipv4_up(code, constants, maps)
    arp(code, constants, maps)
    ipv6_up(code, constants, maps)
    stacked(code, maps)
    ends(code, constants, maps)
    refuse(code, maps)
    return code.assembled()


def _choose_stage(code: Code) -> None:
    """By the Ethernet type. A frame that ends within its IP header is malformed."""
    for half in (0, 8):
        code.store_number(Size.DOUBLE, STACK, ADDRESS + half, 0)
    load_bytes(code, 0, FRAME, _IPV4_END, "short")
    code.load(Size.HALF, 1, STACK, FRAME + TYPE)
    for kind, stage in (
        (TYPE_IPV4, "ipv4"),
        (TYPE_IPV6, "ipv6"),
        (TYPE_ARP, "arp"),
        *((kind, "stacked") for kind in TAG_TYPES),
    ):
        code.jump_if(If.EQUAL, 1, network(kind), stage)
    code.jump(LET_PASS)
    code.label("short")
    load_bytes(code, 0, FRAME, ETHERNET, LET_PASS)
    code.load(Size.HALF, 1, STACK, FRAME + TYPE)
    for kind in (TYPE_IPV4, TYPE_IPV6, TYPE_ARP):
        code.jump_if(If.EQUAL, 1, network(kind), refused(DropReason.MALFORMED))
    for kind in TAG_TYPES:
        code.jump_if(If.EQUAL, 1, network(kind), "stacked")
    code.jump(LET_PASS)
