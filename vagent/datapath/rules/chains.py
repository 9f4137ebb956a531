"""The tables and chains that do not depend on ports and services, as nftables text.

`render` says in which order a packet meets them. One table at the taps (netdev), one
for each IP family above them; the families' differ only in names of types and fields.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vagent.config.metadata_address import METADATA_ADDRESS, METADATA_ADDRESSES6
from vagent.datapath.names import (
    FROM_GUEST,
    FROM_TAPS,
    PORT_OF,
    QUEUE_CHAIN,
    SERVICE_MAC,
    TAG,
    TO_GUEST,
    TO_GUEST6,
    Names,
)
from vagent.datapath.rules.features import Features
from vagent.datapath.state import (
    ENDPOINT_MASK,
    INDEX_BITS,
    INDEX_MASK,
    REFUSE,
    REJECT_MARK,
    TCP_AGES,
    UDP_AGES,
)
from vagent.ports.identity import LINK_LOCAL

NETDEV_PRIORITY = -300
GUARD_PRIORITY = -300
OPENING_PRIORITY = -151
TRAP_PRIORITY = -150
REFUSE_PRIORITY = -140
NAT_PRIORITY = -100


ASKING_RATE = 10
"""Neighbour solicitations of one guest that the kernel answers in a second. A guest
needs one for each service address in a minute, and three more without an answer."""


ICMP_REJECT_RATE = 10
"""Datagrams a second of a guest that opens flows too fast, of which the agent tells it:
ICMP errors are to be limited in rate (RFC 1812 4.3.2.8). TCP is reset by the kernel."""


QUOTING = 56
"""Bytes that an ICMP error with an IPv4 header of 20 before and in it has at least, and
one of IPv6 after its header: RFC 792 and RFC 4443 2.4 quote eight more, the ports."""


class Family(NamedTuple):
    """What the host tables of the two families differ in. `service` is who the host is
    to a guest; `icmp` the family's own protocol, `about_flows` its errors that may be
    about a flow, with headers of the usual length only, and `errors` all of them.
    """

    name: str
    address_type: str
    identities: str
    service: IPv4Address | IPv6Address
    sets: str
    before_new: str
    for_itself: str
    icmp: str
    about_flows: str
    errors: str


VLAN_ID = "@ll,116,12"
"""nft's own `vlan id` cannot stand beside a MAC address in one key."""
TAGGED = "ether type { vlan, 8021ad }"
UNTAGGED = "@ll,96,16 0x8100 @ll,116,12 0"
"""A tag of VLAN 0 names none (IEEE 802.1Q 9.6)."""


