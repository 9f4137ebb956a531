"""State becomes nftables text. What the text does is proven on the kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.render import (
    change_of_services,
    proxies,
    removal,
    ruleset,
    solicited_node,
)
from vagent.datapath.state import Attachment, Services, Tag
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
    script = ruleset(names, services, [alice], host_mac="02::", features=ALL)
    lines = script.splitlines()
    assert [
        "table netdev vagent",
        "delete table netdev vagent",
        "table ip vagent",
        "delete table ip vagent",
        "table ip6 vagent",
        "delete table ip6 vagent",
    ] == lines[:6]
    assert "    queue num 8097" in lines


def test_flows_opened_in_a_second_are_counted_over_both_families(names: Names) -> None:
    """In one set, in a table of both; where there is no IPv6, in IPv4's."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], host_mac="02::", features=ALL)
    assert 1 == script.count("set opening {")
    assert "meta nfproto ipv6 add @opening" in script.split("table inet vagent {")[1]
    script = ruleset(names, services, [], host_mac="02::", features=XT_ONLY)
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
    script = ruleset(names, services, [], host_mac="02::", features=features)
    assert (4 if ct_timeout else 0) == script.count("  ct timeout ")
    assert (4 if ct_timeout else 0) == script.count("ct state new ct timeout set")


def test_without_nft_queue_the_chain_is_only_closed(names: Names) -> None:
    """Until the xt rule is inserted, a new flow is dropped."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], host_mac="02::", features=XT_ONLY)
    chain = script.split("chain to_agent {")[1].split("}")[0]
    assert ["counter name no_agent drop"] == chain.strip().splitlines()


def attached(names: Names, *attachments: Attachment) -> list[str]:
    """The statements about ports, which are the last ones."""
    services = Services.of((), names, None)
    bare = ruleset(names, services, [], host_mac="02::", features=ALL)
    whole = ruleset(names, services, attachments, host_mac="02::", features=ALL)
    assert whole.startswith(bare)
    return whole.removeprefix(bare).splitlines()


def test_attach(names: Names, alice: Attachment) -> None:
    """Five elements and the tap's own chain."""
    assert [
        'add element netdev vagent identity { "tap-alice" . 02:00:00:00:00:01'
        " . 10.0.0.5 : 169.254.64.2 }",
        "add element netdev vagent id_mark { 169.254.64.2 : 2 }",
        "add element netdev vagent mark_ip { 2 : 10.0.0.5 }",
        "add element netdev vagent mark_mac { 2 : 02:00:00:00:00:01 }",
        "add element netdev vagent mark_dev { 2 : 11 }",
        "add chain netdev vagent in_11 { type filter hook ingress"
        ' device "tap-alice" priority -300; }',
        "add rule netdev vagent in_11 jump from_vm",
    ] == attached(names, alice)


def test_one_statement_fills_a_map(
    names: Names, alice: Attachment, bob: Attachment
) -> None:
    """However many ports there are."""
    lines = attached(names, alice, bob)
    assert "add element netdev vagent mark_dev { 2 : 11, 3 : 12 }" in lines
    assert 5 + 2 * 2 == len(lines)


def test_two_addresses_of_a_tap_share_one_chain(
    names: Names, alice: Attachment
) -> None:
    """It is made once."""
    lines = attached(names, alice, replace(alice, index=9))
    assert 1 == sum("add chain" in line for line in lines)


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


def test_a_new_address_is_guarded_and_answered_for(
    names: Names, metadata: LinkLocalService, dns: LinkLocalService
) -> None:
    """Addresses and their ARP replies are written as one."""
    before = Services.of([metadata], names, None)
    script = change_of_services(
        names, before, Services.of([metadata, dns], names, before)
    )
    assert "add element netdev vagent service_addresses { 169.254.1.53 }" in script
    assert 2 == script.count("add rule netdev vagent arp_reply")


