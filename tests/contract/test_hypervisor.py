"""One suite for the seam of libvirt: its test driver, and the fake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.vagent.guests.fake_hypervisor import FakeHypervisor
from vagent.guests.definitions import Definitions
from vagent.guests.domain_xml import read_domain
from vagent.guests.hypervisor import (
    Hypervisor,
    HypervisorError,
    LibvirtConnection,
    load_libvirt,
    prepare_loop,
)
from vagent.guests.smbios import Asks, asks, prepared

URI = "test:///default"
XML = """<domain type='test'><name>one</name>
  <uuid>8a1c2f4e-0000-4000-8000-0000000000aa</uuid><memory>8192</memory>
  <os><type>hvm</type></os><devices><interface type='network'>
  <mac address='52:54:00:00:00:01'/><source network='default'/>
  <target dev='tap1'/></interface></devices></domain>"""
UUID = "8a1c2f4e-0000-4000-8000-0000000000aa"


@dataclass
class Subject:
    """A hypervisor, and somebody who starts and stops domains there."""

    hypervisor: Hypervisor
    start: Callable[[str], object]
    stop: Callable[[], object]


@pytest.fixture(params=["libvirt", "fake"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Both, one after the other."""
    if request.param == "fake":
        fake = FakeHypervisor()
        yield Subject(fake, lambda xml: fake.start(UUID, xml), lambda: fake.stop(UUID))
        return
    libvirt: Any = load_libvirt()
    prepare_loop(libvirt)
    admin = libvirt.open(URI)
    connection = LibvirtConnection(URI)
    yield Subject(
        connection,
        lambda xml: admin.createXML(xml, 0),
        lambda: admin.lookupByUUIDString(UUID).destroy(),
    )
    with suppress(libvirt.libvirtError):
        admin.lookupByUUIDString(UUID).destroy()
    connection.close()
    admin.close()


def test_domains_that_run_are_listed(subject: Subject) -> None:
    """With UUID and XML, as long as they run."""
    subject.start(XML)
    found = dict(subject.hypervisor.domains())
    assert "tap1" == read_domain(found[UUID]).interfaces[0].tap
    subject.stop()
    assert UUID not in dict(subject.hypervisor.domains())


def test_what_happens_ends_the_wait(subject: Subject) -> None:
    """Also what happened before it began, and each thing once."""
    subject.hypervisor.wait(0)
    subject.start(XML)
    assert subject.hypervisor.wait(10)
    assert not subject.hypervisor.wait(0)
    subject.stop()
    assert subject.hypervisor.wait(10)


def test_a_libvirt_that_is_not_there() -> None:
    """An error of ours, which names the URI."""
    with pytest.raises(HypervisorError, match=r"qemu:///system\?socket=/nonexistent"):
        LibvirtConnection("qemu:///system?socket=/nonexistent")


def test_closing_twice_does_nothing(subject: Subject) -> None:
    """Whatever state it is in."""
    subject.hypervisor.close()
    subject.hypervisor.close()


def test_definitions_are_read_and_replaced() -> None:
    """Of libvirt's test driver: those that run and those that do not."""
    before = Definitions(URI, may_write=True)
    before.define(XML)
    known = {each.name: each for each in before.domains()}
    assert (False, True) == (known["one"].is_running, known["test"].is_running)
    assert not read_domain(before.definition("one")).smbios.is_seen
    before.define(prepared(before.definition("one")))
    assert Asks.OPENSTACK is asks(read_domain(before.definition("one")))
    with pytest.raises(HypervisorError, match="test:///default"):
        before.definition("nobody")
    with pytest.raises(HypervisorError):
        before.define("<x/>")
    admin: Any = load_libvirt().open(URI)
    admin.lookupByUUIDString(UUID).undefine()  # the driver's domains are all tests'
    admin.close()
    before.close()
    with pytest.raises(HypervisorError):
        Definitions("qemu:///system?socket=/nonexistent")


def test_a_domain_that_was_made_to_run_once() -> None:
    """It has no definition to change, and the error says what to do."""
    definitions = Definitions(URI, may_write=True)
    other: Any = load_libvirt().open(URI)
    once = other.createXML(XML.replace("one", "once"), 0)
    with pytest.raises(HypervisorError, match="change what makes it"):
        definitions.definition("once")
    once.destroy()
    other.close()
    definitions.close()
