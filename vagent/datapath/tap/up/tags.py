"""VLAN tags of a guest's frame.

The kernel takes the first tag (802.1Q or 802.1ad) off a frame and keeps it beside it.
Nobody is served behind another one, which still is in the frame, but somebody might be
reached: Linux takes tags of VLAN 0 off, however many there are, and routes what they
carry. So what mentions a service address behind a tag in the frame is dropped, and all
that has a tag behind that one. The types 0x9100 to 0x9300, in use before 802.1ad, mean
nothing to the kernel: even the first tag of such a type is in the frame.
"""

from __future__ import annotations

from vagent.datapath.tap.idioms import (
    CONTEXT,
    ETHERNET,
    RESULT,
    STACK,
    TAG_SIZE,
    TYPE_ARP,
    TYPE_IPV4,
    TYPE_IPV6,
    TYPE_SERVICE_TAG,
    Skb,
    load_bytes,
    look_up,
    network,
)
from vagent.datapath.tap.layout import PLACE_VLAN, SERVICE_TAG, DropReason, MapNumbers
from vagent.datapath.tap.up.arp import ARP_SIZE, read_arp
from vagent.datapath.tap.up.frame import (
    ADDRESS,
    LET_PASS,
    MORE,
    TARGET,
    WHERE,
    copy_address,
    refused,
    set_family,
    write_mapped,
)
from vagent.datapath.tap.up.ipv6_headers import EXTENSION_HEADERS, HOP_BY_HOP
from vagent.datapath.tap.up.neighbours import (
    ABOUT,
    ABOUT_SIZE,
    ADVERTISEMENT,
    REDIRECT,
    REDIRECTED,
    REDIRECTED_SIZE,
    SOLICITATION,
)
from vagent.datapath.tap.up.options import STACKED_FOR_OTHERS
from vagent.kernel.bpf_assembler import Code, If, Op, Size
from vagent.kernel.ip_packet import ICMP6

TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
_ID = 0x0FFF
_BEHIND = ETHERNET + TAG_SIZE
_NEXT, _SOURCE, _DESTINATION, _IPV6_SIZE = 6, 8, 24, 40
_MULTICAST_LISTENERS = (130, 131, 132, 143)
_STACKED = refused(DropReason.STACKED_TAGS)
_MALFORMED = refused(DropReason.MALFORMED)


def find_place(code: Code) -> None:
    """WHERE = interface and VLAN."""
    code.load(Size.WORD, WHERE, CONTEXT, Skb.IFINDEX)
    code.load(Size.WORD, 1, CONTEXT, Skb.HAS_TAG)
    code.jump_if(If.EQUAL, 1, 0, "placed")
    code.load(Size.WORD, 1, CONTEXT, Skb.TAG)
    code.put(Op.AND, 1, _ID)
    code.load(Size.WORD, 2, CONTEXT, Skb.TAG_TYPE)
    code.jump_if(If.UNEQUAL, 2, network(TYPE_SERVICE_TAG), "customer's tag")
    code.put(Op.ADD, 1, SERVICE_TAG)
    code.label("customer's tag")
    code.put(Op.LSH, 1, 8 * PLACE_VLAN)
    code.take(Op.ADD, WHERE, 1)
    code.label("placed")


def stacked(code: Code, maps: MapNumbers) -> None:
    """The stage for frames with a tag in them."""
    code.label("stacked")
    load_bytes(code, ETHERNET, MORE, TAG_SIZE, LET_PASS)
    code.load(Size.HALF, 1, STACK, MORE + 2)
    for kind in TAG_TYPES:
        code.jump_if(If.EQUAL, 1, network(kind), _STACKED)
    code.jump_if(If.EQUAL, 1, network(TYPE_IPV4), "stacked ipv4")
    code.jump_if(If.EQUAL, 1, network(TYPE_ARP), "stacked arp")
    code.jump_if(If.EQUAL, 1, network(TYPE_IPV6), "stacked ipv6")
    code.jump(LET_PASS)
    code.label("stacked arp")
    load_bytes(code, _BEHIND, MORE, ARP_SIZE, _MALFORMED)
    read_arp(code)
    set_family(code, 4)
    _refuse_services(code, maps, ADDRESS, TARGET)
    code.jump(LET_PASS)
    code.label("stacked ipv4")
    load_bytes(code, _BEHIND, MORE, 20, _MALFORMED)
    for to, field in ((ADDRESS, 12), (TARGET, 16)):
        code.load(Size.WORD, 1, STACK, MORE + field)
        write_mapped(code, to, 1)
    set_family(code, 4)
    _refuse_services(code, maps, ADDRESS, TARGET)
    code.jump(STACKED_FOR_OTHERS)
    _stacked6(code, maps)


def _refuse_services(code: Code, maps: MapNumbers, *addresses: int) -> None:
    for address in addresses:
        look_up(code, maps.service, address)
        code.jump_if(If.UNEQUAL, RESULT, 0, _STACKED)


def _stacked6(code: Code, maps: MapNumbers) -> None:
    """IPv6: source, destination, and what neighbour discovery is about. Behind an
    extension header that has no fixed place, so only the multicast listener reports of
    RFC 3810 (a hop-by-hop header of eight bytes) pass with one.
    """
    code.label("stacked ipv6")
    load_bytes(code, _BEHIND, MORE, _IPV6_SIZE, _MALFORMED)
    set_family(code, 6)
    copy_address(code, ADDRESS, MORE + _SOURCE)
    _refuse_services(code, maps, ADDRESS, MORE + _DESTINATION)
    code.load(Size.BYTE, 1, STACK, MORE + _NEXT)
    code.jump_if(If.EQUAL, 1, ICMP6, "stacked icmp6")
    code.jump_if(If.EQUAL, 1, HOP_BY_HOP, "stacked report")
    for kind in EXTENSION_HEADERS:
        code.jump_if(If.EQUAL, 1, kind, _STACKED)
    code.jump(LET_PASS)
    code.label("stacked report")
    load_bytes(code, _BEHIND + _IPV6_SIZE, MORE, 9, _STACKED)
    code.load(Size.HALF, 1, STACK, MORE)
    code.jump_if(If.UNEQUAL, 1, ICMP6, _STACKED)  # and the header has eight bytes
    code.load(Size.BYTE, 1, STACK, MORE + 8)
    for kind in _MULTICAST_LISTENERS:
        code.jump_if(If.EQUAL, 1, kind, LET_PASS)
    code.jump(_STACKED)
    code.label("stacked icmp6")
    load_bytes(code, _BEHIND + _IPV6_SIZE, MORE, ABOUT_SIZE, LET_PASS)
    code.load(Size.BYTE, 1, STACK, MORE)
    code.jump_if(If.EQUAL, 1, REDIRECT, "stacked redirect")
    for kind in (SOLICITATION, ADVERTISEMENT):
        code.jump_if(If.EQUAL, 1, kind, "stacked neighbour")
    code.jump(LET_PASS)
    code.label("stacked neighbour")
    _refuse_services(code, maps, MORE + ABOUT)
    code.jump(LET_PASS)
    code.label("stacked redirect")
    load_bytes(code, _BEHIND + _IPV6_SIZE, MORE, REDIRECTED_SIZE, LET_PASS)
    _refuse_services(code, maps, MORE + REDIRECTED)
    code.jump(LET_PASS)
