"""The reference of from_tap for frames with a VLAN tag in them."""

from __future__ import annotations

from tests.fuzz.taps.octets import (
    ARP_TYPE,
    EXTENSION_HEADERS,
    ICMP6,
    IPV4,
    IPV4_TYPE,
    IPV6,
    IPV6_TYPE,
    four,
    number,
    part,
    six,
)
from tests.fuzz.taps.world import Dropped, World
from vagent.datapath.tap.layout import Address, DropReason

TAGS = frozenset((0x8100, 0x88A8, 0x9100, 0x9200, 0x9300))
_BEHIND = 18
_REPORTS = (130, 131, 132, 143)


def check_stacked(world: World, frame: bytes) -> None:
    """Drops what has a tag behind that one, or mentions a service."""
    if len(frame) < _BEHIND:
        return
    kind, packet = number(frame, 16), frame[_BEHIND:]
    if kind in TAGS:
        raise Dropped(DropReason.STACKED_TAGS)
    mentioned: list[Address] = []
    if kind == ARP_TYPE:
        part(packet, 0, 28, DropReason.MALFORMED)
        mentioned = [four(packet, 14), four(packet, 24)]
    elif kind == IPV4_TYPE:
        part(packet, 0, IPV4, DropReason.MALFORMED)
        mentioned = [four(packet, 12), four(packet, 16)]
    elif kind == IPV6_TYPE:
        part(packet, 0, IPV6, DropReason.MALFORMED)
        mentioned = [six(packet, 8), six(packet, 24), *_neighbours(packet)]
    if world.services.intersection(mentioned):
        raise Dropped(DropReason.STACKED_TAGS)
    if kind == IPV4_TYPE:
        check_options(world, packet)
    if kind == IPV6_TYPE and packet[6] in EXTENSION_HEADERS and not _reports(packet):
        raise Dropped(DropReason.STACKED_TAGS)


def check_options(world: World, packet: bytes) -> None:
    """Drops an IPv4 packet whose options have a service address in them."""
    length = 4 * (packet[0] & 15)
    options = packet[IPV4:length]
    if length > len(packet):
        return
    if any(four(options, at) in world.services for at in range(len(options) - 3)):
        raise Dropped(DropReason.EXTENSION_HEADER)


def _reports(packet: bytes) -> bool:
    """Is it a multicast listener report behind eight bytes of hop-by-hop options?"""
    options = packet[IPV6 : IPV6 + 9]
    return (
        len(options) == 9
        and packet[6] == 0
        and options[:2] == bytes((ICMP6, 0))
        and options[8] in _REPORTS
    )


def _neighbours(packet: bytes) -> list[Address]:
    """What neighbour discovery is about."""
    if packet[6] != ICMP6 or len(packet) <= IPV6:
        return []
    at = IPV6 + {135: 8, 136: 8, 137: 24}.get(packet[IPV6], len(packet))
    return [six(packet, at)] if at + 16 <= len(packet) else []
