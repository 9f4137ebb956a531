"""State becomes nftables text. What the text does is proven on the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.render import (
    change_of_services,
    former_removal,
    removal,
    ruleset,
)
from vagent.datapath.state import Attachment, Services
from vagent.linklocal.service import LinkLocalService

ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True)
XT_ONLY = Features(nft_queue=False)


def test_the_whole_state_replaces_the_old_in_one_script(
    names: Names, alice: Attachment, metadata: LinkLocalService
) -> None:
    """Our tables are added and deleted first, so that the script never fails for what
    was there or was not, and then made anew.
    """
    services = Services.of([metadata], names, None)
    script = ruleset(names, services, [alice], features=ALL)
    lines = script.splitlines()
    assert [
        "table ip vagent",
        "delete table ip vagent",
        "table ip6 vagent",
        "delete table ip6 vagent",
    ] == lines[:4]
    assert "    queue num 8097" in lines


def test_flows_opened_in_a_second_are_counted_over_both_families(names: Names) -> None:
    """In one set, in a table of both; where there is no IPv6, in IPv4's."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], features=ALL)
    assert 1 == script.count("set opening {")
    assert "meta nfproto ipv6 add @opening" in script.split("table inet vagent {")[1]
    script = ruleset(names, services, [], features=XT_ONLY)
    assert 1 == script.count("set opening {")
    assert "inet" not in script.replace("inet_service", "")
    assert "nfproto" not in script


@pytest.mark.parametrize("ct_timeout", [False, True])
def test_flows_of_guests_age_by_their_own_clock(
    names: Names, *, ct_timeout: bool
) -> None:
    """Where the kernel can: a policy for each protocol and family, and its use."""
    services = Services.of((), names, None)
    features = replace(ALL, ct_timeout=ct_timeout)
    script = ruleset(names, services, [], features=features)
    assert (4 if ct_timeout else 0) == script.count("  ct timeout ")
    assert (4 if ct_timeout else 0) == script.count("ct state new ct timeout set")


def test_without_nft_queue_the_chain_is_only_closed(names: Names) -> None:
    """Until the xt rule is inserted, a new flow is dropped."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], features=XT_ONLY)
    chain = script.split("chain to_agent {")[1].split("}")[0]
    assert ["counter name no_agent drop"] == chain.strip().splitlines()


def attached(names: Names, *attachments: Attachment) -> list[str]:
    """The statements about ports, which are the last ones."""
    services = Services.of((), names, None)
    bare = ruleset(names, services, [], features=ALL)
    whole = ruleset(names, services, attachments, features=ALL)
    assert whole.startswith(bare)
    return whole.removeprefix(bare).splitlines()


def test_addresses_of_one_port_are_one_statement(
    names: Names, alice: Attachment
) -> None:
    """A port with one address has none."""
    second, third = (replace(alice, index=index, port=2) for index in (2, 9))
    assert ["add element inet vagent port_of { 2 : 2, 9 : 2 }"] == attached(
        names, alice, second, third
    )
    assert [] == attached(names, alice)


@pytest.mark.parametrize(
    ("features", "families"),
    [(ALL, ["netdev", "ip", "ip6"]), (XT_ONLY, ["netdev"])],
    ids=["with IPv6", "without"],
)
def test_the_tables_that_earlier_versions_had_go(
    names: Names, features: Features, families: list[str]
) -> None:
    """Whether or not they are there. Where the table of the uplink is of IPv4 alone it
    has the place of one of them, and stays.
    """
    tables = [f"table {family} vagent" for family in families]
    assert [line for each in tables for line in (each, f"delete {each}")] == (
        former_removal(names, features).splitlines()
    )


def test_a_change_of_one_service_does_not_name_another(
    names: Names, metadata: LinkLocalService, dns: LinkLocalService
) -> None:
    """Endpoints that stay are not touched."""
    before = Services.of([metadata, dns], names, None)
    fewer = replace(dns, fabric_addresses=dns.fabric_addresses[:1])
    after = Services.of([metadata, fewer], names, before)
    assert (
        "delete element ip vagent endpoints { 0x30000 : 192.0.2.54 . 53 }\n"
    ) == change_of_services(names, before, after)


def test_a_service_of_this_host_is_the_uplink_in_the_namespace(
    names: Names, dns: LinkLocalService
) -> None:
    """At a port of its own for each endpoint: none of the host's services has it."""
    here = (IPv4Address("127.0.0.1"), IPv4Address("127.0.0.53"))
    near = replace(dns, fabric_addresses=here)
    services = Services.of([near], names, None)
    assert (
        "add element ip vagent endpoints { 0x20000 : 169.254.0.0 . 65533 }\n"
        "add element ip vagent endpoints { 0x30000 : 169.254.0.0 . 65532 }\n"
    ) == change_of_services(names, Services.of((), names, None), services)


def test_each_change_is_a_line(names: Names, dns: LinkLocalService) -> None:
    """What comes and what goes."""
    before = Services.of([dns], names, None)
    after = Services.of((), names, before)
    assert (
        "delete element ip vagent endpoints { 0x20000 : 192.0.2.53 . 53 }\n"
        "delete element ip vagent endpoints { 0x30000 : 192.0.2.54 . 53 }\n"
    ) == change_of_services(names, before, after)


def test_no_change_is_no_script(names: Names, dns: LinkLocalService) -> None:
    """Nothing to do is not a transaction."""
    services = Services.of([dns], names, None)
    assert "" == change_of_services(names, services, services)


def test_removal_names_only_our_tables(names: Names) -> None:
    """One in each family, all ours."""
    ours = {f"{family} vagent" for family in ("ip", "ip6", "inet")}
    assert ours == {
        " ".join(line.split()[-2:]) for line in removal(names, ALL).splitlines()
    }


def test_without_ipv6_nothing_is_said_of_it(
    names: Names, alice: Attachment, metadata: LinkLocalService
) -> None:
    """Not even a table's name, where the kernel does not know the family."""
    services = Services.of([metadata], names, None).without_ipv6()
    script = ruleset(names, services, [alice], features=XT_ONLY)
    assert "ip6" not in script
    assert "icmpv6" not in script
    assert "ip6" not in removal(names, XT_ONLY)


def test_a_disabled_ipv6_takes_away_what_an_earlier_agent_left(names: Names) -> None:
    """The kernel knows the family, the host does not carry it."""
    services = Services.of((), names, None).without_ipv6()
    features = Features(nft_queue=True, ip6_tables=True)
    script = ruleset(names, services, [], features=features)
    assert "delete table ip6 vagent" in script
    assert "table ip6 vagent {" not in script


def test_endpoints_go_to_the_table_of_their_family(
    names: Names, metadata: LinkLocalService
) -> None:
    """The listener has the same number in both."""
    before = Services.of((), names, None)
    other = replace(
        metadata,
        name="dns6",
        address=IPv6Address("fd00::53"),
        fabric_addresses=(IPv6Address("2001:db8::53"),),
        fabric_port=53,
    )
    script = change_of_services(
        names, before, Services.of([metadata, other], names, before)
    )
    assert "add element ip6 vagent endpoints { 0x20000 : 2001:db8::53 . 53 }" in script
    whole = ruleset(names, before, [], features=ALL)
    assert "ip vagent endpoints { 0x10000 : 169.254.64.1 . 8097 }" in whole
    assert "ip6 vagent endpoints { 0x10000 : fd40:140:1::1 . 8097 }" in whole
