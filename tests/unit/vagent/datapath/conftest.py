"""Values that the data path's tests share."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vagent.config.model import DataPathConfig
from vagent.datapath.names import Names
from vagent.datapath.state import Attachment
from vagent.linklocal.service import LinkLocalService

CONFIG = DataPathConfig()
ALICE = Attachment(
    index=2,
    identity=IPv4Address("169.254.64.2"),
    tap="tap-alice",
    ifindex=11,
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.5"),
)


@pytest.fixture
def names() -> Names:
    """The default names."""
    return Names.of(CONFIG, listener_port=8097, guest_rate=1000)


@pytest.fixture
def alice() -> Attachment:
    """A guest."""
    return ALICE


@pytest.fixture
def bob() -> Attachment:
    """Another guest with the same address at another tap."""
    return replace(
        ALICE,
        index=3,
        identity=IPv4Address("169.254.64.3"),
        tap="tap-bob",
        ifindex=12,
        mac="02:00:00:00:00:02",
    )


@pytest.fixture
def metadata() -> LinkLocalService:
    """The metadata service as it is usually provisioned."""
    return LinkLocalService(
        "metadata",
        IPv4Address("169.254.169.254"),
        80,
        (IPv4Address("192.0.2.1"),),
        8775,
    )


@pytest.fixture
def dns() -> LinkLocalService:
    """A service with two endpoints."""
    return LinkLocalService(
        "dns",
        IPv4Address("169.254.1.53"),
        53,
        (IPv4Address("192.0.2.53"), IPv4Address("192.0.2.54")),
        53,
    )
