"""cloud-init's NoCloud source, seeded over HTTP by the embedded server."""

from __future__ import annotations

from typing import Any

import pytest

from lab.agent import port_add

pytestmark = pytest.mark.system

VENDOR = "#cloud-config\ntimezone: UTC\n"


@pytest.mark.parametrize("name", ["alice", "carol"])
def test_nocloud_datasource(town: Any, clients: Any, facts: Any, name: str) -> None:
    """Identity, keys, user data (or none), vendor data, and a network configuration."""
    town.provision("embedded")
    town.describe(name, vendor_data={"cloud-init": VENDOR})
    result = clients.boot(name, "NoCloud").result()
    town.describe(name)
    known = facts[name]
    facts.check(result, name)
    assert known["uuid"] == result["instance_id"]
    assert VENDOR == result["vendor_data"]
    assert known["meta"] == result["metadata"]["meta"]
    assert result["seconds"] < 5, "nothing may cost a retry"
    (interface,) = result["interfaces"]
    assert (known["mac"], 1450) == (interface["mac_address"], interface["mtu"])
    (subnet,) = interface["subnets"]
    assert known["address"] == subnet["address"].partition("/")[0]
    (route,) = subnet["routes"]
    assert ("0.0.0.0", known["gateway"]) == (route["network"], route["gateway"])
    assert ["192.0.2.53"] == subnet["dns_nameservers"]


def test_a_guest_without_network_data(town: Any, clients: Any) -> None:
    """There is no network-config, and the guest goes by DHCP as always."""
    town.provision("embedded")
    town.describe("bob", network_data={"links": [], "networks": []})
    assert (200, '{\n "version": 2\n}') == clients.curl(
        "bob", "/nocloud/network-config"
    )
    town.describe("bob")
    assert 404 == clients.curl("bob", "/nocloud/nope")[0]


def test_nocloud_where_tokens_are_required_of_ec2_clients(
    town: Any, clients: Any, facts: Any
) -> None:
    """The source has no tokens, as that of OpenStack, and boots all the same."""
    town.provision("embedded")
    guest = town.guests["alice"]
    town.agent.tool(*port_add(guest), "--session-tokens", "required-ec2")
    assert 401 == clients.curl("alice", "/latest/meta-data/")[0]
    facts.check(clients.boot("alice", "NoCloud").result(), "alice")
    town.agent.tool(*port_add(guest), "--session-tokens", "default")