def test_a_changed_address_is_no_longer_answered_for(
    names: Names, metadata: LinkLocalService
) -> None:
    """What was said of the addresses of before is taken away first, in both families:
    a chain that is not flushed would go on to answer for an address that is gone.
    """
    before = Services.of([metadata], names, None)
    moved = replace(metadata, address=IPv6Address("fd00:ec2::1"))
    after = Services.of([moved], names, before)
    lines = change_of_services(names, before, after).splitlines()
    flushes = [
        "flush set netdev vagent service_addresses",
        "flush set netdev vagent service_words",
        "flush chain netdev vagent arp_reply",
        "flush set netdev vagent service_addresses6",
        "flush set netdev vagent service_words6",
        "flush chain netdev vagent neighbours",
        "flush chain netdev vagent advertise",
    ]
    assert flushes == [line for line in lines if line.startswith("flush")]
    first = min(n for n, line in enumerate(lines) if line.startswith("add"))
    assert first > max(lines.index(line) for line in flushes)


def test_endpoints_and_addresses_may_change_together(
    names: Names, metadata: LinkLocalService, dns: LinkLocalService
) -> None:
    """What goes, goes first: endpoints, then addresses; then what is new comes."""
    before = Services.of([dns], names, None).without_ipv6()
    after = Services.of([metadata], names, before).without_ipv6()
    lines = change_of_services(names, before, after).splitlines()
    assert [
        "delete element ip vagent endpoints { 0x20000 : 192.0.2.53 . 53 }",
        "delete element ip vagent endpoints { 0x30000 : 192.0.2.54 . 53 }",
        "flush set netdev vagent service_addresses",
        "flush set netdev vagent service_words",
        "flush chain netdev vagent arp_reply",
        "add element netdev vagent service_addresses { 169.254.169.254 }",
        "add element netdev vagent service_words { 0xa9fea9fe }",
    ] == lines[:7]
    assert lines[7].startswith("add rule netdev vagent arp_reply ")
    assert 8 == len(lines)


@pytest.mark.parametrize("comes", [False, True])
def test_the_last_ipv6_address_goes_and_the_first_comes(
    names: Names, metadata: LinkLocalService, *, comes: bool
) -> None:
    """IPv6's chains are written anew if either side has an address of it."""
    four = Services.of([metadata], names, None).without_ipv6()
    both = Services.of([metadata], names, None)
    script = change_of_services(names, *((four, both) if comes else (both, four)))
    assert "flush chain netdev vagent advertise\n" in script
    assert comes == ("add rule netdev vagent advertise" in script)


def test_without_ipv6_only_what_answers_arp_is_flushed(
    names: Names, metadata: LinkLocalService, dns: LinkLocalService
) -> None:
    """Where IPv6 is not carried, its chains are not there to be flushed."""
    before = Services.of([metadata], names, None).without_ipv6()
    after = Services.of([metadata, dns], names, before).without_ipv6()
    script = change_of_services(names, before, after)
    assert 3 == script.count("flush")
    assert "flush chain netdev vagent arp_reply" in script


def test_no_change_is_no_script(names: Names, dns: LinkLocalService) -> None:
    """Nothing to do is not a transaction."""
    services = Services.of([dns], names, None)
    assert "" == change_of_services(names, services, services)


def test_removal_names_only_our_tables(names: Names) -> None:
    """One in each family, all ours."""
    ours = {f"{family} vagent" for family in ("netdev", "ip", "ip6", "inet")}
    assert ours == {
        " ".join(line.split()[-2:]) for line in removal(names, ALL).splitlines()
    }


def test_without_ipv6_nothing_is_said_of_it(
    names: Names, alice: Attachment, metadata: LinkLocalService
) -> None:
    """Not even a table's name, where the kernel does not know the family."""
    services = Services.of([metadata], names, None).without_ipv6()
    script = ruleset(names, services, [alice], host_mac="02::", features=XT_ONLY)
    assert "ip6" not in script
    assert "icmpv6" not in script
    assert "ip6" not in removal(names, XT_ONLY)


def test_a_disabled_ipv6_takes_away_what_an_earlier_agent_left(names: Names) -> None:
    """The kernel knows the family, the host does not carry it."""
    services = Services.of((), names, None).without_ipv6()
    features = Features(nft_queue=True, ip6_tables=True)
    script = ruleset(names, services, [], host_mac="02::", features=features)
    assert "delete table ip6 vagent" in script
    assert "table ip6 vagent {" not in script


