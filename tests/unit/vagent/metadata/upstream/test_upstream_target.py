"""Where requests go: the endpoints of a service, and how they are named."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from vagent.linklocal.service import LinkLocalService
from vagent.metadata.upstream.target import HostPort, Target, target_of


def service(*addresses: str, name: str = "") -> LinkLocalService:
    return LinkLocalService(
        name="metadata",
        address=IPv4Address("169.254.169.254"),
        port=80,
        fabric_addresses=tuple(IPv4Address(one) for one in addresses),
        fabric_port=8775,
        fabric_dns_name=name,
    )


@pytest.mark.parametrize(
    ("given_service", "expected"),
    [
        (
            service("10.0.0.1", "10.0.0.2", "10.0.0.1"),
            Target((HostPort("10.0.0.1", 8775), HostPort("10.0.0.2", 8775)), ""),
        ),
        (
            service("10.0.0.1", name="nova"),
            Target((HostPort("10.0.0.1", 8775),), "nova"),
        ),
        (service(name="nova"), Target((HostPort("nova", 8775),), "nova")),
        (service(), Target((), "")),
    ],
)
def test_target_of(given_service: LinkLocalService, expected: Any) -> None:
    """Addresses first; a name alone is resolved later; neither is no endpoint."""
    assert expected == target_of(given_service)


def test_host_and_port() -> None:
    """How endpoints look, and what their certificate is for."""
    assert "[fd00::1]:80" == str(HostPort("fd00::1", 80))
    assert "nova:80" == str(HostPort("nova", 80))
    assert "10.0.0.1" == Target((), "").name_of(HostPort("10.0.0.1", 80))
    assert "nova" == Target((), "nova").name_of(HostPort("10.0.0.1", 80))
    assert (True, True, False) == tuple(
        HostPort(host, 1).is_address for host in ("10.0.0.1", "fd00::1", "nova")
    )
