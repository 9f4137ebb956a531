"""The agent's own namespace and interfaces: made, adopted, or somebody else's."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from vagent.datapath.interfaces import (
    make_namespace,
    make_pairs,
    remove_all,
    trouble_with_pairs,
)
from vagent.datapath.names import Names
from vagent.datapath.system import System
from vagent.errors import KernelError
from vagent.kernel import namespace as named
from vagent.kernel.namespace import Namespace

OURS = "169.254.64.1/18"


class Side:
    """One network: its interfaces with their ifindex, and what each is tied to, here
    (`ties`) or in the other network (`ties_elsewhere`).
    """

    def __init__(self, interfaces: dict[str, int] | None = None) -> None:
        self.interfaces = interfaces or {}
        self.ties: dict[str, int] = {}
        self.ties_elsewhere: dict[str, int] = {}
        self.host_address = OURS
        self.has_ipv6 = True
        self.down: set[str] = set()
        self.commands: list[str] = []
        self.settings: list[str] = []

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        assert not ipv6
        for command in batch.splitlines():
            self.commands.append(command)
            words = command.split()
            if words[:2] == ["netns", "add"]:
                (named.NAMED / words[2]).touch()
            if words[:2] == ["netns", "del"]:
                (named.NAMED / words[2]).unlink()

    def ifindex(self, name: str) -> int | None:
        return self.interfaces.get(name)

    def is_up(self, name: str) -> bool:
        return name in self.interfaces and name not in self.down

    def linked(self, name: str) -> int:
        return self.ties.get(name, 0)

    def linked_elsewhere(self, name: str) -> int:
        return self.ties_elsewhere.get(name, 0)

    def address(self, name: str) -> IPv4Interface | None:
        assert name == "vagent1"
        return IPv4Interface(self.host_address) if self.host_address else None

    def has_sysctl(self, key: str) -> bool:
        return self.has_ipv6 or "ipv6" not in key

    def write_sysctl(self, key: str, value: str) -> None:
        assert self.has_sysctl(key)
        self.settings.append(f"{key}={value}")

    def changed(self) -> list[str]:
        """The commands that make or remove interfaces."""
        return [each for each in self.commands if each.startswith(LIFE)]


LIFE = ("link add", "link del")


class Both:
    """The host and the namespace, with both pairs of an earlier agent."""

    def __init__(self) -> None:
        self.host = Side({"vagent0": 10, "vagentu": 11})
        self.inside = Side({"vagent1": 20, "vagent2": 21})
        self.host.ties_elsewhere = {"vagent0": 20, "vagentu": 21}
        self.inside.ties_elsewhere = {"vagent1": 10, "vagent2": 11}

    @classmethod
    def bare(cls) -> Both:
        """Without interfaces of ours."""
        both = cls()
        both.host, both.inside = Side(), Side()
        return both

    def make(self, names: Names) -> Any:
        return outcome(make_pairs(names, *self.systems()))

    def trouble(self, names: Names) -> str:
        return trouble_with_pairs(names, *self.systems())

    def systems(self) -> tuple[System, System]:
        return cast("System", self.host), cast("System", self.inside)


def added(inner: str, outer: str) -> str:
    """The command that makes a pair, from inside."""
    return (
        f"link add {inner} mtu 65535 type veth"
        f" peer name {outer} mtu 65535 netns {os.getpid()}"
    )


def outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that does not wait returns or raises."""
    got: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(got.append)
    return got[0]


