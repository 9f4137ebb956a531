"""State becomes nftables text. What the text does is proven on the kernel."""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.names import Names
from vagent.datapath.render import (
    change_of_ports,
    change_of_services,
    removal,
    ruleset,
)
from vagent.datapath.state import Attachment, Services
from vagent.linklocal.service import LinkLocalService

NOTHING: frozenset[int] = frozenset()


def test_the_whole_state_replaces_the_old_in_one_script(
    names: Names, alice: Attachment, metadata: LinkLocalService
) -> None:
    """Our tables are added and deleted first, so that the script never fails for what
    was there or was not, and then made anew.
    """
    services = Services.of([metadata], names, None)
    script = ruleset(names, services, [alice], host_mac="02::", nft_queue=True)
    lines = script.splitlines()
    assert [
        "table netdev vagent",
        "delete table netdev vagent",
        "table ip vagent",
        "delete table ip vagent",
    ] == lines[:4]
    assert "    queue num 8097" in lines


def test_without_nft_queue_the_chain_is_only_closed(names: Names) -> None:
    """Until the xt rule is inserted, a new flow is dropped."""
    services = Services.of((), names, None)
    script = ruleset(names, services, [], host_mac="02::", nft_queue=False)
    chain = script.split("chain to_agent {")[1].split("}")[0]
    assert ["counter name no_agent drop"] == chain.strip().splitlines()


def test_attach(names: Names, alice: Attachment) -> None:
    """Five elements and the tap's own chain."""
    assert (
        'add element netdev vagent identity { "tap-alice" . 02:00:00:00:00:01'
        " . 10.0.0.5 : 169.254.64.2 }\n"
        "add element netdev vagent id_mark { 169.254.64.2 : 2 }\n"
        "add element netdev vagent mark_ip { 2 : 10.0.0.5 }\n"
        "add element netdev vagent mark_mac { 2 : 02:00:00:00:00:01 }\n"
        "add element netdev vagent mark_dev { 2 : 11 }\n"
        "add chain netdev vagent in_11 { type filter hook ingress"
        ' device "tap-alice" priority -300; }\n'
        "add rule netdev vagent in_11 jump from_vm\n"
    ) == change_of_ports(names, [], [alice], NOTHING)


def test_a_second_address_of_a_tap_keeps_its_chain(
    names: Names, alice: Attachment
) -> None:
    """The chain is the tap's, not the port's."""
    script = change_of_ports(names, [], [alice], frozenset({alice.ifindex}))
    assert "chain" not in script


def test_two_addresses_that_come_together_share_one_chain(
    names: Names, alice: Attachment
) -> None:
    """It is made once."""
    second = replace(alice, index=9)
    script = change_of_ports(names, [], [alice, second], NOTHING)
    assert 1 == script.count("add chain")


def test_detach(names: Names, alice: Attachment) -> None:
    """The chain is deleted even where the kernel did so already with the device."""
    script = change_of_ports(names, [alice], [], NOTHING)
    assert [
        "add chain netdev vagent in_11",
        "flush chain netdev vagent in_11",
        "delete chain netdev vagent in_11",
    ] == script.splitlines()[-3:]
    assert 5 == script.count("delete element")


def test_what_goes_goes_first(names: Names, alice: Attachment, bob: Attachment) -> None:
    """An address may move from one port to another in one transaction."""
    script = change_of_ports(names, [alice], [bob], NOTHING)
    assert script.index("delete element") < script.index("add element")


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


def test_no_change_is_no_script(names: Names, dns: LinkLocalService) -> None:
    """Nothing to do is not a transaction."""
    services = Services.of([dns], names, None)
    assert "" == change_of_services(names, services, services)


def test_removal_names_only_our_tables(names: Names) -> None:
    """Two tables, both ours."""
    assert {"netdev vagent", "ip vagent"} == {
        " ".join(line.split()[-2:]) for line in removal(names).splitlines()
    }
