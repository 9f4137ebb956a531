"""Domains whose XML a real Nova's code has written become the ports that Nova means."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from lab.namespaces import run
from tests.clients.real_nova import HERE, INSTALLED
from vagent.guests.domain_xml import read_domain
from vagent.guests.smbios import Asks, asks
from vagent.guests.wanted import wanted_ports
from vagent.ports.port import PortOwner

PYTHON = INSTALLED / "nova" / "bin" / "python"
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not PYTHON.exists(), reason="no Nova: make test-clients installs it"
    ),
]
INSTANCE = "8a1c2f4e-0000-4000-8000-0000000000aa"
PROJECT = "512866f9994f4ad8916d8539a7cdeec9"
PORT, TAP = "476212e4-4c1b-46c2-a4af-c1ddefba9215", "tap476212e4-4c"
ADDRESSES = ("172.1.1.43", "2001:db8::43", "172.1.1.44")


def test_domains_that_novas_code_writes(tmp_path: Path) -> None:
    """For each kind of interface: instance, project, port, addresses, name and tap."""
    script = str(HERE / "nova_domains.py")
    said = (str(tmp_path), INSTANCE, PROJECT, PORT, TAP, *ADDRESSES)
    run(str(PYTHON), script, *said)
    written = {file.stem: file.read_text() for file in tmp_path.glob("*.xml")}
    assert {"openvswitch", "linuxbridge", "hybrid", "ethernet"} == written.keys()
    for text in written.values():
        domain = read_domain(text)
        [port] = [w.port for w in wanted_ports([domain], serve_nova=True).ports]
        assert (PORT, INSTANCE, PROJECT) == (port.id, port.instance_id, port.tenant_id)
        assert (TAP, "fa:16:3e:aa:d9:23") == (port.tap, port.mac)
        assert tuple(map(ip_address, ADDRESSES)) == port.addresses
        assert ("web", PortOwner.WATCHER) == (port.display_name, port.owner)
        assert (False, Asks.OPENSTACK) == (port.learn, asks(domain))