class Named(Namespace):
    """A namespace that needs no kernel: its file holds a word if it is one."""

    opened = 0

    def is_named(self) -> bool:
        return self.path.exists() and bool(self.path.read_text())

    def open(self) -> None:
        assert self.path.exists()
        self.opened += 1


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the names of namespaces."""
    monkeypatch.setattr(named, "NAMED", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("there", "commands"),
    [
        (None, ["netns add vagent"]),
        ("a namespace", []),
        ("", ["netns del vagent", "netns add vagent"]),
    ],
    ids=["not there", "there", "plain file"],
)
def test_the_namespace_is_made_or_adopted(
    names: Names, files: Path, there: str | None, commands: list[str]
) -> None:
    """And held. A plain file of its name, left of a mount namespace that has ended, is
    taken away first.
    """
    if there is not None:
        (files / "vagent").write_text(there)
    host, namespace = Side(), Named("vagent")
    assert outcome(make_namespace(names, cast("System", host), namespace)) is None
    assert (commands, 1) == (host.commands, namespace.opened)


def test_a_host_without_them_gets_both_pairs(names: Names) -> None:
    """From inside, each with its other end on the host; with the listener's address,
    and without IPv6 until that is known to work.
    """
    both = Both.bare()
    assert both.make(names) is True
    assert [] == both.host.changed()
    assert [added("vagent1", "vagent0"), added("vagent2", "vagentu")] == (
        both.inside.changed()
    )
    for side, interfaces in (
        (both.host, ("vagent0", "vagentu")),
        (both.inside, ("vagent1", "vagent2")),
    ):
        for interface in interfaces:
            assert f"net/ipv6/conf/{interface}/disable_ipv6=1" in side.settings
            assert any(
                each.startswith(f"link set {interface} ") and each.endswith(" up")
                for each in side.commands
            )


def test_addresses_and_routes_of_the_pairs(names: Names) -> None:
    """The listener's, and those of the uplink, by which the namespace has its only way
    out. The host has no route to identities.
    """
    both = Both.bare()
    both.make(names)
    settled = [each for each in both.inside.commands if not each.startswith("link")]
    assert [
        f"addr replace {OURS} dev vagent1",
        "route replace 169.254.64.0/18 dev vagent1 proto kernel scope link"
        " src 169.254.64.1 mtu 1500",
        "addr replace 169.254.0.1/31 dev vagent2",
        "route replace default via 169.254.0.0 dev vagent2",
    ] == settled
    assert ["addr replace 169.254.0.0/31 dev vagentu scope link"] == [
        each for each in both.host.commands if not each.startswith("link")
    ]


def test_the_host_reaches_guests_where_that_is_wanted(names: Names) -> None:
    """By the uplink, from the address that only the host has."""
    both = Both.bare()
    both.make(replace(names, host_to_guest=True))
    assert (
        "route replace 169.254.64.0/18 via 169.254.0.1 dev vagentu src 169.254.0.0"
        " mtu 1500"
    ) in both.host.commands


def test_only_the_uplink_forwards_on_the_host(names: Names) -> None:
    """And leads to loopback addresses; every other setting is the namespace's own."""
    both = Both.bare()
    both.host.has_ipv6 = False
    both.make(names)
    assert [
        "net/ipv4/conf/vagentu/route_localnet=1",
        "net/ipv4/conf/vagentu/forwarding=1",
    ] == both.host.settings
    assert {
        "net/ipv4/ip_forward=1",
        "net/ipv4/conf/all/rp_filter=0",
        "net/ipv4/conf/all/send_redirects=0",
        "net/netfilter/nf_conntrack_acct=1",
    } <= {*both.inside.settings}


def test_a_kernel_without_ipv6_has_nothing_to_switch_off(names: Names) -> None:
    """The key is not there then."""
    both = Both.bare()
    both.host.has_ipv6 = both.inside.has_ipv6 = False
    assert both.make(names) is True
    assert not any("ipv6" in each for each in both.host.settings + both.inside.settings)


def test_the_pairs_of_an_agent_before_are_used_on(names: Names) -> None:
    """No flow is interrupted: nothing is taken away, IPv6 stays as it is."""
    both = Both()
    assert both.make(names) is False
    assert [] == both.host.changed() + both.inside.changed()
    assert not any("ipv6" in each for each in both.host.settings + both.inside.settings)


@pytest.mark.parametrize("address", ["", "169.254.128.1/18"])
def test_a_pair_that_does_not_fit_is_made_anew(names: Names, address: str) -> None:
    """Half made, or of another identity range. The uplink stays."""
    both = Both()
    both.inside.host_address = address
    assert both.make(names) is True
    assert ["link del vagent0"] == both.host.changed()
    assert [added("vagent1", "vagent0")] == both.inside.changed()


@pytest.mark.parametrize(
    ("outer", "inner", "is_new"),
    [("vagent0", "vagent1", True), ("vagentu", "vagent2", False)],
)
def test_a_pair_that_is_half_there_is_made_anew(
    names: Names, outer: str, inner: str, *, is_new: bool
) -> None:
    """Its end in our own namespace can only be ours."""
    both = Both()
    del both.host.interfaces[outer]
    assert both.make(names) is is_new
    assert [f"link del {inner}", added(inner, outer)] == both.inside.changed()
    assert [] == both.host.changed()


