"""Attachments become steps: which, in which order, about whom."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv6Address

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.rules.render import ruleset
from vagent.datapath.state import Attachment, Services, Tag
from vagent.kernel.nf_tables import NftMessage

NOTHING: frozenset[int] = frozenset()
ALL = Features(nft_queue=True, ip6_tables=True, ipv6=True)
ADD_CHAIN, DELETE_CHAIN, ADD_RULE, ADD, DELETE = 0xA03, 0xA05, 0xA06, 0xA0C, 0xA0E


def with_ipv6(attachment: Attachment) -> Attachment:
    return replace(
        attachment, address6=IPv6Address("2001:db8::5"), takes_link_local=True
    )


def kinds(steps: list[NftMessage]) -> list[int]:
    return [step.kind for step in steps]


def maps(steps: list[NftMessage]) -> set[str]:
    """Names of the maps that the steps are about."""
    found = (re.match(r"map (\w+),", about) for step in steps for about in step.about)
    return {match[1] for match in found if match}


def test_attach(names: Names, alice: Attachment) -> None:
    """Five elements, then the tap's own chain and its rule."""
    steps = change_of_ports(names, [], [alice], NOTHING, ipv6=True)
    assert [*[ADD] * 5, ADD_CHAIN, ADD_RULE] == kinds(steps)
    (mark_dev,) = (step for step in steps if step.about[0].startswith("map mark_dev"))
    assert mark_dev.payload.endswith(
        bytes.fromhex("0c000180 08000100 02000000 0c000280 08000100 0b000000")
    )


def test_the_key_at_the_tap_is_name_mac_and_address(
    names: Names, alice: Attachment
) -> None:
    """Each part padded to four bytes, the name to an interface name's sixteen."""
    identity = change_of_ports(names, [], [alice], NOTHING, ipv6=True)[0]
    key = b"tap-alice" + bytes(7) + b"\2\0\0\0\0\1\0\0" + b"\x0a\0\0\5"
    assert key + bytes.fromhex("0c000280 08000100 a9fe4002") == identity.payload[-40:]


def test_the_same_maps_as_the_text_has(names: Names, alice: Attachment) -> None:
    """Whoever adds a map to one of the two encoders is told of the other."""
    six = with_ipv6(alice)
    services = Services.of((), names, None)
    for port in (
        replace(six, port=six.index),
        replace(six, tag=Tag(sent=100, got=101, ifindex=7), port=1),
    ):
        text = ruleset(names, services, [port], host_mac="02::", features=ALL)
        found = re.findall(r"^add element \w+ vagent (\w+)", text, re.MULTILINE)
        steps = change_of_ports(names, [], [port], NOTHING, ipv6=True)
        services_only = {"service_addresses", "service_addresses6", "endpoints"}
        services_only |= {"service_words", "service_words6"}
        assert set(found) - services_only == maps(steps)


def test_what_a_port_may_open_is_told_to_the_table_that_counts(
    names: Names, alice: Attachment
) -> None:
    """Only of a port with several addresses; where IPv6 is not carried, in IPv4's."""
    assert "port_of" not in maps(
        change_of_ports(names, [], [alice], NOTHING, ipv6=True)
    )
    further = replace(alice, index=258, port=2)
    for ipv6, family in ((True, 1), (False, 2)):
        steps = change_of_ports(names, [], [further], NOTHING, ipv6=ipv6)
        (step,) = (each for each in steps if each.about[0].startswith("map port_of"))
        assert family == step.family
        assert step.payload.endswith(
            bytes.fromhex("0c000180 08000100 00000102 0c000280 08000100 02000000")
        )


def test_a_second_address_of_a_tap_keeps_its_chain(
    names: Names, alice: Attachment
) -> None:
    """The chain is the tap's, not the port's."""
    kept = frozenset({alice.ifindex})
    assert {ADD} == set(kinds(change_of_ports(names, [], [alice], kept, ipv6=True)))
    assert {DELETE} == set(kinds(change_of_ports(names, [alice], [], kept, ipv6=True)))


def test_two_addresses_that_come_together_share_one_chain(
    names: Names, alice: Attachment
) -> None:
    """It is made once, and taken away once."""
    both = [alice, replace(alice, index=9)]
    assert 1 == kinds(change_of_ports(names, [], both, NOTHING, ipv6=True)).count(
        ADD_CHAIN
    )
    assert 1 == kinds(change_of_ports(names, both, [], NOTHING, ipv6=True)).count(
        DELETE_CHAIN
    )


def test_what_goes_goes_first(names: Names, alice: Attachment, bob: Attachment) -> None:
    """An address may move from one port to another in one transaction."""
    order = kinds(change_of_ports(names, [alice], [bob], NOTHING, ipv6=True))
    assert max(n for n, kind in enumerate(order) if kind == DELETE) < order.index(ADD)
    assert order.index(DELETE_CHAIN) < order.index(ADD_RULE)


def test_a_map_is_filled_by_one_step(
    names: Names, alice: Attachment, bob: Attachment
) -> None:
    """A thousand ports are few messages."""
    steps = change_of_ports(names, [], [alice, bob], NOTHING, ipv6=True)
    assert 5 == kinds(steps).count(ADD)
    assert ("map mark_ip, tap tap-alice", "map mark_ip, tap tap-bob") in {
        step.about for step in steps
    }
