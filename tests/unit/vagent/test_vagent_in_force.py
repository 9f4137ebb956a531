"""Promises of vagent.in_force."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.datapath.datapath import DataPath
from vagent.errors import KernelError, StoreError
from vagent.in_force import NAMES_DEADLINE, NO_FABRIC, ServicesInForce
from vagent.linklocal.codec import KIND, OBJECT_ID, PROPERTY, encode_entry
from vagent.linklocal.resolution import DnsAnswer, NameFollower
from vagent.linklocal.service import LinkLocalService
from vagent.linklocal.watcher import ServiceWatcher
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

NTP = LinkLocalService(
    "ntp", IPv4Address("169.254.1.1"), 123, (IPv4Address("192.0.2.1"),), 123
)
BY_NAME = replace(NTP, fabric_addresses=(), fabric_dns_name="ntp.example")


class Path:
    """A data path that settles, refuses and leaves out as it is told."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.settled = 0
        self.why_not = ""

    async def settle(self) -> None:
        self.settled += 1
        if self.refusals:
            raise KernelError(self.refusals.pop(0))

    def why_not_served(self, service: LinkLocalService) -> str:
        return self.why_not


class World:
    """Services in force, and all that they depend on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.path = Path()
        self.store = MemoryStore()
        self.events: list[Event] = []
        self.lookup: Deferred[DnsAnswer] = Deferred()
        self.follower = NameFollower(
            self._look_up, lambda _: None, emit=self.events.append, clock=self.clock
        )
        self.watcher = ServiceWatcher(
            self.store, self.follower.follow, self.events.append
        )
        self.watcher.start()
        self.in_force = ServicesInForce(
            self.watcher,
            self.follower,
            cast("DataPath", self.path),
            clock=self.clock,
        )

    async def _look_up(self, _name: str, _version: int) -> DnsAnswer:
        return await self.lookup

    def provision(self, *services: LinkLocalService) -> None:
        entries = [encode_entry(service) for service in services]
        value: dict[str, Any] = {PROPERTY: {"linklocal_service_entry": entries}}
        Deferred.fromCoroutine(
            self.store.put(KIND, OBJECT_ID, value, expected=None)
        ).addErrback(lambda failed: failed.raiseException())

    def settle(self) -> list[object]:
        """What came of waiting: None, an exception, or nothing yet."""
        found: list[object] = []
        done = Deferred.fromCoroutine(self.in_force.settle())
        done.addCallbacks(found.append, lambda failed: found.append(failed.value))
        return found

    def why(self) -> list[str]:
        return [str(each) for each in self.in_force.not_in_force()]


@pytest.fixture
def world() -> World:
    return World()


def test_a_change_is_in_force_when_the_kernel_has_it(world: World) -> None:
    """The table has been read, and the data path has settled."""
    world.provision(NTP)
    assert [None] == world.settle()
    assert 1 == world.path.settled
    assert [] == world.why()


def test_a_list_that_cannot_be_read_is_an_error(world: World) -> None:
    """What is in force then is not what was written."""
    world.store.broken = "disk on fire"
    world.watcher._refresh()
    (failure,) = world.settle()
    assert isinstance(failure, StoreError)
    assert "disk on fire" in str(failure)
    assert 0 == world.path.settled


def test_one_refusal_is_tried_again_and_two_are_an_error(world: World) -> None:
    """The first may be the fault of a tap that has just gone."""
    world.path.refusals = ["no"]
    assert [None] == world.settle()
    world.path.refusals = ["no", "no again"]
    assert ["no again"] == [str(failure) for failure in world.settle()]


def test_the_first_look_up_of_a_name_is_waited_for(world: World) -> None:
    """So a service by name is in force as well, when its name has an answer."""
    world.provision(BY_NAME)
    done = world.settle()
    assert [] == done
    assert ["ntp: unresolved: ntp.example has no address: it is being looked up"] == (
        world.why()
    )
    world.lookup.callback(DnsAnswer((IPv4Address("192.0.2.9"),), 60.0))
    assert [None] == done
    assert [] == world.why()


def test_a_name_without_an_answer_is_no_error(world: World) -> None:
    """Contrail takes it; why it is not in force is said."""
    world.provision(BY_NAME)
    done = world.settle()
    world.clock.advance(NAMES_DEADLINE)
    assert [None] == done
    world.lookup.errback(OSError("name server is away"))
    assert ["ntp: unresolved: ntp.example has no address: name server is away"] == (
        world.why()
    )


def test_what_guests_cannot_use_is_listed_with_the_reason(world: World) -> None:
    """Entries left out, services without an endpoint, and what the kernel lacks."""
    nowhere = replace(NTP, name="metadata", port=80, fabric_addresses=())
    world.provision(NTP, replace(NTP, name="copy"), nowhere)
    world.path.why_not = "the kernel does not have it yet"
    assert [
        "copy: duplicate: 169.254.1.1 port 123 belongs to ntp",
        f"metadata: not-served: {NO_FABRIC}",
        "ntp: not-served: the kernel does not have it yet",
    ] == world.why()
