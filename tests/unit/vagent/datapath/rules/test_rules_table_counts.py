"""What the kernel must hold is counted in what was written; what is missing is named.
That kernel and count agree is shown in `tests/system/test_system_encoders.py`.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.table_counts import FAMILIES, missing, wanted_counts
from vagent.datapath.state import Attachment, Services, Tag
from vagent.kernel.nf_tables_dump import TableCounts
from vagent.linklocal.service import LinkLocalService

ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True, vlan=True)
NETDEV, IPV4 = FAMILIES["netdev"], FAMILIES["ip"]


@pytest.fixture
def bare(names: Names) -> TableCounts:
    """Without ports and services of an operator."""
    return wanted_counts(names, Services.of((), names, None), (), features=ALL)


def test_lines_of_chains_are_rules(bare: TableCounts) -> None:
    """The hook of a chain is none, and an empty chain has none."""
    assert (1, 6) == (bare.rules[NETDEV, "from_vm"], bare.rules[IPV4, "trap"])
    assert 0 == bare.elements[NETDEV, "tagged"]
    assert 1 == bare.elements[NETDEV, "service_addresses"]


def test_rules_that_follow_by_netlink_are_counted(names: Names) -> None:
    """The queue rule too, where nft cannot write it."""
    services = Services.of((), names, None)
    for nft_queue in (True, False):
        features = replace(ALL, nft_queue=nft_queue)
        found = wanted_counts(names, services, (), features=features)
        assert 2 == found.rules[IPV4, "to_agent"]
        assert 2 == found.rules[NETDEV, "quoted"]


def test_services_have_elements_and_rules(
    names: Names, bare: TableCounts, dns: LinkLocalService
) -> None:
    """An address more, an answer to ARP more, two endpoints."""
    services = Services.of([dns], names, None)
    found = wanted_counts(names, services, (), features=ALL)
    for name, number in (("service_addresses", 1), ("service_words", 1)):
        place = NETDEV, name
        assert bare.elements[place] + number == found.elements[place]
    assert bare.rules[NETDEV, "arp_reply"] + 1 == found.rules[NETDEV, "arp_reply"]
    assert 2 == found.elements[IPV4, "endpoints"] - bare.elements[IPV4, "endpoints"]


def test_ports_have_elements_and_taps_chains(names: Names, alice: Attachment) -> None:
    """Each kind in its own maps; a tap has one chain for all of its ports."""
    six = replace(
        alice,
        index=3,
        address6=IPv6Address("2001:db8::5"),
        takes_link_local=True,
        port=2,
    )
    tagged = replace(alice, index=4, tap="x", ifindex=12, tag=Tag(100, 100, 7))
    services = Services.of((), names, None)
    found = wanted_counts(names, services, (alice, six, tagged), features=ALL)
    assert {(NETDEV, "in_11"): 1, (NETDEV, "in_12"): 1} == {
        place: rules for place, rules in found.rules.items() if "in_" in place[1][:3]
    }
    expected = {
        "identity": 2,
        "id_mark": 3,
        "mark_mac": 3,
        "identity6": 1,
        "link_local": 1,
        "tagged": 1,
        "mark_vlan": 1,
    }
    assert expected == {name: found.elements[NETDEV, name] for name in expected}
    assert 1 == found.elements[FAMILIES["inet"], "port_of"]


def test_ports_of_one_kind_are_added(names: Names, alice: Attachment) -> None:
    """Thousands of them."""
    ports = [replace(alice, index=index, ifindex=index) for index in range(2, 9)]
    services = Services.of((), names, None)
    found = wanted_counts(names, services, ports, features=ALL)
    assert 7 == found.elements[NETDEV, "identity"]
    assert 7 == sum(place[1].startswith("in_") for place in found.rules)


def test_a_port_counts_in_the_table_that_counts_flows(
    names: Names, alice: Attachment
) -> None:
    """Which is IPv4's where IPv6 is not carried."""
    features = replace(ALL, ipv6=False)
    services = Services.of((), names, None).without_ipv6()
    found = wanted_counts(names, services, [replace(alice, port=2)], features=features)
    assert 1 == found.elements[IPV4, "port_of"]


def test_nothing_is_missing_of_what_is_there(bare: TableCounts) -> None:
    """Nor of more than that: an operator may add a rule to look with."""
    assert () == missing(bare, bare, "vagent")
    rules = {**bare.rules, (IPV4, "guard"): 99, (IPV4, "mine"): 1}
    held = replace(bare, rules=rules)
    assert () == missing(bare, held, "vagent")


