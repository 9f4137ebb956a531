"""cloud-init's datasources of Debian 12 in a guest, through the whole path."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.system

UPSTREAMS = ("nova", "embedded")
NEVER_KEPT = {
    "/openstack/2018-08-27/meta_data.json",
    "/openstack/2018-08-27/vendor_data2.json",
    "/latest/meta-data/public-ipv4",
}
"""Two by their nature; the last because its body is empty here."""


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("name", ["alice", "bob", "carol"])
def test_openstack_datasource(
    town: Any, clients: Any, facts: Any, upstream: str, name: str
) -> None:
    """A first boot finds identity, keys, user data, vendor data and network."""
    town.provision(upstream)
    result = clients.boot(name).result()
    facts.check_openstack(result, name)
    vendor = facts.vendor_data if upstream == "nova" else {}
    assert vendor == (result["vendor_data"] or {})
    assert {"static": vendor} == result["vendor_data2"]
    assert result["seconds"] < 5, "nothing may cost a retry"


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("name", ["alice", "carol"])
def test_ec2_datasource(
    town: Any, clients: Any, facts: Any, upstream: str, name: str
) -> None:
    """The other datasource on a cloud it does not know: the whole tree is there."""
    town.provision(upstream)
    result = clients.boot(name, "Ec2").result()
    facts.check(result, name)
    assert result["instance_id"].startswith("i-")
    metadata = result["metadata"]
    assert facts[name]["address"] == metadata["local-ipv4"]
    assert "default" == metadata["security-groups"]
    assert {"ami", "root"} <= set(metadata["block-device-mapping"])
    assert result["seconds"] < 5, "nothing may cost a retry"


def test_a_second_boot_asks_nova_for_little(
    town: Any, clients: Any, facts: Any
) -> None:
    """cloud-init asks 28 times; soon after, Nova is asked only for what may not be
    kept, and the guest notices nothing.
    """
    town.register(town.guests["bob"])
    facts.check_openstack(clients.boot("bob").result(), "bob")
    assert len(town.nova.requests()) > 20
    town.nova.heal()
    facts.check_openstack(clients.boot("bob").result(), "bob")
    assert NEVER_KEPT == {one["path"] for one in town.nova.requests()}
