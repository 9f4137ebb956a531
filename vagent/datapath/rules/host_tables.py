"""The nftables tables in the namespace of guests' flows, as text.

One table for each IP family, which differ in the names of types and fields only, and
one that limits how fast guests open flows. Here are the chains that do not depend on
which ports and services there are. `render` says in which order a packet meets them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from vagent.config.metadata_address import METADATA_ADDRESS, METADATA_ADDRESSES6
from vagent.datapath.names import PORT_OF, QUEUE_CHAIN, Names
from vagent.datapath.state import (
    ENDPOINT_MASK,
    INDEX_BITS,
    REFUSE,
    REJECT_MARK,
    TCP_AGES,
    UDP_AGES,
)

_GUARD_PRIORITY = _CONTAIN_PRIORITY = -300
_OPENING_PRIORITY = -151
_TRAP_PRIORITY = -150
_REFUSE_PRIORITY = -140
_NAT_PRIORITY = -100

_ICMP_REJECT_RATE = 10
"""Refused datagrams a second, of one guest that opens flows too fast, for which it gets
an ICMP error from the agent. RFC 1812 4.3.2.8 asks for such a limit. (Refused TCP flows
are reset by the kernel.)"""


class Family(NamedTuple):
    """What differs between the tables of the two IP families.

    `uplink` is the host's address at the uplink, `service` the one as which the host
    appears to a guest. `neighbours` is the rule that lets neighbour discovery in, which
    IPv4 does without IP.
    """

    name: str
    address_type: str
    identities: str
    uplink: IPv4Address | IPv6Address
    service: IPv4Address | IPv6Address
    neighbours: str = ""


def family4(names: Names) -> Family:
    """The values that the text of IPv4's table needs."""
    return Family(
        "ip",
        "ipv4_addr",
        str(names.identity_range),
        names.uplink_address,
        METADATA_ADDRESS,
    )


def family6(names: Names) -> Family:
    """What IPv6's table is made with."""
    return Family(
        "ip6",
        "ipv6_addr",
        str(names.identity_range6),
        names.uplink_range6.network_address,
        METADATA_ADDRESSES6[1],
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )


