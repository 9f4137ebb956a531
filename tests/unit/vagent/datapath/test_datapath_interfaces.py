"""The agent's own interfaces: made, adopted, or somebody else's."""

from __future__ import annotations

from collections.abc import Coroutine
from ipaddress import IPv4Interface
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from vagent.datapath.interfaces import make_pair, remove_former, trouble_with_pair
from vagent.datapath.names import Names
from vagent.datapath.system import System
from vagent.errors import KernelError


class Host:
    """A host with these interfaces: name, and the name of what each is tied to."""

    def __init__(
        self, tied: dict[str, str], *, address: str = "", has_ipv6: bool = True
    ) -> None:
        self.tied = tied
        self.host_address = address
        self.has_ipv6 = has_ipv6
        self.down: set[str] = set()
        self.commands: list[str] = []
        self.settings: list[str] = []

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        del ipv6
        self.commands += batch.splitlines()

    def ifindex(self, name: str) -> int | None:
        names = [*self.tied]
        return 10 + names.index(name) if name in names else None

    def is_up(self, name: str) -> bool:
        return name not in self.down

    def linked(self, name: str) -> int:
        return self.ifindex(self.tied[name]) or 0

    def address(self, name: str) -> IPv4Interface | None:
        return IPv4Interface(self.host_address) if self.host_address else None

    def has_sysctl(self, key: str) -> bool:
        return self.has_ipv6 or "ipv6" not in key

    def write_sysctl(self, key: str, value: str) -> None:
        self.settings.append(f"{key}={value}")


PAIR = {"vagent0": "vagent1", "vagent1": "vagent0"}
OURS = "169.254.64.1/18"
MADE = "link add vagent0 mtu 65535 type veth peer name vagent1 mtu 65535"


def outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that does not wait returns or raises."""
    got: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(got.append)
    return got[0]


def pair(host: Host, names: Names) -> Any:
    """Make the veth pair on this host."""
    return outcome(make_pair(names, cast("System", host)))


def test_a_host_without_them_gets_the_pair(names: Names) -> None:
    """With the listener's address, and without IPv6 until that is known to work."""
    host = Host({})
    assert pair(host, names) is True
    assert MADE == host.commands[0]
    assert f"addr replace {OURS} dev vagent1" == host.commands[-2]
    assert "route replace 169.254.64.0/18 dev vagent1" in host.commands[-1]
    assert host.commands[-1].endswith(" mtu 1500")
    for side in ("vagent0", "vagent1"):
        assert f"net/ipv6/conf/{side}/disable_ipv6=1" in host.settings


def test_a_kernel_without_ipv6_has_nothing_to_switch_off(names: Names) -> None:
    """The key is not there then."""
    host = Host({}, has_ipv6=False)
    assert pair(host, names) is True
    assert not any("ipv6" in setting for setting in host.settings)


def test_the_pair_of_an_agent_before_is_used_on(names: Names) -> None:
    """No flow is interrupted: nothing is taken away, IPv6 stays as it is."""
    host = Host(PAIR, address=OURS)
    assert pair(host, names) is False
    assert not any("add vagent0" in each or "del" in each for each in host.commands)
    assert not any("ipv6" in setting for setting in host.settings)


@pytest.mark.parametrize("address", ["", "169.254.128.1/18"])
def test_a_pair_that_does_not_fit_is_made_anew(names: Names, address: str) -> None:
    """Half made, or of another identity range."""
    host = Host(PAIR, address=address)
    assert pair(host, names) is True
    assert ["link del vagent0", MADE] == host.commands[:2]


def test_an_interface_of_somebody_else_is_left_alone(names: Names) -> None:
    """It has our name, and is not tied to ours."""
    host = Host({"vagent0": "other", "other": "vagent0"})
    failed = pair(host, names)
    assert failed.check(KernelError)
    assert "interface vagent0 is not ours" in str(failed.value)
    assert [] == host.commands


def test_the_names_of_the_interfaces_that_it_makes(names: Names) -> None:
    """No guest can have one for its tap."""
    assert {"vagent0", "vagent1", "vagent2"} == names.interfaces


def test_what_an_earlier_version_made_beside_it_goes(names: Names) -> None:
    """If it is tied to the pair; another one of that name is somebody else's."""
    for there, commands in (
        (PAIR, []),
        (PAIR | {"vagent2": "vagent0"}, ["link del vagent2"]),
        (PAIR | {"vagent2": "eth0"}, []),
    ):
        host = Host(dict(there))
        outcome(remove_former(names, cast("System", host)))
        assert commands == host.commands


def trouble(host: Host, names: Names) -> str:
    return trouble_with_pair(names, cast("System", host))


def test_what_is_the_matter_with_the_pair(names: Names) -> None:
    """It is there, up, and has the listener's address; or it is said what is not."""
    host = Host(PAIR, address=OURS)
    assert "" == trouble(host, names)
    for side in ("vagent0", "vagent1"):
        host.down = {side}
        assert trouble(host, names).startswith(f"interface {side} is down: ")
        others = Host({name: "" for name in PAIR if name != side}, address=OURS)
        assert trouble(others, names).startswith(f"interface {side} is gone: ")
    for address in ("", "169.254.64.1/16"):
        said = trouble(Host(PAIR, address=address), names)
        assert f"the address {address or None}, not {OURS}" in said
