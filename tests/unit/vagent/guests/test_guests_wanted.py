"""Promises of vagent.guests.wanted: which ports a host's domains should have."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.guests import nova_domains as made
from vagent.errors import WireError
from vagent.guests.domain import Domain, Interface, NovaInstance, NovaPort
from vagent.guests.domain_xml import read_domain
from vagent.guests.wanted import (
    found_port,
    is_as_wanted,
    wanted_port,
    wanted_ports,
)
from vagent.ports.codec import decode_ports, describe
from vagent.ports.port import Port, PortOwner, Registration

PLAIN = read_domain(made.PLAIN)
OVN = read_domain(made.OVN)


def only(domain: Domain) -> Port:
    """The port of a domain with one."""
    [wanted] = wanted_ports([domain], serve_nova=True).ports
    return wanted.port


@pytest.mark.parametrize("release", made.BY_NOVA)
def test_novas_ports_are_as_nova_says(release: str) -> None:
    """UUIDs, project, addresses and name from the XML, for each form of interface."""
    port = only(read_domain(made.BY_NOVA[release]))
    assert (made.PORT, made.INSTANCE) == (port.id, port.instance_id)
    assert (made.PROJECT, "web") == (port.tenant_id, port.display_name)
    assert (made.TAP, made.MAC) == (port.tap, port.mac)
    assert IPv4Address("172.1.1.43") == port.address
    assert IPv6Address("2001:db8::43") == port.address6
    assert (IPv4Address("172.1.1.44"),) == port.further
    assert (False, PortOwner.WATCHER) == (port.learn, port.owner)


def test_novas_domains_are_left_alone_unless_asked_for() -> None:
    """What serves them now goes on; others are served."""
    plain = replace(PLAIN, uuid=made.PORT2)
    found = wanted_ports([OVN, plain], serve_nova=False)
    assert [made.PORT2] == [each.port.instance_id for each in found.ports]
    assert ("instance-0000000e",) == found.left_alone
    assert () == wanted_ports([OVN, plain], serve_nova=True).left_alone


def test_a_release_that_names_no_ports() -> None:
    """The switch knows the port's UUID; the address is learned."""
    port = only(read_domain(made.BEFORE_PORTS))
    assert (made.PORT, True, None) == (port.id, port.learn, port.address)
    assert made.PROJECT == port.tenant_id


def test_a_port_that_novas_element_does_not_name_yet() -> None:
    """At hot plug the element is written later; until then the address is learned."""
    domain = replace(OVN, nova=NovaInstance("web", made.PROJECT))
    assert (made.PORT, True) == (only(domain).id, only(domain).learn)


def test_another_port_of_nova_is_not_mistaken() -> None:
    """The UUID that the switch has decides; the tap's name only where there is none."""
    nova = NovaInstance("web", "", (NovaPort(made.PORT, ("10.0.0.1",)),))
    misnamed = Interface(made.MAC, made.TAP, made.PORT2)
    assert made.PORT2 == only(Domain(made.INSTANCE, "d", (misnamed,), nova)).id
    unnamed = Interface(made.MAC, "tapother", "")
    assert only(Domain(made.INSTANCE, "d", (unnamed,), nova)).learn


def test_a_plain_domain_is_its_own_instance() -> None:
    """Its address is learned, IPv4 and IPv6."""
    port = only(PLAIN)
    assert (made.INSTANCE, "instance-0000000e") == (port.instance_id, port.display_name)
    assert (None, None, True, "libvirt") == (
        port.address, port.address6, port.learn, port.tenant_id
    )  # fmt: skip


def test_a_plain_domains_port_outlives_its_tap() -> None:
    """At the next start the tap has another number, and it is the same port."""
    moved = replace(PLAIN, interfaces=(replace(PLAIN.interfaces[0], tap="vnet1"),))
    assert only(PLAIN).id == only(moved).id
    other = replace(PLAIN.interfaces[0], mac="52:54:00:00:00:02")
    assert only(PLAIN).id != only(replace(PLAIN, interfaces=(other,))).id
    assert only(PLAIN).id != only(replace(PLAIN, uuid=made.PORT2)).id


def test_the_interfaceid_of_a_plain_domain_is_nobodys_port() -> None:
    """Whoever defines a domain cannot take a port of Nova's by its UUID."""
    claims = replace(PLAIN.interfaces[0], port_id=made.PORT)
    assert made.PORT != only(replace(PLAIN, interfaces=(claims,))).id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tap": "lo"}, "system-name"),
        ({"tap": "x" * 16}, "system-name"),
        ({"tap": "a;b"}, "system-name"),
        ({"mac": "ff:ff:ff:ff:ff:ff"}, "MAC"),
        ({"mac": ""}, "MAC"),
    ],
)
def test_an_interface_that_cannot_be_a_port(changes: dict[str, str], said: str) -> None:
    """It is told; the domain's others are served."""
    good = Interface("52:54:00:00:00:09", "vnet9")
    bad = replace(PLAIN.interfaces[0], **changes)
    found = wanted_ports([replace(PLAIN, interfaces=(bad, good))], serve_nova=False)
    assert ["vnet9"] == [each.port.tap for each in found.ports]
    assert said in found.problems[0]
    assert "'instance-0000000e'" in found.problems[0]


