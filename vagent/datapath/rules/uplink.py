"""The one table in the host's own network, at the uplink, as nftables text. Pure.

It translates sources for services on the fabric, and destinations for services of this
host, whose loopback addresses no packet from outside may have. What guests send to the
metadata service never gets here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from vagent.datapath.names import NEAR, Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.host_tables import age_policies
from vagent.datapath.state import NatEndpoint, Services
from vagent.kernel.nf_tables import INET, IPV4
from vagent.kernel.nf_tables_dump import Elements

_FORWARD_PRIORITY = -300
_AGES_PRIORITY = -140
_NAT_PRIORITY = -100
_PORT, _PORT_IN_VALUE = struct.Struct("!H"), struct.Struct("!H2x")


def uplink_family(features: Features) -> str:
    """The family of this table; `inet` is both IPv4 and IPv6."""
    return "inet" if features.ip6_tables else "ip"


def uplink_ruleset(names: Names, services: Services, *, features: Features) -> str:
    """Replace the table by the given state, in one transaction."""
    family = uplink_family(features)
    parts = [
        uplink_removal(names, features=features).rstrip(),
        _table(names, family, ipv6=features.ipv6, ages=features.ct_timeout),
        *_add_near(names, family, near_endpoints(services)),
    ]
    return "\n".join(parts) + "\n"


def uplink_removal(names: Names, *, features: Features) -> str:
    """Delete the table, whether or not it is there."""
    table = f"table {uplink_family(features)} {names.table}"
    return f"{table}\ndelete {table}\n"


def change_of_near(
    names: Names, old: Services, new: Services, *, features: Features
) -> str:
    """Go from the endpoints on this host of one set of services to those of another. ""
    where nothing changes.
    """
    family = uplink_family(features)
    before, now = near_endpoints(old), near_endpoints(new)
    parts = [
        f"delete element {family} {names.table} {NEAR} {{ {_element(each)} }}"
        for each in _in_order(before - now)
    ]
    parts += _add_near(names, family, now - before)
    return "\n".join(parts) + "\n" if parts else ""


def near_endpoints(services: Services) -> frozenset[NatEndpoint]:
    """The endpoints that are processes of this host, on a loopback address."""
    return frozenset(each for each in services.endpoints if each.is_near)


def wanted_near(services: Services, features: Features) -> Elements:
    """The elements that the table must hold, as the kernel's bytes."""
    found = {
        _PORT.pack(each.near_port)
        + each.address.packed
        + _PORT_IN_VALUE.pack(each.port)
        for each in near_endpoints(services)
    }
    family = INET if features.ip6_tables else IPV4
    return {(family, NEAR): found} if found else {}


def _table(names: Names, family: str, *, ipv6: bool, ages: bool) -> str:
    inner = names.uplink_address + 1
    policies, chain = _ages(names, ipv6=ipv6) if ages else ("", "")
    sources = f"    ip saddr {inner} masquerade\n"
    if ipv6:
        sources += f"    ip6 saddr {names.uplink_range6[1]} masquerade\n"
    return f"""\
table {family} {names.table} {{
  counter foreign_identity {{ }}
  map {NEAR} {{ type inet_service : ipv4_addr . inet_service; }}
{policies}\
  chain to_near_service {{
    type nat hook prerouting priority {_NAT_PRIORITY};
    iifname "{names.uplink}" ip daddr {names.uplink_address} \
meta l4proto {{ tcp, udp }} dnat ip to th dport map @{NEAR}
  }}
{chain}\
  chain only_replies {{
    type filter hook forward priority {_FORWARD_PRIORITY};
    oifname "{names.uplink}" ct direction original \
counter name foreign_identity drop
  }}
  chain from_guests {{
    type nat hook postrouting priority 100;
    oifname "{names.uplink}" accept
{sources}\
  }}
}}"""


def _ages(names: Names, *, ipv6: bool) -> tuple[str, str]:
    """The time-out policies of guests' flows, and the chain that gives them to what
    comes by the uplink: with the host's own, ended flows would fill its table.
    """
    policies, rules = "", ""
    for version, number in (("ip", 4), *[("ip6", 6)] * ipv6):
        more, use = age_policies(version, f"{number}")
        policies += more
        rules += use.replace("ct state new", f"meta nfproto ipv{number} ct state new")
    chain = f"""\
  chain ages {{
    type filter hook prerouting priority {_AGES_PRIORITY};
    iifname != "{names.uplink}" accept
{rules}\
  }}
"""
    return policies, chain


def _add_near(names: Names, family: str, endpoints: Iterable[NatEndpoint]) -> list[str]:
    return [
        f"add element {family} {names.table} {NEAR} {{ {_element(each)} }}"
        for each in _in_order(endpoints)
    ]


def _element(endpoint: NatEndpoint) -> str:
    return f"{endpoint.near_port} : {endpoint.address} . {endpoint.port}"


def _in_order(endpoints: Iterable[NatEndpoint]) -> list[NatEndpoint]:
    return sorted(endpoints, key=lambda each: each.number)