@pytest.mark.parametrize(
    ("outer", "inner"), [("vagent0", "vagent1"), ("vagentu", "vagent2")]
)
@pytest.mark.parametrize(
    "how", ["tied to nothing", "tied to another", "inner tied elsewhere", "alone"]
)
def test_an_interface_of_somebody_else_is_left_alone(
    names: Names, outer: str, inner: str, how: str
) -> None:
    """It has our name, and is not tied to ours."""
    both = Both()
    if how == "tied to nothing":
        del both.host.ties_elsewhere[outer]
    elif how == "tied to another":
        both.host.ties_elsewhere[outer] = 99
    elif how == "inner tied elsewhere":
        both.inside.ties_elsewhere[inner] = 99
    else:
        del both.inside.interfaces[inner]
    failed = both.make(names)
    assert isinstance(failed, Failure)
    assert failed.check(KernelError)
    assert f"interface {outer} is not ours, as it is not tied to {inner}" in str(
        failed.value
    )
    assert [] == both.host.changed() + both.inside.changed()


def former(to: dict[str, int]) -> Both:
    """A host with both ends of a pair, and what each is tied to."""
    both = Both.bare()
    both.host = Side({"vagent0": 10, "vagent1": 12})
    both.host.ties = to
    return both


def test_the_pair_of_an_earlier_version_goes(names: Names) -> None:
    """It had both ends on the host."""
    both = former({"vagent0": 12, "vagent1": 10})
    both.make(names)
    assert ["link del vagent0"] == both.host.changed()


@pytest.mark.parametrize(
    "ties",
    [{}, {"vagent0": 12, "vagent1": 99}, {"vagent0": 99, "vagent1": 10}],
    ids=["none", "one way", "the other way"],
)
def test_what_is_no_pair_of_an_earlier_version_stays(
    names: Names, ties: dict[str, int]
) -> None:
    """Interfaces of somebody else that have its names."""
    both = former(ties)
    assert isinstance(both.make(names), Failure)
    assert [] == both.host.changed()


def test_the_names_of_the_interfaces_that_it_makes(names: Names) -> None:
    """No guest can have one for its tap, nor one that an earlier version made."""
    assert {"vagent0", "vagent1", "vagent2", "vagentu"} == names.interfaces


def test_what_is_the_matter_with_the_pairs(names: Names) -> None:
    """All four ends are there and up; or it is said what is not."""
    assert "" == Both().trouble(names)
    for name in names.interfaces:
        both = Both()
        side = both.host if name in both.host.interfaces else both.inside
        side.down = {name}
        assert both.trouble(names).startswith(f"interface {name} is down: ")
        del side.interfaces[name]
        assert both.trouble(names).startswith(f"interface {name} is gone: ")


@pytest.mark.parametrize("address", ["", "169.254.64.1/16"])
def test_the_listeners_address_may_be_the_matter(names: Names, address: str) -> None:
    """Gone, or of another range."""
    both = Both()
    both.inside.host_address = address
    assert f"the address {address or None}, not {OURS}" in both.trouble(names)


@pytest.mark.parametrize(
    ("there", "commands"),
    [
        (["vagent0", "vagentu"], ["link del vagent0", "link del vagentu"]),
        (["vagentu"], ["link del vagentu"]),
        ([], []),
    ],
)
@pytest.mark.parametrize("has_namespace", [False, True])
def test_all_is_removed_as_far_as_it_is_there(
    names: Names,
    files: Path,
    there: list[str],
    commands: list[str],
    *,
    has_namespace: bool,
) -> None:
    """The ends on the host take the other ends along."""
    host = Side(dict.fromkeys(there, 10))
    if has_namespace:
        (files / "vagent").touch()
    assert outcome(remove_all(names, cast("System", host))) is None
    assert commands + ["netns del vagent"] * has_namespace == host.commands


def test_a_namespace_that_may_not_be_removed_stays(names: Names, files: Path) -> None:
    """As in a unit's sandbox, where its name is read-only; a stop is clean then."""

    class Sandboxed(Side):
        async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
            if batch.startswith("netns"):
                raise KernelError("read-only file system")
            await super().run_ip(batch, ipv6=ipv6)

    (files / "vagent").touch()
    host = Sandboxed({names.guest_side: 10})
    assert outcome(remove_all(names, cast("System", host))) is None
    assert ["link del vagent0"] == host.commands