def opening_table(names: Names, *, ipv6: bool) -> str:
    """The table that limits how many flows a port opens in a second, over both IP
    families and all its addresses together.

    An address counts by its index, as a number of 16 bits: the lower bits of an IPv4
    identity, and what follows the prefix in one of IPv6 ("udp length" is used as the
    name of such a type). Where a port has several addresses the map PORT_OF has each of
    them, and what counts is the port's first index, as a mark. (To count marks in every
    case would save a set, but how nft reads the bytes of an address as a mark depends
    on its version.) Were it all 32 bits of the address, `nft list ruleset` would call
    them `ip saddr`, and refuse to load what it listed.
    """
    mask = int(names.identity_range.hostmask)
    guests = {"": f"@nh,112,16 & {mask:#x}"}
    if ipv6:
        guests = {
            "meta nfproto ipv4 ": guests[""],
            "meta nfproto ipv6 ": "@nh,96,16",
        }
    rate = names.guest_rate
    over = f"limit rate over {rate}/second burst {rate} packets"
    kind = f"size {1 << INDEX_BITS}; flags dynamic; timeout 1m;"
    tell = (
        f"limit rate {_ICMP_REJECT_RATE}/second burst {_ICMP_REJECT_RATE} packets }}"
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
  map {PORT_OF} {{ typeof udp length : meta mark; }}
  set opening {{ typeof udp length; {kind} }}
  set telling {{ typeof udp length; {kind} }}
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
    type filter hook prerouting priority {_OPENING_PRIORITY};
    iifname != "{names.inner_side}" accept
    ct status confirmed accept
    ct state != new accept
    meta mark set 0
{ports}\
{limits}\
  }}
}}"""


def opening_family(*, ipv6: bool) -> str:
    """The family of `opening_table`; `inet` is both IPv4 and IPv6."""
    return "inet" if ipv6 else "ip"


def host_table(
    names: Names, family: Family, *, nft_queue: bool, ct_timeout: bool
) -> str:
    """The table of one IP family, in the namespace of guests' flows."""
    queue = f"queue num {names.queue_number}" if nft_queue else ""
    ages, use = age_policies(family.name) if ct_timeout else ("", "")
    refuse = REFUSE << INDEX_BITS
    inner_side = names.inner_side
    name, address_type, identities = family.name, family.address_type, family.identities
    from_host, as_service = _host_to_guest(names, family)
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
{ages}\
  chain guard {{
    type filter hook prerouting priority {_GUARD_PRIORITY};
    iifname "{inner_side}" {name} saddr {identities} accept
    iifname "{inner_side}" counter name foreign_identity drop
    {name} saddr {family.uplink} accept
    {name} saddr {identities} counter name foreign_identity drop
  }}
  chain {QUEUE_CHAIN} {{
    {queue}
    counter name no_agent drop
  }}
  chain trap {{
    type filter hook prerouting priority {_TRAP_PRIORITY};
    iifname != "{inner_side}" accept
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
    type filter hook prerouting priority {_REFUSE_PRIORITY};
    iifname != "{inner_side}" accept
    ct status confirmed accept
    ct state new ct mark set meta mark
{use}\
    meta mark & {ENDPOINT_MASK:#x} == {refuse:#x} goto send_reset
  }}
  chain to_endpoint {{
    type nat hook prerouting priority {_NAT_PRIORITY};
    iifname "{inner_side}" meta l4proto {{ tcp, udp }} \
dnat {name} to meta mark & {ENDPOINT_MASK:#x} map @endpoints
  }}
  chain from_uplink {{
    {family.neighbours}
    ct direction reply accept
    ct state related accept
    {from_host}
    counter name from_host drop
  }}
  chain contain_input {{
    type filter hook input priority {_CONTAIN_PRIORITY};
    iifname "{names.inner_uplink}" goto from_uplink
    iifname != "{inner_side}" accept
    ct status dnat accept
    counter name untranslated drop
  }}
  chain contain_forward {{
    type filter hook forward priority {_CONTAIN_PRIORITY};
    iifname "{names.inner_uplink}" goto from_uplink
    iifname != "{inner_side}" accept
    ct status dnat accept
    ct direction reply accept
    counter name untranslated drop
  }}
  chain from_fabric {{
    type nat hook postrouting priority 100;
    oifname "{names.inner_uplink}" masquerade fully-random
    {as_service}
  }}
}}"""


def _host_to_guest(names: Names, family: Family) -> tuple[str, str]:
    """Two rules for flows that a process of the host opens to a guest's identity: which
    lets them in by the uplink, and source NAT. Where host-to-guest is off both are "".

    The host's route to identities gives them the uplink's address. Other machines have
    no such address, so nothing that they send gets to a guest.
    """
    if not names.host_to_guest:
        return "", ""
    name, identities = family.name, family.identities
    return (
        f"{name} saddr {family.uplink} {name} daddr {identities} oifname "
        f'"{names.inner_side}" accept',
        f'oifname "{names.inner_side}" ct status & dnat != dnat'
        f" snat {name} to {family.service}",
    )


def age_policies(version: str, suffix: str = "") -> tuple[str, str]:
    """Conntrack's time-out policies for `ip` or `ip6`, whose names end in `suffix`, and
    the rules that give them to new flows.
    """
    policies, use = "", ""
    for protocol, ages in (("tcp", TCP_AGES), ("udp", UDP_AGES)):
        policy = ", ".join(f"{state} : {seconds}" for state, seconds in ages.items())
        policies += (
            f"  ct timeout {protocol}_ages{suffix} {{ protocol {protocol};"
            f" l3proto {version}; policy = {{ {policy} }}; }}\n"
        )
        use += f'    ct state new ct timeout set "{protocol}_ages{suffix}"\n'
    return policies, use