def netdev_table(names: Names, host_mac: str, *, features: Features) -> str:
    """The table at the taps and at the guests' side of the veth pair.

    What a frame carries is asked as `meta protocol`, which sees behind a VLAN tag.
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
    {TAGGED} goto trap_tagged
    goto trap_untagged
  }}
  chain trap_tagged {{
    {UNTAGGED} goto trap_untagged
    {_tagged("ip saddr", "tagged", "mark_identity", tagged_up) if features.vlan else ""}
    counter name spoofed drop
  }}
  chain arp_tagged {{
    {UNTAGGED} goto arp_reply
    {_TAGGED_ARP if features.vlan else ""}
    counter name spoofed drop
  }}
  chain from_vm4 {{
    ip daddr @service_addresses goto trap
  }}
  chain from_vm_arp {{
    meta protocol arp arp saddr ip @service_addresses counter name claimed drop
    arp operation request arp daddr ip @service_addresses {TAGGED} goto arp_tagged
    arp operation request arp daddr ip @service_addresses goto arp_reply
  }}
{_tap_chains6(names, up, down, tagged_up if features.vlan else "") if ipv6 else ""}\
  chain {TO_GUEST} {{
    {down}
  }}
  chain error_to_vm {{
    {ABOUT_FLOWS} ip daddr set meta mark map @mark_ip goto {TO_GUEST}
  }}
  chain {FROM_TAPS} {{
    meta protocol vmap {{ ip : goto from_vm4, arp : goto from_vm_arp\
{", ip6 : goto from_vm6" if ipv6 else ""} }}
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


ABOUT_FLOWS = (
    f"@nh,0,8 0x45 ip frag-off & 0x3fff == 0 ip length >= {QUOTING}"
    " icmp type { destination-unreachable, time-exceeded } @th,64,8 0x45"
)
ABOUT_FLOWS6 = (
    f"ip6 nexthdr ipv6-icmp ip6 length >= {QUOTING} icmpv6 type"
    " { destination-unreachable, packet-too-big, time-exceeded } @th,64,4 6"
)
"""ICMP errors that come about flows, in packets of the usual form. Redirect, source
quench and parameter problem tell a guest nothing that it needs."""

_TAGGED_ARP = (
    f"meta protocol arp @ll,96,16 0x8100 meta mark set iifname . {VLAN_ID}"
    " . ether saddr . arp saddr ip map @tagged"
    " @ll,112,16 set meta mark map @mark_vlan goto arp_reply"
)


def _tagged(source: str, by_guest: str, by_mark: str, up: str) -> str:
    """Give a tagged frame its identity and send it up."""
    protocol = source.split(maxsplit=1)[0]
    return (
        f"meta protocol {protocol} @ll,96,16 0x8100 meta mark set"
        f" iifname . {VLAN_ID} . ether saddr . {source} map @{by_guest}"
        f" {source} set meta mark map @{by_mark} {up}"
    )


def _tagged_maps(names: Names, *, ipv6: bool) -> str:
    """Guests whose frames are tagged, and the way back to them: the reply gets a tag
    from the tag side, and there, on the host's side, its guest's.
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
    # for it, and no checksum changes (`vagent.ports.identity`). "tcp sequence" stands
    # for a big-endian number of 32 bits.
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
            f" iifname . {VLAN_ID} . ether saddr map @tagged_link_local @nh,96,32 set"
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
    {UNTAGGED} goto trap6_untagged
    {tagged}
    {tagged_link_local}
    counter name spoofed drop
  }}
  chain trap6 {{
    exthdr frag exists counter name spoofed drop
    {TAGGED} goto trap6_tagged
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


def family4(names: Names) -> Family:
    """IPv4's host table."""
    return Family(
        "ip",
        "ipv4_addr",
        str(names.identity_range),
        METADATA_ADDRESS,
        "",
        "",
        "",
        "icmp",
        ABOUT_FLOWS,
        "icmp type { destination-unreachable, source-quench, redirect, time-exceeded,"
        " parameter-problem }",
    )


def family6(names: Names) -> Family:
    """IPv6's host table: also takes neighbour solicitations, which conntrack does not
    track, to the kernel, whose answer they are.
    """
    guest = "ip6 saddr & ffff:ffff:ffff::"
    return Family(
        "ip6",
        "ipv6_addr",
        str(names.identity_range6),
        METADATA_ADDRESSES6[1],
        f"  set asking {{ type ipv6_addr; size {1 << INDEX_BITS}; flags dynamic;"
        " timeout 1m; }\n",
        f"    icmpv6 type nd-neighbor-solicit add @asking {{ {guest} limit rate over"
        f" {ASKING_RATE}/second burst {ASKING_RATE} packets }}"
        " counter name too_fast drop\n"
        "    icmpv6 type nd-neighbor-solicit accept\n",
        "    icmpv6 type nd-neighbor-solicit accept\n",
        "ipv6-icmp",
        ABOUT_FLOWS6,
        "icmpv6 type < 128",  # RFC 4443 2.1
    )


def opening_table(names: Names, *, ipv6: bool) -> str:
    """How many flows a port may open in a second, over all its addresses together.

    An address is its index, as 32 bits: the lower bits of an IPv4 identity, and what
    comes after the prefix in one of IPv6 ("tcp sequence" is a name for 32 bits). Where
    a port has several, each is in PORT_OF, and its first index, as a mark, is counted.
    (Always to count a mark would be one set fewer, but what nft makes of the bytes of
    an address as a mark depends on its version.)
    """
    mask = int(names.identity_range.hostmask)
    guests = {"": f"@nh,96,32 & {mask:#x}"}
    if ipv6:
        guests = {
            "meta nfproto ipv4 ": guests[""],
            "meta nfproto ipv6 ": f"@nh,80,32 & {INDEX_MASK:#x}",
        }
    rate = names.guest_rate
    over = f"limit rate over {rate}/second burst {rate} packets"
    kind = f"size {1 << INDEX_BITS}; flags dynamic; timeout 1m;"
    tell = (
        f"limit rate {ICMP_REJECT_RATE}/second burst {ICMP_REJECT_RATE} packets }}"
        f" meta mark set {REJECT_MARK:#x} accept"
    )
    ports = "".join(
        f"    {family}meta mark set ({guest}) map @{PORT_OF} goto open_of_port\n"
        for family, guest in guests.items()
    )
    limits = "".join(
        f"    {family}add @opening {{ {guest} {over} }} goto too_fast\n"
        for family, guest in guests.items()
    )
    telling = "".join(
        f"    {family}meta l4proto udp meta mark 0 add @telling {{ {guest} {tell}\n"
        for family, guest in guests.items()
    )
    return f"""\
table {opening_family(ipv6=ipv6)} {names.table} {{
  counter too_fast {{ }}
  map {PORT_OF} {{ typeof tcp sequence : meta mark; }}
  set opening {{ typeof tcp sequence; {kind} }}
  set telling {{ typeof tcp sequence; {kind} }}
  set opening_of_port {{ typeof meta mark; {kind} }}
  set telling_of_port {{ typeof meta mark; {kind} }}
  chain too_fast {{
    counter name too_fast
    meta l4proto udp meta mark != 0 add @telling_of_port {{ meta mark {tell}
{telling}\
    meta mark set {REFUSE << INDEX_BITS:#x} accept
  }}
  chain open_of_port {{
    add @opening_of_port {{ meta mark {over} }} goto too_fast
    meta mark set 0
  }}
  chain open {{
    type filter hook prerouting priority {OPENING_PRIORITY};
    iifname != "{names.host_side}" accept
    ct status confirmed accept
    ct state != new accept
    meta mark set 0
{ports}\
{limits}\
  }}
}}"""


def opening_family(*, ipv6: bool) -> str:
    """The family of that table: of both IP families, where this host carries both."""
    return "inet" if ipv6 else "ip"


def host_table(
    names: Names, family: Family, *, nft_queue: bool, ct_timeout: bool
) -> str:
    """The table of one family above the taps."""
    queue = f"queue num {names.queue_number}" if nft_queue else ""
    ages, use = _ages(family) if ct_timeout else ("", "")
    refuse = REFUSE << INDEX_BITS
    host_side = names.host_side
    name, address_type, identities = family.name, family.address_type, family.identities
    before_new, for_itself = family.before_new, family.for_itself
    from_host, as_service, answers = _host_to_guest(names, family)
    return f"""\
table {name} {names.table} {{
  counter foreign_identity {{ }}
  counter no_agent {{ }}
  counter too_fast {{ }}
  counter refused {{ }}
  counter untracked {{ }}
  counter untranslated {{ }}
  counter from_host {{ }}
  map endpoints {{ type mark : {address_type} . inet_service; }}
{family.sets}\
{ages}\
  chain {FROM_GUEST} {{
    counter name untracked drop
  }}
  chain icmp_from_vm {{
    {family.about_flows} goto {FROM_GUEST}
    {family.errors} counter name untracked drop
    accept
  }}
  chain guard {{
    type filter hook prerouting priority {GUARD_PRIORITY};
    iifname "{host_side}" {name} saddr {identities} meta l4proto {family.icmp} \
goto icmp_from_vm
    iifname "{host_side}" {name} saddr {identities} accept
    iifname "{host_side}" counter name foreign_identity drop
    {name} daddr {identities} counter name foreign_identity drop
    {name} saddr {identities} counter name foreign_identity drop
  }}
  chain {QUEUE_CHAIN} {{
    {queue}
    counter name no_agent drop
  }}
  chain trap {{
    type filter hook prerouting priority {TRAP_PRIORITY};
    iifname != "{host_side}" accept
{before_new}\
    meta mark {REJECT_MARK:#x} goto {QUEUE_CHAIN}
    meta mark {refuse:#x} accept
    ct state new ct status confirmed accept
    ct state new goto {QUEUE_CHAIN}
    ct state != {{ established, related }} counter name untracked drop
  }}
  chain send_reset {{
    counter name refused
    meta l4proto tcp reject with tcp reset
    drop
  }}
  chain refuse {{
    type filter hook prerouting priority {REFUSE_PRIORITY};
    iifname != "{host_side}" accept
    ct status confirmed accept
    ct state new ct mark set meta mark
{use}\
    meta mark & {ENDPOINT_MASK:#x} == {refuse:#x} goto send_reset
  }}
  chain to_endpoint {{
    type nat hook prerouting priority {NAT_PRIORITY};
    iifname "{host_side}" meta l4proto {{ tcp, udp }} \
dnat {name} to meta mark & {ENDPOINT_MASK:#x} map @endpoints
  }}
  chain from_host {{
    type filter hook output priority {TRAP_PRIORITY};
    {from_host}
  }}
  chain contain_input {{
    type filter hook input priority {NETDEV_PRIORITY};
    iifname != "{host_side}" accept
{for_itself}\
    ct status dnat accept
    {answers}
    counter name untranslated drop
  }}
  chain contain_forward {{
    type filter hook forward priority {NETDEV_PRIORITY};
    iifname != "{host_side}" accept
    ct status dnat accept
    counter name untranslated drop
  }}
  chain from_fabric {{
    type nat hook postrouting priority 100;
    {name} saddr {identities} oifname != "{host_side}" masquerade
    {as_service}
  }}
}}"""


def _host_to_guest(names: Names, family: Family) -> tuple[str, str, str]:
    """Rules for flows that a process of the host opens to an identity: at its output,
    its translation, and for what comes back. Where they are not wanted, the first drops
    them and there are no others.

    All else that leaves by the host side is an answer, or was translated on its way in.
    """
    leaves = f'oifname "{names.host_side}"'
    if not names.host_to_guest:
        return f"{leaves} ct direction original counter name from_host drop", "", ""
    return (
        "",
        f"{leaves} ct status & dnat != dnat snat {family.name} to {family.service}",
        "ct direction reply accept",
    )


def _ages(family: Family) -> tuple[str, str]:
    """Time-out policies of a family, and the statements that give flows theirs."""
    policies, use = "", ""
    for protocol, ages in (("tcp", TCP_AGES), ("udp", UDP_AGES)):
        policy = ", ".join(f"{state} : {seconds}" for state, seconds in ages.items())
        policies += (
            f"  ct timeout {protocol}_ages {{ protocol {protocol};"
            f" l3proto {family.name}; policy = {{ {policy} }}; }}\n"
        )
        use += f'    ct state new ct timeout set "{protocol}_ages"\n'
    return policies, use
