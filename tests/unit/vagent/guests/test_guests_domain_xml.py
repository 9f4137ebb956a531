"""Promises of vagent.guests.domain_xml: libvirt's XML is read, and nothing believed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.guests import nova_domains as made
from vagent.errors import WireError
from vagent.guests.domain import Interface, NovaInstance, NovaPort
from vagent.guests.domain_xml import MAX_XML, read_domain
from vagent.ports.members import NIL


@pytest.mark.parametrize("release", made.BY_NOVA)
def test_domains_of_five_releases_of_nova(release: str) -> None:
    """Instance, project, port, addresses and names, in every form of interface."""
    found = read_domain(made.BY_NOVA[release])
    assert (made.INSTANCE, "instance-0000000e") == (found.uuid, found.name)
    addresses = ("172.1.1.43", "2001:db8::43", "172.1.1.44")
    assert found.nova == NovaInstance(
        "web", made.PROJECT, (NovaPort(made.PORT, addresses),)
    )
    [interface] = found.interfaces
    assert (made.MAC, made.TAP) == (interface.mac, interface.tap)
    assert {"product": "OpenStack Nova", "manufacturer": "OpenStack Foundation"} == (
        found.smbios.fields
    )
    assert found.smbios.is_seen


def test_a_domain_that_nova_did_not_make() -> None:
    """It has an interface, and nothing of Nova."""
    found = read_domain(made.PLAIN)
    assert (Interface("52:54:00:00:00:01", "vnet0"),) == found.interfaces
    assert found.nova is None
    assert not found.smbios.is_seen


def test_the_switchs_name_of_a_port() -> None:
    """Lower case; what is no UUID is none."""
    upper = made.OVN.replace(made.PORT, made.PORT.upper())
    assert made.PORT == read_domain(upper).interfaces[0].port_id
    other = made.OVN.replace(f"interfaceid='{made.PORT}'", "interfaceid='x'")
    assert "" == read_domain(other).interfaces[0].port_id


@pytest.mark.parametrize(
    ("kind", "inner"),
    [
        ("direct", "<target dev='macvtap0'/>"),
        ("network", "<source network='n' dev='e' mode='bridge'/><target dev='m'/>"),
        ("hostdev", "<target dev='x'/>"),
        ("vhostuser", "<target dev='vhu0'/>"),
        ("user", ""),
        ("network", ""),
    ],
)
def test_interfaces_without_a_tap(kind: str, inner: str) -> None:
    """They are told apart, and get no port; nor does one that is not there yet."""
    text = made.domain(
        f"<interface type='{kind}'><mac address='m'/>{inner}</interface>"
    )
    found = read_domain(text)
    assert ((), (kind,)) == (found.interfaces, found.unserved)


def test_an_address_that_is_not_fixed_is_none_of_the_ports() -> None:
    """Floating addresses are not on the interface."""
    text = made.OVN.replace('type="fixed" address="172.1.1.44"', 'type="floating"')
    found = read_domain(text).nova
    assert found is not None
    assert ("172.1.1.43", "2001:db8::43") == found.ports[0].addresses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well-formed"),
        ("<domain>", "not well-formed"),
        ("\ud800", "not well-formed"),
        ("<network/>", "not <domain>"),
        ("<domain/>", "<uuid> is missing"),
        ("<domain><uuid>x</uuid></domain>", "<uuid> is missing"),
        (f"<domain><uuid>{NIL}</uuid></domain>", "<uuid> is missing"),
        ("<!DOCTYPE domain><domain/>", "document type"),
        ("<domain>" + "<a>" * 1000 + "</a>" * 1000 + "</domain>", "not well-formed"),
        ("<domain>" + " " * MAX_XML + "</domain>", "at most"),
        (made.domain("<interface/>" * 257), "more than 256 interfaces"),
        (
            made.domain("", made.nova(
                "<nova:ports>" + f"<nova:port uuid='{made.PORT}'/>" * 257
                + "</nova:ports>", release="")),
            "more than 256 ports",
        ),
        (
            made.domain("", made.nova(
                f"<nova:ports><nova:port uuid='{made.PORT}'>"
                + "<nova:ip type='fixed'/>" * 129
                + "</nova:port></nova:ports>", release="")),
            "more than 128 addresses",
        ),
    ],
)  # fmt: skip
def test_what_is_no_domain_is_refused(text: str, message: str) -> None:
    """With our words, which quote nothing of it."""
    with pytest.raises(WireError, match=message):
        read_domain(text)


def test_the_limits_themselves_are_allowed() -> None:
    """One less than what is refused is read."""
    ports = f"<nova:port uuid='{made.PORT}'>" + "<nova:ip type='fixed'/>" * 128
    metadata = made.nova(
        "<nova:ports>" + (ports + "</nova:port>") * 256 + "</nova:ports>", release=""
    )
    found = read_domain(made.domain("<interface/>" * 256, metadata))
    assert (256, 256) == (
        len(found.unserved),
        len(found.nova.ports if found.nova else ""),
    )
    bare = f"<domain><uuid>{made.INSTANCE}</uuid></domain>"
    assert read_domain(bare + " " * (MAX_XML - len(bare))).uuid == made.INSTANCE


def test_no_entity_is_resolved() -> None:
    """Neither a file of this host nor a billion laughs gets into a name."""
    for entity in ("SYSTEM 'file:///etc/passwd'", "'ha'"):
        text = f"<!DOCTYPE d [<!ENTITY x {entity}>]>" + made.PLAIN.replace(
            "instance-0000000e", "&x;"
        )
        with pytest.raises(WireError):
            read_domain(text)


def test_a_metadata_element_of_others_is_not_novas() -> None:
    """Whoever uses the same name in a namespace of their own."""
    text = made.OVN.replace("xmlns/libvirt/nova/1.1", "xmlns/libvirt/nova/1.1/x")
    assert read_domain(text).nova is None


def test_long_texts_are_cut() -> None:
    """A name of megabytes goes no further."""
    text = made.PLAIN.replace("instance-0000000e", "n" * 5000)
    assert 256 == len(read_domain(text).name)


@given(st.text(max_size=200) | st.text("<>/='\"! domainuf[]&;x", max_size=200))
def test_no_text_raises_anything_but_wire_error(text: str) -> None:
    """Whatever a domain's XML holds."""
    with suppress(WireError):
        read_domain(text)
    for place in (
        "web",
        made.MAC,
        made.TAP,
        made.PORT,
        "172.1.1.43",
        "bridge",
        "<devi",
    ):
        with suppress(WireError):
            read_domain(made.OVN.replace(place, text))
