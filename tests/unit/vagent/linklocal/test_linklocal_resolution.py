"""Names of fabric services: asked for by TTL, kept through failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.linklocal.events import NameNotUsed, NameUnresolved
from vagent.linklocal.own_servers import OwnServer, OwnServers
from vagent.linklocal.resolution import (
    LOOKUP_DEADLINE,
    MAX_ADDRESSES,
    MAX_TTL,
    MIN_TTL,
    RETRY_AFTER,
    DnsAnswer,
    NameFollower,
)
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Event

ONE, TWO = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
OURS = IPv4Address("127.0.0.1")
NTP = LinkLocalService("ntp", IPv4Address("169.254.1.1"), 123, (), 123, "ntp.example")


class Names:
    """A follower, what it asked, and what it told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[str] = []
        self.told: list[tuple[LinkLocalService, ...]] = []
        self.events: list[Event] = []
        self.answer: DnsAnswer | Exception | Deferred[DnsAnswer] = DnsAnswer(
            (ONE,), 60.0
        )
        self.follower = NameFollower(
            self.lookup,
            self.told.append,
            emit=self.events.append,
            clock=self.clock,
            own=OwnServers([OwnServer("the config API", OURS, 123)]),
        )

    async def lookup(self, name: str, version: int) -> DnsAnswer:
        self.asked.append(name if version == 4 else f"{name} {version}")
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Deferred):
            return await self.answer
        return self.answer

    def addresses(self) -> tuple[object, ...]:
        """Of the one service that was told last."""
        return self.told[-1][0].fabric_addresses


@pytest.fixture
def names() -> Iterator[Names]:
    """No timer may be left after `stop`."""
    made = Names()
    yield made
    made.follower.stop()
    assert [] == made.clock.getDelayedCalls()


def test_a_name_is_resolved(names: Names) -> None:
    """The service is told without addresses at once, and with them as soon as known."""
    names.follower.follow([NTP])
    assert [(), (ONE,)] == [told[0].fabric_addresses for told in names.told]


@pytest.mark.parametrize(
    "service",
    [
        replace(NTP, fabric_addresses=(TWO,)),
        replace(NTP, fabric_dns_name=""),
        replace(NTP, name="metadata"),
    ],
    ids=["has addresses", "has no name", "is the proxy's own"],
)
def test_others_are_not_asked_for(names: Names, service: LinkLocalService) -> None:
    """Addresses come before the name, as in Contrail; the proxy asks for itself."""
    names.follower.follow([service])
    assert [] == names.asked
    assert [(service,)] == names.told


@pytest.mark.parametrize(
    ("ttl", "after"), [(60.0, 60.0), (0.0, MIN_TTL), (86_400.0, MAX_TTL)]
)
def test_it_is_asked_for_again_by_its_ttl(
    names: Names, ttl: float, after: float
) -> None:
    """Not before, and within bounds."""
    names.answer = DnsAnswer((ONE,), ttl)
    names.follower.follow([NTP])
    names.clock.advance(after - 0.1)
    assert 1 == len(names.asked)
    names.answer = DnsAnswer((TWO,), ttl)
    names.clock.advance(0.1)
    assert (TWO,) == names.addresses()


@pytest.mark.parametrize("failure", [OSError("no server"), DnsAnswer((), 60.0)])
def test_the_last_good_answer_stays(
    names: Names, failure: DnsAnswer | Exception
) -> None:
    """A failure, or an answer without addresses, changes nothing and is told."""
    names.follower.follow([NTP])
    names.answer = failure
    names.clock.advance(60.0)
    assert (ONE,) == names.addresses()
    assert isinstance(names.events[-1], NameUnresolved)
    assert names.events[-1].has_answer
    names.answer = DnsAnswer((TWO,), 60.0)
    names.clock.advance(RETRY_AFTER)
    assert (TWO,) == names.addresses()


def test_the_same_answer_is_no_change(names: Names) -> None:
    """Order does not matter; flows' endpoints are not touched."""
    names.answer = DnsAnswer((TWO, ONE), 60.0)
    names.follower.follow([NTP])
    told = len(names.told)
    names.answer = DnsAnswer((ONE, TWO), 60.0)
    names.clock.advance(60.0)
    assert told == len(names.told)


def test_a_look_up_has_a_deadline(names: Names) -> None:
    """A resolver that never answers is asked again later."""
    names.answer = Deferred()
    names.follower.follow([NTP])
    names.clock.advance(LOOKUP_DEADLINE)
    names.answer = DnsAnswer((ONE,), 60.0)
    names.clock.advance(RETRY_AFTER)
    assert (ONE,) == names.addresses()


