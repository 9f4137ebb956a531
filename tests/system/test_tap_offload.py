"""Checksums that a sender leaves to the interface, as guests' drivers do: what is
computed later is right, whoever computes it.

A namespace's interfaces never compute one, and the receiver trusts them. So one of them
is told that it cannot: the kernel computes there, and the receiver checks.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import Any

import pytest

from lab.fabric import Fabric
from lab.namespaces import inside
from tests.system.test_system_fast_path import datagrams, exchange, started, stream
from tests.system.test_system_ipv6 import EC2, LINK_LOCAL, alice, ask6

pytestmark = [pytest.mark.system, pytest.mark.kernel]

_ETHTOOL, _READ, _SET = 0x8946, 0x16, 0x17
"""SIOCETHTOOL; ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM (linux/ethtool.h)."""


def told(interface: str, command: int) -> int:
    """Give ethtool's command with the value 0; the value afterwards."""
    value = array.array("B", struct.pack("=II", command, 0))
    request = struct.pack("16sQ", interface.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _ETHTOOL, request)
    return int(struct.unpack("=II", value.tobytes())[1])


def compute_at(site: Any, guest: Any, where: str) -> None:
    """Let checksums be computed by what is sent out of this interface."""
    machine, interface = {
        "guest": (guest.machine, "eth0"),
        "tap": (site.lab.host, guest.tap),
        "pair": (site.lab.host, "vagent0"),
        "inside": (site.agent.data_path, "vagent1"),
    }[where]
    assert inside(machine.name, lambda: told(interface, _READ)) == 1
    inside(machine.name, lambda: told(interface, _SET))
    assert inside(machine.name, lambda: told(interface, _READ)) == 0


@pytest.mark.parametrize("where", ["guest", "tap", "pair", "inside"])
def test_checksums_are_right_wherever_they_are_computed(
    idle_site: Any, fabric: Fabric, where: str
) -> None:
    """TCP and UDP over IPv4."""
    for site in started(idle_site, fabric, "false"):
        compute_at(site, site.guest, where)
        with datagrams(site.guest) as connection:
            assert exchange(connection)
        with stream(site.guest) as connection:
            assert exchange(connection)


@pytest.mark.parametrize("where", ["guest", "tap", "pair", "inside"])
def test_checksums_of_ipv6_are_right_wherever_they_are_computed(
    site: Any, where: str
) -> None:
    """By the registered address, and by the link-local one."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    compute_at(site, guest, where)
    for service in (EC2, LINK_LOCAL):
        assert "I am alice\n" == ask6(guest, "/latest/user-data", service=service)
