"""The nftables table of the taps and of the guests' side of the veth pair, as text.

Here are the chains that do not depend on which ports and services there are. `render`
says in which order a packet meets them.
"""

from __future__ import annotations

from vagent.datapath.names import (
    FROM_TAPS,
    SERVICE_MAC,
    TAG,
    TO_GUEST,
    TO_GUEST6,
    Names,
)
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.stacked_tags import WAY_IN, stacked_chains
from vagent.ports.identity import LINK_LOCAL

NETDEV_PRIORITY = -300

_MIN_ERROR = 56
"""Bytes of an ICMP error with IPv4 headers of 20 bytes, at least; also those of an
ICMPv6 error behind its IPv6 header. The quoted packet goes on for eight more bytes, in
which the ports are (RFC 792, RFC 4443 2.4)."""
ABOUT_FLOWS = (
    f"@nh,0,8 0x45 ip frag-off & 0x3fff == 0 ip length >= {_MIN_ERROR}"
    " icmp type { destination-unreachable, time-exceeded } @th,64,8 0x45"
)
ABOUT_FLOWS6 = (
    f"ip6 nexthdr ipv6-icmp ip6 length >= {_MIN_ERROR} icmpv6 type"
    " { destination-unreachable, packet-too-big, time-exceeded } @th,64,4 6"
)
"""Match the ICMP errors that are translated: about a flow, in packets without options,
fragments and extension headers. Redirect, source quench and parameter problem are not:
they tell a guest nothing that it needs."""

_VLAN_ID = "@ll,116,12"
"""nft's own `vlan id` cannot stand beside a MAC address in one key."""
_TAGGED = "ether type { vlan, 8021ad }"
_UNTAGGED = "@ll,96,16 0x8100 @ll,116,12 0"
"""Matches a tag with VLAN 0, which names no VLAN (IEEE 802.1Q 9.6)."""
_TAGGED_ARP = (
    f"meta protocol arp @ll,96,16 0x8100 meta mark set iifname . {_VLAN_ID}"
    " . ether saddr . arp saddr ip map @tagged"
    " @ll,112,16 set meta mark map @mark_vlan goto arp_reply"
)


def netdev_table(names: Names, host_mac: str, *, features: Features) -> str:
    """The netdev table. `host_mac` is that of the host's side of the veth pair.

    `meta protocol` tells what a frame carries, whether or not it has a VLAN tag.
    """
    up = f'ether daddr set {host_mac} fwd to "{names.guest_side}"'
    # A tag of VLAN 0 comes off at the host's side by itself.
    tagged_up = f"@ll,112,16 set 0 meta mark set 0 {up}"
    ipv6 = features.ipv6
    down = (
        f"ether saddr set {SERVICE_MAC} ether daddr set meta mark map @mark_mac"
        " fwd to meta mark map @mark_dev"
    )
    return f"""\
table netdev {names.table} {{
  counter spoofed {{ }}
  counter claimed {{ }}
  counter stacked_tags {{ }}
  counter unknown_identity {{ }}
  set service_addresses {{ type ipv4_addr; }}
  map identity {{ typeof iifname . ether saddr . ip saddr : ip saddr; }}
  map id_mark {{ type ipv4_addr : mark; }}
  map mark_ip {{ type mark : ipv4_addr; }}
  map mark_mac {{ type mark : ether_addr; }}
  map mark_dev {{ type mark : iface_index; }}
{_tagged_maps(names, ipv6=ipv6) if features.vlan else ""}\
  chain arp_reply {{ }}
  chain trap_untagged {{
    ip saddr set iifname . ether saddr . ip saddr map @identity {up}
    counter name spoofed drop
  }}
  chain trap {{
    {_TAGGED} goto trap_tagged
    goto trap_untagged
  }}
  chain trap_tagged {{
    {_UNTAGGED} goto trap_untagged
    {_tagged("ip saddr", "tagged", "mark_identity", tagged_up) if features.vlan else ""}
    counter name spoofed drop
  }}
  chain arp_tagged {{
    {_UNTAGGED} goto arp_reply
    {_TAGGED_ARP if features.vlan else ""}
    counter name spoofed drop
  }}
  chain from_vm4 {{
    ip saddr @service_addresses counter name claimed drop
    ip daddr @service_addresses goto trap
  }}
  chain from_vm_arp {{
    meta protocol arp arp saddr ip @service_addresses counter name claimed drop
    arp operation request arp daddr ip @service_addresses {_TAGGED} goto arp_tagged
    arp operation request arp daddr ip @service_addresses goto arp_reply
  }}
{_tap_chains6(names, up, down, tagged_up if features.vlan else "") if ipv6 else ""}\
{stacked_chains(ipv6=ipv6)}\
  chain {TO_GUEST} {{
    {down}
  }}
  chain error_to_vm {{
    {ABOUT_FLOWS} ip daddr set meta mark map @mark_ip goto {TO_GUEST}
  }}
  chain {FROM_TAPS} {{
    meta protocol vmap {{ ip : goto from_vm4, arp : goto from_vm_arp\
{", ip6 : goto from_vm6" if ipv6 else ""}{WAY_IN} }}
  }}
  chain to_vm {{
    type filter hook ingress device "{names.guest_side}" priority {NETDEV_PRIORITY};
    {"ether type ip6 goto to_vm6" if ipv6 else ""}
    meta mark set ip daddr map @id_mark
    meta l4proto icmp jump error_to_vm
    ip daddr set meta mark map @mark_ip {down}
    counter name unknown_identity drop
  }}
}}"""


