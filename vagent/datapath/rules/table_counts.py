"""How many rules and elements the kernel must hold, and what of it is missing. Pure.

The numbers of what does not depend on ports come from the text that `render` writes and
from the rules that follow it by netlink, so they cannot differ from what was sent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from vagent.datapath.names import PORT_OF, Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.host_tables import opening_family
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.datapath.rules.render import ruleset
from vagent.datapath.rules.uplink import uplink_ruleset
from vagent.datapath.state import Attachment, Services
from vagent.kernel.nf_tables import INET, IPV4, IPV6
from vagent.kernel.nf_tables_dump import ACCEPT, Place, TableCounts, rule_place

FAMILIES = {"ip": IPV4, "ip6": IPV6, "inet": INET}
"""Families of our tables, by nft's name of each."""
_MAX_TOLD = 5
"""Missing chains, sets and maps that are named to operators, of those of one table."""
_TABLE = re.compile(r"table (\w+) \S+ \{")
_CHAIN = re.compile(r"  chain (\S+) \{")
_SET = re.compile(r"  (?:set|map) (\S+) \{")
_HOOK = re.compile(r"    type \w+ hook ")
_RULE = re.compile(r"    (?!type )\S")
_ADDED_ELEMENT = re.compile(r"add element (\w+) \S+ (\S+) \{")


def wanted_counts(
    names: Names,
    services: Services,
    attachments: Iterable[Attachment],
    *,
    features: Features,
) -> TableCounts:
    """What the kernel holds, at least, when all of this was written."""
    wanted = _written(ruleset(names, services, (), features=features))
    for message in netlink_rules(names, features):
        wanted.rules[rule_place(message.family, message.payload)] += 1
    _add_ports(wanted, attachments, ipv6=features.ipv6)
    return TableCounts(dict(wanted.rules), dict(wanted.elements), wanted.policies)


def wanted_at_uplink(
    names: Names, services: Services, *, features: Features
) -> TableCounts:
    """The same of the table at the uplink."""
    wanted = _written(uplink_ruleset(names, services, features=features))
    return TableCounts(dict(wanted.rules), dict(wanted.elements), wanted.policies)


def missing(wanted: TableCounts, held: TableCounts, table: str) -> tuple[str, ...]:
    """What is not there any more, in words; of a table without anything, just that.
    What is there beside is somebody's wish.
    """
    told: list[str] = []
    for name, family in FAMILIES.items():
        if not any(place[0] == family for place in wanted.rules):
            continue
        where = f"table {name} {table}"
        if not any(place[0] == family for place in held.rules):
            told.append(f"{where} is gone")
            continue
        lost = [
            *_out_of_force(wanted, held, family),
            *_fewer("chain", "rules", wanted.rules, held.rules, family),
            *_fewer("set", "elements", wanted.elements, held.elements, family),
            *_changed(wanted, held, family),
        ]
        more = len(lost) - _MAX_TOLD
        lost[_MAX_TOLD:] = [f"{more} more"] if more > 0 else []
        if lost:
            told.append(f"{where}: {', '.join(lost)}")
    return tuple(told)


class _Numbers:
    """TableCounts while they are counted."""

    def __init__(self) -> None:
        self.rules: Counter[Place] = Counter()
        self.elements: Counter[Place] = Counter()
        self.policies: dict[Place, int] = {}


def _written(text: str) -> _Numbers:
    """The numbers of what stands in a ruleset. Each line has one rule or element."""
    numbers = _Numbers()
    family, chain = 0, ""
    for line in text.splitlines():
        if match := _TABLE.match(line):
            family = FAMILIES[match[1]]
        elif match := _CHAIN.match(line):
            chain = match[1]
            numbers.rules[family, chain] = 0
        elif match := _SET.match(line):
            numbers.elements[family, match[1]] = 0
        elif _HOOK.match(line):
            numbers.policies[family, chain] = ACCEPT
        elif _RULE.match(line):
            numbers.rules[family, chain] += 1
        elif match := _ADDED_ELEMENT.match(line):
            numbers.elements[FAMILIES[match[1]], match[2]] += 1
    return numbers


def _add_ports(
    numbers: _Numbers, attachments: Iterable[Attachment], *, ipv6: bool
) -> None:
    """Ports with several addresses have an element for each."""
    place = FAMILIES[opening_family(ipv6=ipv6)], PORT_OF
    numbers.elements[place] = sum(each.port is not None for each in attachments)


def _out_of_force(wanted: TableCounts, held: TableCounts, family: int) -> list[str]:
    """What is there and is not applied as it was written."""
    told = ["it is dormant"] if family in held.dormant else []
    for place, policy in wanted.policies.items():
        if place[0] != family or place not in held.rules:
            continue
        there = held.policies.get(place)
        if there is None:
            told.append(f"chain {place[1]} has no hook")
        elif there != policy:
            told.append(f"chain {place[1]} has not the policy accept")
    return told


def _changed(wanted: TableCounts, held: TableCounts, family: int) -> list[str]:
    """Sets and maps with enough elements, not all of which are those that were
    written.
    """
    return [
        f"set {place[1]} has {number} elements changed"
        for place, number in held.changed.items()
        if place[0] == family and held.elements[place] >= wanted.elements[place]
    ]


def _fewer(
    what: str,
    parts: str,
    wanted: Mapping[Place, int],
    held: Mapping[Place, int],
    family: int,
) -> list[str]:
    told = []
    for place, number in wanted.items():
        if place[0] != family:
            continue
        there = held.get(place)
        if there is None:
            told.append(f"{what} {place[1]} is gone")
        elif there < number:
            told.append(f"{what} {place[1]} has {there} of {number} {parts}")
    return told