def test_chains_with_a_hook_have_a_policy(names: Names, alice: Attachment) -> None:
    """Accept, those of taps too; chains that others jump to have none."""
    services = Services.of((), names, None)
    policies = wanted_counts(names, services, [alice], features=ALL).policies
    assert {1} == {*policies.values()}
    assert {(NETDEV, "in_11"), (NETDEV, "to_vm"), (IPV4, "trap")} <= policies.keys()
    assert not {(NETDEV, "from_vm"), (IPV4, "to_agent")} & policies.keys()


def test_what_is_out_of_force_is_named(bare: TableCounts) -> None:
    """A dormant table, a chain with another policy or without its hook. One that is
    gone is told once.
    """
    rules = {place: n for place, n in bare.rules.items() if place != (IPV4, "refuse")}
    policies = {**bare.policies, (IPV4, "trap"): 0, (IPV4, "mine"): 0}
    del policies[IPV4, "guard"], policies[IPV4, "refuse"]
    held = TableCounts(rules, bare.elements, policies, {NETDEV})
    assert (
        "table netdev vagent: it is dormant",
        "table ip vagent: chain guard has no hook, chain trap has not the policy"
        " accept, chain refuse is gone",
    ) == missing(bare, held, "vagent")


def test_changed_elements_are_named(bare: TableCounts) -> None:
    """In the table that they are of. Where there are fewer as well, that is told."""
    service, endpoints = (NETDEV, "service_addresses"), (IPV4, "endpoints")
    held = replace(bare, changed={service: 1, endpoints: 2})
    assert (
        "table netdev vagent: set service_addresses has 1 elements changed",
        "table ip vagent: set endpoints has 2 elements changed",
    ) == missing(bare, held, "vagent")
    held = replace(held, elements={**bare.elements, service: 0})
    (fewer, _) = missing(bare, held, "vagent")
    assert fewer.endswith(": set service_addresses has 0 of 1 elements")


def test_what_is_missing_is_named(bare: TableCounts) -> None:
    """A table that is gone as such; else chains and sets, with their numbers."""
    rules = {place: n for place, n in bare.rules.items() if place[0] != IPV4}
    rules[NETDEV, "from_vm"] = 0
    del rules[NETDEV, "trap"]
    elements = {place: n for place, n in bare.elements.items() if place[0] != IPV4}
    elements[NETDEV, "service_addresses"] = 0
    del elements[NETDEV, "identity"]
    assert (
        "table netdev vagent: chain trap is gone, chain from_vm has 0 of 1 rules,"
        " set service_addresses has 0 of 1 elements, set identity is gone",
        "table ip vagent is gone",
    ) == missing(bare, replace(bare, rules=rules, elements=elements), "vagent")


def test_much_that_is_missing_is_told_in_short(bare: TableCounts) -> None:
    """Of an emptied table five parts are named."""
    emptied = replace(bare, rules=dict.fromkeys(bare.rules, 0))
    netdev, *_ = missing(bare, emptied, "vagent")
    assert 5 == netdev.count("has 0 of")
    lost = sum(1 for place, n in bare.rules.items() if n and place[0] == NETDEV)
    assert netdev.endswith(f", {lost - 5} more")


@pytest.mark.parametrize(("lost", "more"), [(5, ""), (6, ", 1 more")])
def test_as_many_as_are_named_are_not_cut(lost: int, more: str) -> None:
    """Nothing is said of no more."""
    places = [(NETDEV, str(number)) for number in range(lost + 1)]
    wanted = TableCounts(dict.fromkeys(places, 1))
    held = TableCounts(dict.fromkeys(places[lost:], 1))
    (told,) = missing(wanted, held, "vagent")
    assert told.endswith(f"chain 4 is gone{more}")


def test_a_family_without_tables_hides_none_behind_it() -> None:
    """Each that is wanted is looked for."""
    wanted = TableCounts({(FAMILIES["inet"], "open"): 1})
    assert ("table inet vagent is gone",) == missing(wanted, TableCounts(), "vagent")


def test_a_family_that_the_host_has_not_is_not_missed(names: Names) -> None:
    """Without IPv6 there are two tables."""
    features = replace(ALL, ipv6=False)
    services = Services.of((), names, None).without_ipv6()
    wanted = wanted_counts(names, services, (), features=features)
    assert ("table netdev vagent is gone", "table ip vagent is gone") == missing(
        wanted, TableCounts(), "vagent"
    )