def test_attach_with_ipv6(names: Names, alice: Attachment) -> None:
    """Three elements for the registered address, two for any link-local one."""
    six = replace(
        alice,
        address=None,
        address6=IPv6Address("2001:db8::5"),
        takes_link_local=True,
    )
    where = '"tap-alice" . 02:00:00:00:00:01'
    assert [
        f"identity6 {{ {where} . 2001:db8::5 : fd40:140:2::1 }}",
        "id6_mark { fd40:140:2::1 : 2 }",
        "mark_ip6 { 2 : 2001:db8::5 }",
        f"link_local {{ {where} : 0x2fffd }}",
        "link_local_mark { 0x2fffd : 2 }",
        "mark_mac { 2 : 02:00:00:00:00:01 }",
        "mark_dev { 2 : 11 }",
    ] == [
        line.removeprefix("add element netdev vagent ")
        for line in attached(names, six)
        if "element" in line
    ]


def test_attach_with_a_vlan(names: Names, alice: Attachment) -> None:
    """A tagged guest is in the maps of tagged ones alone, and the way back to it leads
    through the tag side.
    """
    tagged = replace(
        alice,
        address6=IPv6Address("2001:db8::5"),
        takes_link_local=True,
        tag=Tag(sent=100, got=101, ifindex=7),
    )
    where = '"tap-alice" . 100 . 02:00:00:00:00:01'
    assert [
        f"tagged {{ {where} . 10.0.0.5 : 2 }}",
        "mark_identity { 2 : 169.254.64.2 }",
        "id_mark { 169.254.64.2 : 2 }",
        "mark_ip { 2 : 10.0.0.5 }",
        f"tagged6 {{ {where} . 2001:db8::5 : 2 }}",
        "mark_identity6 { 2 : fd40:140:2::1 }",
        "id6_mark { fd40:140:2::1 : 2 }",
        "mark_ip6 { 2 : 2001:db8::5 }",
        f"tagged_link_local {{ {where} : 2 }}",
        "mark_link_local { 2 : 0x2fffd }",
        "link_local_mark { 0x2fffd : 2 }",
        "mark_mac { 2 : 02:00:00:00:00:01 }",
        "mark_dev { 2 : 7 }",
        "mark_vlan { 2 : 101 }",
        "mark_tap { 2 : 11 }",
    ] == [
        line.removeprefix("add element netdev vagent ")
        for line in attached(names, tagged)
        if "element" in line
    ]


def test_without_vlans_every_tagged_frame_is_nobodys(names: Names) -> None:
    """There is no map that could know it; it is dropped all the same."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], host_mac="02::", features=ALL)
    assert "map tagged" not in script
    chain = script.split("chain trap_tagged {")[1].split("}")[0].split("\n")
    assert "counter name spoofed drop" == chain[-2].strip()
    assert "map" not in chain


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
    assert "add element netdev vagent service_addresses6 { fd00::53 }" in script
    whole = ruleset(names, before, [], host_mac="02::", features=ALL)
    assert "ip vagent endpoints { 0x10000 : 169.254.64.1 . 8097 }" in whole
    assert "ip6 vagent endpoints { 0x10000 : fd40:140:1::1 . 8097 }" in whole


def test_the_kernel_answers_for_ipv6_addresses(
    names: Names, metadata: LinkLocalService
) -> None:
    """It is told each of them, and asked by the group that it listens to for it."""
    services = Services.of([metadata], names, None)
    assert (
        "neigh replace proxy fd00:ec2::254 dev vagent1\n"
        "neigh replace proxy fe80::a9fe:a9fe dev vagent1\n"
    ) == proxies(names, services)
    assert "" == proxies(names, services.without_ipv6())
    assert "ff02::1:fffe:a9fe" == str(solicited_node(IPv6Address("fe80::a9fe:a9fe")))
    script = ruleset(names, services, [], host_mac="02::", features=ALL)
    assert "ip6 daddr set ff02::1:ff00:254 goto trap6" in script
