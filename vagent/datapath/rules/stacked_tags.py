"""Rules for a guest's frames with more than one VLAN tag, as text.

At netdev ingress the kernel has taken the first tag (802.1Q or 802.1ad) off the frame
and keeps it beside it. A second tag is still in front of the packet: `meta protocol` is
the type of that tag, and nft's own `ip daddr` matches nothing. So addresses are
compared as raw bytes behind the second tag. Types 0x9100 to 0x9300, in use before
802.1ad, mean nothing to the kernel: one such tag is seen as a second one would be.

Nobody is served behind two tags, but the host might be reached: it takes tags of VLAN 0
off, however many there are, and routes what they carry. So what mentions a service
address is dropped, and other frames of a guest with two tags pass. Three tags or more
are dropped whole: an address has no fixed place behind them.
"""

from __future__ import annotations

STACKED = "from_vm_stacked"
"""Chain of the netdev table for what has a tag behind the first one."""
_TAG_TYPES = ("0x8100", "0x88a8", "0x9100", "0x9200", "0x9300")
WAY_IN = "".join(f", {each} : goto {STACKED}" for each in _TAG_TYPES)
"""Elements of the map from `meta protocol` to a chain, behind others."""
WORDS, WORDS6 = "service_words", "service_words6"
"""Sets of the service addresses as numbers, which raw bytes can be compared with."""

_IN_TAG = 4
"""Bytes of the second tag, in front of the IP header or the ARP packet."""
_IPV6 = 40
"""Bytes of an IPv6 header."""
_DROP = "counter name stacked_tags drop"
_IPV4_TYPE, _ARP_TYPE, _IPV6_TYPE = "0x0800", "0x0806", "0x86dd"
_ICMP6, _HOP_BY_HOP, _ROUTING, _FOR_DESTINATION = 58, 0, 43, 60
_MULTICAST_LISTENERS = "{ 130, 131, 132, 143 }"
_NEIGHBOURS = "{ 135, 136 }"
_REDIRECT = 137


def _raw(offset: int, length: int) -> str:
    """`length` bytes at an offset from the packet's first byte behind the tags."""
    return f"@nh,{8 * (_IN_TAG + offset)},{8 * length}"


def stacked_chains(*, ipv6: bool) -> str:
    """The sets and chains, for the netdev table."""
    inner = _raw(-2, 2)
    deeper = ", ".join(f"{each} : goto stacked_deeper" for each in _TAG_TYPES)
    six = f"{_IPV6_TYPE} : goto stacked6, " if ipv6 else ""
    return f"""\
  set {WORDS} {{ typeof {_raw(16, 4)}; }}
  chain stacked_deeper {{
    {_DROP}
  }}
  chain stacked4 {{
    {_raw(12, 4)} @{WORDS} {_DROP}
    {_raw(16, 4)} @{WORDS} {_DROP}
  }}
  chain stacked_arp {{
    {_raw(14, 4)} @{WORDS} {_DROP}
    {_raw(24, 4)} @{WORDS} {_DROP}
  }}
{_stacked6() if ipv6 else ""}\
  chain {STACKED} {{
    {inner} vmap {{ {_IPV4_TYPE} : goto stacked4, {_ARP_TYPE} : goto stacked_arp, \
{six}{deeper} }}
  }}
"""


def _stacked6() -> str:
    """IPv6: source, destination, and what neighbour discovery is about. Behind an
    extension header that has no fixed place, so only the multicast listener reports of
    RFC 3810 (a hop-by-hop header of eight bytes) pass with one.
    """
    next_header, kind = _raw(6, 1), _raw(_IPV6, 1)
    report = (
        f"{next_header} {_HOP_BY_HOP} {_raw(_IPV6, 1)} {_ICMP6} {_raw(_IPV6 + 1, 1)} 0"
        f" {_raw(_IPV6 + 8, 1)} {_MULTICAST_LISTENERS} accept"
    )
    extended = f"{{ {_HOP_BY_HOP}, {_ROUTING}, {_FOR_DESTINATION} }}"
    return f"""\
  set {WORDS6} {{ typeof {_raw(24, 16)}; }}
  chain stacked6 {{
    {_raw(8, 16)} @{WORDS6} {_DROP}
    {_raw(24, 16)} @{WORDS6} {_DROP}
    {next_header} {_ICMP6} {kind} {_NEIGHBOURS} {_raw(_IPV6 + 8, 16)} @{WORDS6} {_DROP}
    {next_header} {_ICMP6} {kind} {_REDIRECT} {_raw(_IPV6 + 24, 16)} @{WORDS6} {_DROP}
    {report}
    {next_header} {extended} {_DROP}
  }}
"""
