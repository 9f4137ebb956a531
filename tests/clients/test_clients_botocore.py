"""botocore in a guest: its fetchers of instance metadata, through the whole path."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.system


@pytest.mark.parametrize("upstream", ["nova", "embedded"])
def test_it_falls_back_to_imdsv1(town: Any, clients: Any, upstream: str) -> None:
    """No session tokens and no role: no credentials, no error; the region is known."""
    town.provision(upstream)
    found = clients.python("alice", "botocore_ask.py")
    assert {} == found["credentials"]
    assert "zone-1" == found["region"]


def test_what_it_asks_of_nova(town: Any, clients: Any) -> None:
    """Documents; its tokens are the proxy's business, which gives them where they are
    optional, as here.
    """
    town.register(town.guests["alice"])
    clients.python("alice", "botocore_ask.py")
    asked = [(one["method"], one["path"]) for one in town.nova.requests()]
    assert {"GET"} == {method for method, _path in asked}
    assert ("GET", "/latest/meta-data/iam/security-credentials/") in asked
