"""Session tokens required: real clients that speak IMDSv2, through the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.agent import port_add

pytestmark = pytest.mark.system

UPSTREAMS = ("nova", "embedded")
NAME = "alice"


@pytest.fixture(autouse=True)
def required(town: Any) -> Iterator[None]:
    """One port's tokens are required, nobody else's."""
    guest = town.guests[NAME]
    town.register(guest)
    town.agent.tool(*port_add(guest), "--session-tokens", "required")
    yield
    town.agent.tool(*port_add(guest), "--session-tokens", "default")


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_botocore_with_imdsv1_disabled(town: Any, clients: Any, upstream: str) -> None:
    """Its fetchers get a token from us and read with it; they may not do without."""
    town.provision(upstream)
    assert 401 == clients.curl(NAME, "/latest/meta-data/")[0]
    found = clients.python(NAME, "botocore_ask.py", "v2")
    assert {"credentials": {}, "region": "zone-1"} == found
    asked = [(one["method"], one["path"]) for one in town.nova.requests()]
    assert "PUT" not in {method for method, _ in asked}
    read = ("GET", "/latest/meta-data/placement/availability-zone/")
    assert (upstream == "nova") == (read in asked)


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_ec2_datasource_on_amazon(
    town: Any, clients: Any, facts: Any, upstream: str
) -> None:
    """cloud-init asks for a token first, then for the tree. That Nova has no identity
    document, as Amazon has, costs it retries (5 s each), and no more.
    """
    town.provision(upstream)
    result = clients.boot(NAME, "Ec2-aws").result()
    facts.check(result, NAME)
    assert facts[NAME]["address"] == result["metadata"]["local-ipv4"]
    assert upstream == "nova" or result["seconds"] < 5
    assert "PUT" not in {one["method"] for one in town.nova.requests()}


def test_the_openstack_datasource_knows_no_tokens(
    town: Any, clients: Any, facts: Any
) -> None:
    """It finds nothing where they are required; its neighbour is not asked for one."""
    assert not clients.boot(NAME).result()["found"]
    facts.check_openstack(clients.boot("bob").result(), "bob")
    assert 401 == clients.curl(NAME, "/openstack")[0]