def test_two_domains_that_claim_one_tap_or_port() -> None:
    """The first by UUID counts, whatever their order."""
    thief = replace(PLAIN, uuid="ffffffff-0000-4000-8000-000000000001")
    for domains in ([PLAIN, thief], [thief, PLAIN]):
        found = wanted_ports(domains, serve_nova=False)
        assert [made.INSTANCE] == [each.port.instance_id for each in found.ports]
        assert f"domain {made.INSTANCE} has this port or tap" in found.problems[0]
    moved = replace(OVN.interfaces[0], tap="tapother")
    thief = replace(OVN, uuid=thief.uuid, interfaces=(moved,))
    found = wanted_ports([OVN, thief], serve_nova=True)
    assert [made.INSTANCE] == [each.port.instance_id for each in found.ports]
    assert 1 == len(found.problems)


def test_addresses_that_no_guest_has_are_left_out() -> None:
    """Each that is one counts once."""
    addresses = ("x", "127.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2")
    nova = NovaInstance("", "", (NovaPort(made.PORT, addresses),))
    port = only(replace(OVN, nova=nova))
    assert IPv4Address("10.0.0.1") == port.address
    assert ((IPv4Address("10.0.0.2"),), None) == (port.further, port.address6)
    assert ("", "instance-0000000e") == (port.tenant_id, port.display_name)


def test_what_is_registered_is_as_wanted() -> None:
    """Also with what the agent adds: times, identities, an address that it learned."""
    for domain in (PLAIN, OVN):
        [wanted] = wanted_ports([domain], serve_nova=True).ports
        assert (wanted.port,) == decode_ports(json.dumps(wanted.members).encode())
        kept = replace(wanted.port, time="today", author="other", link_up=True)
        if kept.learn:
            kept = kept.with_learned(IPv4Address("192.168.122.7"))
            kept = kept.with_learned(IPv6Address("fe80::1"))
        shown = describe(
            Registration(
                kept, 2, IPv4Address("169.254.64.2"), (3,) * len(kept.further)
            ),
            state="Active",
        )
        assert is_as_wanted(found_port(shown), wanted.port)


@pytest.mark.parametrize(
    "change",
    [
        {"tap": "vnet1"},
        {"mac": "52:54:00:00:00:02"},
        {"display_name": "x"},
        {"tenant_id": "x"},
        {"address": IPv4Address("10.0.0.9"), "learn": False},
        {"owner": PortOwner.CLI},
    ],
)
def test_what_differs_is_not(change: dict[str, object]) -> None:
    """A new tap, a new name, an address that Nova has changed."""
    wanted = only(PLAIN)
    assert is_as_wanted(wanted, wanted)
    assert not is_as_wanted(replace(wanted, **change), wanted)  # type: ignore[arg-type]
    fixed = only(OVN)
    changed = replace(fixed, address=IPv4Address("10.0.0.9"))
    assert not is_as_wanted(changed, fixed)


TEXTS = st.text(max_size=20) | st.sampled_from(
    [made.PORT, made.MAC, made.TAP, "10.0.0.1", "fe80::1"]
)


@given(
    st.builds(
        Domain,
        st.just(made.INSTANCE),
        TEXTS,
        st.lists(st.builds(Interface, TEXTS, TEXTS, st.just(made.PORT)), max_size=3)
        .map(tuple),
        st.builds(
            NovaInstance,
            TEXTS,
            TEXTS,
            st.lists(
                st.builds(NovaPort, st.just(made.PORT),
                          st.lists(TEXTS, max_size=70).map(tuple)),
                max_size=2,
            ).map(tuple),
        ),
    )
)  # fmt: skip
def test_whatever_a_domain_says_only_ports_come_of_it(domain: Domain) -> None:
    """Each is one that the port API takes, and no tap has two."""
    found = wanted_ports([domain], serve_nova=True)
    taps = [each.port.tap for each in found.ports]
    assert len(taps) == len(set(taps))
    assert len(taps) + len(found.problems) == len(domain.interfaces)
    for interface in domain.interfaces:
        with suppress(WireError):
            wanted_port(domain, interface)


def test_who_made_a_port_and_what_comes_after_a_doubt() -> None:
    """Ports say that the watcher made them; interfaces behind one that is claimed
    already get theirs.
    """
    again, good = PLAIN.interfaces[0], Interface("52:54:00:00:00:09", "vnet9")
    domain = replace(PLAIN, interfaces=(again, again, good))
    found = wanted_ports([domain], serve_nova=False)
    assert ["vnet0", "vnet9"] == [each.port.tap for each in found.ports]
    assert {"vagent-libvirt"} == {each.port.author for each in found.ports}