def test_a_name_that_is_not_wanted_any_more_is_forgotten(names: Names) -> None:
    """Also while it is being asked for."""
    names.answer = Deferred()
    names.follower.follow([NTP])
    names.follower.follow([])
    assert [] == names.clock.getDelayedCalls()
    assert () == names.told[-1]
    names.clock.advance(MAX_TTL)
    assert 1 == len(names.asked)


def test_a_change_of_the_list_does_not_ask_again(names: Names) -> None:
    """A name that stays keeps its answer and its timer."""
    names.follower.follow([NTP])
    names.follower.follow([replace(NTP, port=1123)])
    assert 1 == len(names.asked)
    assert (ONE,) == names.addresses()


def test_addresses_have_a_ceiling(names: Names) -> None:
    """However many a name has."""
    many = tuple(IPv4Address(0xC0000000 + i) for i in range(MAX_ADDRESSES + 1))
    names.answer = DnsAnswer(many, 60.0)
    names.follower.follow([NTP])
    assert MAX_ADDRESSES == len(names.addresses())


def test_a_service_at_an_ipv6_address_goes_to_ipv6_addresses(names: Names) -> None:
    """One name, asked for in each family that a service has an address of."""
    six = replace(NTP, name="ntp6", address=IPv6Address("fd00::1"))
    names.follower.follow([NTP, six])
    assert {"ntp.example", "ntp.example 6"} == set(names.asked)


def test_asked_waits_until_every_name_was_looked_up_once(names: Names) -> None:
    """With an answer or without; later look-ups are not waited for."""
    first = names.answer = Deferred[DnsAnswer]()
    names.follower.follow([NTP])
    waiting = Deferred.fromCoroutine(names.follower.asked())
    done: list[None] = []
    waiting.addCallback(done.append)
    assert [] == done
    first.errback(OSError("away"))
    assert [None] == done
    names.answer = Deferred()
    names.clock.advance(RETRY_AFTER)
    assert Deferred.fromCoroutine(names.follower.asked()).called


def test_asked_does_not_wait_for_a_name_that_went(names: Names) -> None:
    """Nor does anybody wait for ever."""
    names.answer = Deferred()
    names.follower.follow([NTP])
    waiting = Deferred.fromCoroutine(names.follower.asked())
    names.follower.follow([])
    assert waiting.called


def test_why_a_name_has_no_addresses(names: Names) -> None:
    """Nothing is said of services that have addresses, or a last good answer."""
    names.answer = OSError("away")
    names.follower.follow([NTP])
    assert "ntp.example has no address: away" == names.follower.why_unresolved(NTP)
    named = replace(NTP, fabric_addresses=(ONE,))
    assert "" == names.follower.why_unresolved(replace(named, fabric_dns_name=""))
    names.answer = DnsAnswer((ONE,), 60.0)
    names.clock.advance(RETRY_AFTER)
    assert "" == names.follower.why_unresolved(NTP)


def test_an_address_that_is_an_own_server_is_not_used(names: Names) -> None:
    """Others of the name are; it is said once, and again after it was well."""
    names.answer = DnsAnswer((OURS, ONE), 60.0)
    names.follower.follow([NTP])
    assert (ONE,) == names.addresses()
    assert "" == names.follower.why_unresolved(NTP)

    def said() -> list[str]:
        return [each.text() for each in names.events if isinstance(each, NameNotUsed)]

    (text,) = said()
    assert "Service ntp: ntp.example is not used: fabric address 127.0.0.1" in text
    names.follower.follow([NTP])
    assert 1 == len(said())
    for answer in ((TWO,), (OURS,)):
        names.answer = DnsAnswer(answer, 60.0)
        names.clock.advance(60.0)
    assert 2 == len(said())


def test_a_name_that_is_an_own_server_alone_says_so(names: Names) -> None:
    """The service has no address, and why."""
    names.answer = DnsAnswer((OURS,), 60.0)
    names.follower.follow([NTP])
    assert () == names.addresses()
    why = names.follower.why_unresolved(NTP)
    assert why.startswith("ntp.example: fabric address 127.0.0.1 port 123 is the ")


@pytest.mark.parametrize("host", ["0.0.0.0", "255.255.255.255", "224.0.0.5"])
def test_an_address_where_no_server_can_be_is_not_used(names: Names, host: str) -> None:
    """Others of the name are. Where there is none the service says why."""
    names.answer = DnsAnswer((IPv4Address(host), ONE), 60.0)
    names.follower.follow([NTP])
    assert (ONE,) == names.addresses()
    assert any(host in e.text() for e in names.events if isinstance(e, NameNotUsed))
    names.answer = DnsAnswer((IPv4Address(host),), 60.0)
    names.clock.advance(60.0)
    assert () == names.addresses()
    why = names.follower.why_unresolved(NTP)
    assert why.startswith(f"ntp.example: fabric address {host} port 123 is ")
