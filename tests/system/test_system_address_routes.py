"""Routes to single addresses, in the kernel, as iproute2 sees them."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from lab.namespaces import Machine, inside
from vagent.errors import KernelError
from vagent.kernel.rtnl_route import (
    AddressRoute,
    delete_address_routes,
    set_address_routes,
)

pytestmark = pytest.mark.kernel

RANGE, RANGE6 = "169.254.64.0/18", "fd00:64::/32"
LISTENER = IPv4Address("169.254.64.1")
GUEST, GUEST6 = ip_address("169.254.64.2"), ip_address("fd00:64:0:2::1")


class Host:
    """A machine with an interface that has the routes of both ranges."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.ip("link", "add", "near", "mtu", "65535", "type", "veth", "peer", "far")
        self.ip("link", "set", "far", "up")
        self.ip("link", "set", "near", "up")
        self.ip("addr", "add", f"{LISTENER}/18", "dev", "near")
        self.ip("-6", "route", "add", RANGE6, "dev", "near", "mtu", "1500")
        self.ifindex = inside(machine.name, lambda: socket.if_nametoindex("near"))

    def ip(self, *argv: str) -> str:
        return self.machine.run("ip", *argv)

    def set(self, *routes: AddressRoute) -> None:
        inside(self.machine.name, lambda: set_address_routes(routes))

    def delete(
        self, addresses: Collection[IPv4Address | IPv6Address], ifindex: int
    ) -> None:
        inside(self.machine.name, lambda: delete_address_routes(addresses, ifindex))

    def routes(self, family: str) -> dict[str, tuple[int, str]]:
        """MTU and source of each route to one address by way of the interface."""
        told = json.loads(self.ip("-j", family, "route", "show", "dev", "near"))
        return {
            each["dst"]: (each["metrics"][0]["mtu"], each.get("prefsrc", ""))
            for each in told
            if "/" not in each["dst"]
        }


@pytest.fixture
def host() -> Iterator[Host]:
    """In a machine of its own."""
    machine = Machine.create("vt-routes")
    yield Host(machine)
    machine.destroy()


def test_routes_of_both_families_come_change_and_go(host: Host) -> None:
    """With MTU and source; the routes of the ranges stay."""
    there = host.ip("route", "show", RANGE), host.ip("-6", "route", "show", RANGE6)
    host.set(
        AddressRoute(GUEST, host.ifindex, 9000, LISTENER),
        AddressRoute(GUEST6, host.ifindex, 1280),
    )
    assert {str(GUEST): (9000, str(LISTENER))} == host.routes("-4")
    assert {str(GUEST6): (1280, "")} == host.routes("-6")
    host.set(
        AddressRoute(GUEST, host.ifindex, 1280, LISTENER),
        AddressRoute(GUEST6, host.ifindex, 9000),
    )
    assert {str(GUEST): (1280, str(LISTENER))} == host.routes("-4")
    assert {str(GUEST6): (9000, "")} == host.routes("-6")
    for _ in range(2):  # what is not there is no error
        host.delete([GUEST, GUEST6], host.ifindex)
        assert ({}, {}) == (host.routes("-4"), host.routes("-6"))
    after = host.ip("route", "show", RANGE), host.ip("-6", "route", "show", RANGE6)
    assert there == after


def test_a_route_by_way_of_another_interface_is_not_ours(host: Host) -> None:
    """It stays, as does one where the interface has gone."""
    host.set(
        AddressRoute(GUEST, host.ifindex, 9000),
        AddressRoute(GUEST6, host.ifindex, 9000),
    )
    host.delete([GUEST, GUEST6], 1)
    host.delete([GUEST, GUEST6], host.ifindex + 1000)
    assert [str(GUEST)] == [*host.routes("-4")]
    assert [str(GUEST6)] == [*host.routes("-6")]


def test_one_that_is_refused_is_named_and_the_others_are_set(host: Host) -> None:
    """At most three by name, however many."""
    gone = host.ifindex + 1000
    wrong = [AddressRoute(GUEST + each, gone, 9000) for each in range(1, 6)]
    with pytest.raises(KernelError) as failure:
        host.set(*wrong, AddressRoute(GUEST, host.ifindex, 9000))
    assert str(failure.value) == (
        "route to 169.254.64.3: the kernel says ENODEV (No such device);"
        " 169.254.64.4: the kernel says ENODEV (No such device);"
        " 169.254.64.5: the kernel says ENODEV (No such device); 2 more"
    )
    assert [str(GUEST)] == [*host.routes("-4")]


def test_more_than_a_batch_holds(host: Host) -> None:
    """All of them come and go, and one in the second batch is named if refused."""
    guests = [GUEST + each for each in range(1, 2502)]
    host.set(*(AddressRoute(each, host.ifindex, 9000) for each in guests))
    assert {str(each) for each in guests} == host.routes("-4").keys()
    with pytest.raises(KernelError, match=f"route to {guests[-1]}: the kernel says"):
        host.set(
            *(AddressRoute(each, host.ifindex, 1280) for each in guests[:-1]),
            AddressRoute(guests[-1], host.ifindex + 1000, 1280),
        )
    host.delete(guests, host.ifindex)
    assert {} == host.routes("-4")
