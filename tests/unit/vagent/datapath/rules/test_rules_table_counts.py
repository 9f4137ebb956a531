"""What the kernel must hold is counted in what was written; what is missing is named.
That kernel and count agree is shown in `tests/system/test_system_encoders.py`.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.table_counts import (
    FAMILIES,
    missing,
    wanted_at_uplink,
    wanted_counts,
)
from vagent.datapath.state import Attachment, Services
from vagent.kernel.nf_tables_dump import TableCounts
from vagent.linklocal.service import LinkLocalService

ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True)
IPV4, IPV6 = FAMILIES["ip"], FAMILIES["ip6"]


@pytest.fixture
def bare(names: Names) -> TableCounts:
    """Without ports and services of an operator."""
    return wanted_counts(names, Services.of((), names, None), (), features=ALL)


def test_lines_of_chains_are_rules(bare: TableCounts) -> None:
    """The hook of a chain is none, and an empty chain has none."""
    assert (6, 4) == (bare.rules[IPV4, "trap"], bare.rules[IPV4, "guard"])
    assert 0 == bare.elements[FAMILIES["inet"], "port_of"]
    assert 1 == bare.elements[IPV4, "endpoints"]


def test_rules_that_follow_by_netlink_are_counted(names: Names) -> None:
    """The queue rule, where nft cannot write it."""
    services = Services.of((), names, None)
    for nft_queue in (True, False):
        features = replace(ALL, nft_queue=nft_queue)
        found = wanted_counts(names, services, (), features=features)
        assert 2 == found.rules[IPV4, "to_agent"]


def test_services_have_elements(
    names: Names, bare: TableCounts, dns: LinkLocalService
) -> None:
    """Two endpoints."""
    services = Services.of([dns], names, None)
    found = wanted_counts(names, services, (), features=ALL)
    assert 2 == found.elements[IPV4, "endpoints"] - bare.elements[IPV4, "endpoints"]


@pytest.mark.parametrize("has_tables6", [False, True])
def test_the_table_of_the_uplink_is_counted_as_well(
    names: Names, dns: LinkLocalService, *, has_tables6: bool
) -> None:
    """With its endpoints on this host, in whichever family it is."""
    here = (IPv4Address("127.0.0.1"), IPv4Address("127.0.0.53"), *dns.fabric_addresses)
    services = Services.of([replace(dns, fabric_addresses=here)], names, None)
    features = Features(nft_queue=True, ip6_tables=has_tables6, ipv6=has_tables6)
    found = wanted_at_uplink(names, services, features=features)
    family = FAMILIES["inet" if has_tables6 else "ip"]
    assert {(family, "near"): 2} == {k: n for k, n in found.elements.items() if n}
    assert {
        (family, "to_near_service"): 1,
        (family, "only_replies"): 1,
        (family, "from_guests"): 3 if has_tables6 else 2,
    } == found.rules
    assert found.rules.keys() == found.policies.keys()


def test_ports_with_several_addresses_have_elements(
    names: Names, alice: Attachment
) -> None:
    """One for each."""
    services = Services.of((), names, None)
    ports = [alice, replace(alice, index=3, port=3), replace(alice, index=4, port=3)]
    found = wanted_counts(names, services, ports, features=ALL)
    assert 2 == found.elements[FAMILIES["inet"], "port_of"]


def test_chains_with_a_hook_have_a_policy(bare: TableCounts) -> None:
    """Accept; chains that others jump to have none."""
    assert {1} == {*bare.policies.values()}
    assert {(IPV4, "guard"), (IPV6, "trap")} <= bare.policies.keys()
    assert not {(IPV4, "send_reset"), (IPV4, "to_agent")} & bare.policies.keys()


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


def test_what_is_out_of_force_is_named(bare: TableCounts) -> None:
    """A dormant table, a chain with another policy or without its hook. One that is
    gone is told once.
    """
    rules = {place: n for place, n in bare.rules.items() if place != (IPV4, "refuse")}
    policies = {**bare.policies, (IPV4, "trap"): 0, (IPV4, "mine"): 0}
    del policies[IPV4, "guard"], policies[IPV4, "refuse"]
    held = TableCounts(rules, bare.elements, policies, {IPV6})
    assert (
        "table ip vagent: chain guard has no hook, chain trap has not the policy"
        " accept, chain refuse is gone",
        "table ip6 vagent: it is dormant",
    ) == missing(bare, held, "vagent")


def test_a_chain_that_is_gone_hides_no_other(bare: TableCounts) -> None:
    """Whatever their order is."""
    (first, *others) = [place for place in bare.policies if place[0] == IPV4]
    rules = {place: n for place, n in bare.rules.items() if place != first}
    policies = {**bare.policies, **dict.fromkeys(others, 0)}
    (told,) = missing(bare, TableCounts(rules, bare.elements, policies), "vagent")
    assert min(len(others), 5) == told.count("not the policy accept")


def test_changed_elements_are_named(bare: TableCounts) -> None:
    """In the table that they are of. Where there are fewer as well, that is told."""
    six, endpoints = (IPV6, "endpoints"), (IPV4, "endpoints")
    held = replace(bare, changed={six: 1, endpoints: 2})
    assert (
        "table ip vagent: set endpoints has 2 elements changed",
        "table ip6 vagent: set endpoints has 1 elements changed",
    ) == missing(bare, held, "vagent")
    held = replace(held, elements={**bare.elements, six: 0})
    (_, fewer) = missing(bare, held, "vagent")
    assert fewer.endswith(": set endpoints has 0 of 1 elements")


def test_what_is_missing_is_named(bare: TableCounts) -> None:
    """A table that is gone as such; else chains and sets, with their numbers."""
    rules = {place: n for place, n in bare.rules.items() if place[0] != IPV4}
    rules[IPV6, "guard"] = 0
    del rules[IPV6, "trap"]
    elements = {place: n for place, n in bare.elements.items() if place[0] != IPV4}
    elements[IPV6, "endpoints"] = 0
    assert (
        "table ip vagent is gone",
        "table ip6 vagent: chain guard has 0 of 4 rules, chain trap is gone,"
        " set endpoints has 0 of 1 elements",
    ) == missing(bare, replace(bare, rules=rules, elements=elements), "vagent")


def test_much_that_is_missing_is_told_in_short(bare: TableCounts) -> None:
    """Of an emptied table five parts are named."""
    emptied = replace(bare, rules=dict.fromkeys(bare.rules, 0))
    first, *_ = missing(bare, emptied, "vagent")
    assert 5 == first.count("has 0 of")
    lost = sum(1 for place, n in bare.rules.items() if n and place[0] == IPV4)
    assert first.endswith(f", {lost - 5} more")


@pytest.mark.parametrize(("lost", "more"), [(5, ""), (6, ", 1 more")])
def test_as_many_as_are_named_are_not_cut(lost: int, more: str) -> None:
    """Nothing is said of no more."""
    places = [(IPV4, str(number)) for number in range(lost + 1)]
    wanted = TableCounts(dict.fromkeys(places, 1))
    held = TableCounts(dict.fromkeys(places[lost:], 1))
    (told,) = missing(wanted, held, "vagent")
    assert told.endswith(f"chain 4 is gone{more}")


def test_a_family_without_tables_hides_none_behind_it() -> None:
    """Each that is wanted is looked for."""
    wanted = TableCounts({(FAMILIES["inet"], "open"): 1})
    assert ("table inet vagent is gone",) == missing(wanted, TableCounts(), "vagent")


def test_a_family_that_the_host_has_not_is_not_missed(names: Names) -> None:
    """Without IPv6 there is one table."""
    features = replace(ALL, ipv6=False)
    services = Services.of((), names, None).without_ipv6()
    wanted = wanted_counts(names, services, (), features=features)
    assert ("table ip vagent is gone",) == missing(wanted, TableCounts(), "vagent")
