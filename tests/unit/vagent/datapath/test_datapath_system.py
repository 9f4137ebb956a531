"""The seam to the operating system works in its own network, and only while it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.walks.machine import Machine, at_once
from vagent.datapath.system import LinuxSystem
from vagent.kernel.ip_packet import UDP, OpeningPacket


class Network:
    """Counts how often it is entered; nobody is inside twice."""

    def __init__(self) -> None:
        self.is_inside = False
        self.times = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        assert not self.is_inside
        self.is_inside, self.times = True, self.times + 1
        try:
            yield
        finally:
            self.is_inside = False


class Spawning(Machine):
    """A reactor that sees where children start."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def spawnProcess(self, child: Any, *more: object, **named: object) -> Any:
        assert self.network.is_inside
        return super().spawnProcess(child, *more, **named)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def system(network: Network) -> LinuxSystem:
    """In that network."""
    machine: Any = Spawning(network)
    return LinuxSystem(
        reactor=machine, clock=machine, run_in_thread=at_once, network=network
    )


LOOPBACK = "net/ipv4/conf/lo/forwarding"
ASKED: dict[str, Callable[[LinuxSystem], object]] = {
    "ifindex": lambda system: system.ifindex("lo"),
    "is_up": lambda system: system.is_up("lo"),
    "mtu": lambda system: system.mtu("lo"),
    "mac": lambda system: system.mac("lo"),
    "linked": lambda system: system.linked("lo"),
    "linked_elsewhere": lambda system: system.linked_elsewhere("lo"),
    "has_sysctl": lambda system: system.has_sysctl(LOOPBACK),
    "read_sysctl": lambda system: system.read_sysctl(LOOPBACK),
    "find_flow": lambda system: system.find_flow(OpeningPacket(UDP, 1, 2, 3, 4)),
    "nft_generation": lambda system: system.nft_generation(),
    "end_flows": lambda system: Deferred.fromCoroutine(system.end_flows(1, 1)),
    "transact": lambda system: Deferred.fromCoroutine(system.transact([])),
    "run_ip": lambda system: Deferred.fromCoroutine(system.run_ip("link\n")),
    "run_nft": lambda system: Deferred.fromCoroutine(system.run_nft("list\n")),
}


@pytest.mark.parametrize("name", ASKED)
def test_every_question_is_asked_inside(
    system: LinuxSystem, network: Network, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the thread is outside again before anything waits."""

    def answer(*_: object) -> bytes:
        assert network.is_inside
        return b""

    room = "vagent.datapath.system"
    for each in ("ask", "transact", "transact_batch"):
        monkeypatch.setattr(f"{room}.netlink.{each}", answer)
    monkeypatch.setattr(f"{room}.generation_in", lambda _: 7)
    monkeypatch.setattr(f"{room}.nf_tables.refusal", lambda *_: "")
    ASKED[name](system)
    assert (1, False) == (network.times, network.is_inside)


def test_an_interface_that_is_not_there_leaves_nobody_inside(
    system: LinuxSystem, network: Network
) -> None:
    """Its error is raised inside, and told outside."""
    assert system.ifindex("nobody") is None
    assert system.mtu("nobody") is None
    assert (2, False) == (network.times, network.is_inside)