def _tagged(source: str, by_guest: str, by_mark: str, up: str) -> str:
    """The rule that gives a tagged frame its identity and sends it up."""
    protocol = source.split(maxsplit=1)[0]
    return (
        f"meta protocol {protocol} @ll,96,16 0x8100 meta mark set"
        f" iifname . {_VLAN_ID} . ether saddr . {source} map @{by_guest}"
        f" {source} set meta mark map @{by_mark} {up}"
    )


def _tagged_maps(names: Names, *, ipv6: bool) -> str:
    """The maps of guests whose frames are tagged, and the chain of the way back: a
    reply comes from the tag side with the tag TAG, and gets that of its guest.
    """
    tag = f"@ll,96,32 {0x8100 << 16 | TAG:#x}"
    key = "typeof iifname . @ll,112,16 . ether saddr"
    maps6 = f"""\
  map tagged6 {{ {key} . ip6 saddr : meta mark; }}
  map tagged_link_local {{ {key} : meta mark; }}
  map mark_identity6 {{ typeof meta mark : ip6 saddr; }}
  map mark_link_local {{ typeof meta mark : tcp sequence; }}
"""
    return f"""\
  map tagged {{ {key} . ip saddr : meta mark; }}
  map mark_identity {{ typeof meta mark : ip saddr; }}
  map mark_vlan {{ typeof meta mark : @ll,112,16; }}
  map mark_tap {{ type mark : iface_index; }}
{maps6 if ipv6 else ""}\
  chain to_tagged_vm {{
    type filter hook ingress device "{names.host_side}" priority {NETDEV_PRIORITY};
    {tag} @ll,112,16 set meta mark map @mark_vlan fwd to meta mark map @mark_tap
  }}
"""


def _tap_chains6(names: Names, up: str, down: str, tagged_up: str) -> str:
    # The upper half of a link-local address is replaced as raw bytes: nft has no name
    # for it, and no checksum changes (`vagent.ports.identity`). "tcp sequence" is used
    # as the name of a type: a big-endian number of 32 bits.
    prefix = f"{int(names.identity_range6.network_address) >> 96:#x}"
    upper = f"{int(LINK_LOCAL.network_address) >> 64:#x}"
    registered = (
        "meta mark set ip6 daddr map @id6_mark ip6 daddr set meta mark map @mark_ip6"
    )
    link_local = (
        f"@nh,192,32 {prefix} meta mark set @nh,224,32 map @link_local_mark"
        f" @nh,192,64 set {upper}"
    )
    tagged = tagged_link_local = ""
    if tagged_up:
        tagged = _tagged("ip6 saddr", "tagged6", "mark_identity6", tagged_up)
        tagged_link_local = (
            f"ip6 saddr {LINK_LOCAL} @ll,96,16 0x8100 meta mark set"
            f" iifname . {_VLAN_ID} . ether saddr map @tagged_link_local @nh,96,32 set"
            f" meta mark map @mark_link_local @nh,64,32 set {prefix} {tagged_up}"
        )
    return f"""\
  set service_addresses6 {{ type ipv6_addr; }}
  map identity6 {{ typeof iifname . ether saddr . ip6 saddr : ip6 saddr; }}
  map link_local {{ typeof iifname . ether saddr : tcp sequence; }}
  map link_local_mark {{ typeof tcp sequence : meta mark; }}
  map id6_mark {{ type ipv6_addr : mark; }}
  map mark_ip6 {{ type mark : ipv6_addr; }}
  chain trap6_untagged {{
    ip6 saddr set iifname . ether saddr . ip6 saddr map @identity6 {up}
    ip6 saddr {LINK_LOCAL} @nh,96,32 set iifname . ether saddr map @link_local \
@nh,64,32 set {prefix} {up}
    counter name spoofed drop
  }}
  chain trap6_tagged {{
    {_UNTAGGED} goto trap6_untagged
    {tagged}
    {tagged_link_local}
    counter name spoofed drop
  }}
  chain trap6 {{
    exthdr frag exists counter name spoofed drop
    {_TAGGED} goto trap6_tagged
    goto trap6_untagged
  }}
  chain neighbours {{ }}
  chain advertise {{ }}
  chain from_vm6 {{
    ip6 saddr @service_addresses6 counter name claimed drop
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }} \
jump neighbours
    ip6 daddr @service_addresses6 goto trap6
  }}
  chain {TO_GUEST6} {{
    {down}
  }}
  chain error_to_vm6 {{
    {registered} goto {TO_GUEST6}
    {link_local} goto {TO_GUEST6}
  }}
  chain icmp_to_vm6 {{
    icmpv6 type nd-neighbor-advert jump advertise
    {ABOUT_FLOWS6} jump error_to_vm6
  }}
  chain to_vm6 {{
    ip6 daddr ff00::/8 drop
    meta l4proto ipv6-icmp jump icmp_to_vm6
    {registered} {down}
    {link_local} {down}
    counter name unknown_identity drop
  }}
"""
