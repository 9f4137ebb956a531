"""Finds the fabric addresses of services that are provisioned by a DNS name.

A name is looked up again when its TTL has passed. If that fails the last good answer
stays in force (Contrail clears it), and the name is looked up again soon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.linklocal.events import NameNotUsed, NameResolved, NameUnresolved
from vagent.linklocal.own_servers import OwnServers
from vagent.linklocal.service import LinkLocalService
from vagent.observe.event import Emit

Address = IPv4Address | IPv6Address

MIN_TTL = 5.0
"""Seconds for which an answer holds at least, also one with a TTL of 0."""
MAX_TTL = 900.0
"""Seconds for which an answer holds at most. Contrail asks every 900 s whatever the
TTL; so a wrong answer with a long TTL goes within the time that operators know."""
RETRY_AFTER = 10.0
"""Seconds from a failed look-up to the next one."""
LOOKUP_DEADLINE = 15.0
"""Seconds for one look-up, with the retries of the resolver."""
MAX_ADDRESSES = 64
"""Addresses of one name that are used: as many as an entry may list itself."""


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What a name resolved to, and for how many seconds that holds."""

    addresses: tuple[Address, ...]
    ttl: float


Lookup = Callable[[str, int], Awaitable[DnsAnswer]]
"""Addresses of a name, of IP version 4 or 6. Raises any exception when there is no
answer.
"""
Name = tuple[str, int]
"""A DNS name, and the IP version of the service's address: the endpoints must be of the
same version."""


def names_in(services: Iterable[LinkLocalService]) -> frozenset[Name]:
    """The DNS names that must be looked up: those of services without fabric addresses.
    That of the metadata service is left out: the metadata proxy looks it up when it
    connects.
    """
    return frozenset(
        _name_of(service)
        for service in services
        if service.fabric_dns_name
        and not service.fabric_addresses
        and not service.is_metadata
    )


def filled(
    services: Iterable[LinkLocalService],
    answers: Mapping[Name, tuple[Address, ...]],
) -> tuple[LinkLocalService, ...]:
    """The services, each with the addresses of its name where these are known."""
    return tuple(
        replace(service, fabric_addresses=answers[_name_of(service)])
        if not service.fabric_addresses and _name_of(service) in answers
        else service
        for service in services
    )


def _name_of(service: LinkLocalService) -> Name:
    return service.fabric_dns_name, service.address.version


class NameFollower:
    """Calls `changed` with the services and their fabric addresses: at once when
    `follow` is called, and again whenever the addresses of a name have changed.
    """

    def __init__(
        self,
        lookup: Lookup,
        changed: Callable[[tuple[LinkLocalService, ...]], None],
        *,
        emit: Emit,
        clock: IReactorTime,
        own: OwnServers | None = None,
    ) -> None:
        self._own = own
        self._not_used_told: set[tuple[str, str, str]] = set()
        self._lookup = lookup
        self._changed = changed
        self._emit = emit
        self._clock = clock
        self._services: tuple[LinkLocalService, ...] = ()
        self._wanted: frozenset[Name] = frozenset()
        self._answers: dict[Name, tuple[Address, ...]] = {}
        self._timers: dict[Name, IDelayedCall] = {}
        self._asking: dict[Name, Deferred[None]] = {}
        self._asked: set[Name] = set()
        self._problems: dict[Name, str] = {}
        self._waiting: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<NameFollower {self._answers}>"

    def follow(self, services: Iterable[LinkLocalService]) -> None:
        """These services are provisioned now; names of others are forgotten."""
        self._services = tuple(services)
        before, self._wanted = self._wanted, names_in(self._services)
        for name in before - self._wanted:
            self._forget(name)
        self._tell()
        for name in sorted(self._wanted - before):
            self._ask(name)

    def stop(self) -> None:
        """Look up nothing any more."""
        before, self._wanted = self._wanted, frozenset()
        for name in before:
            self._forget(name)

    async def asked(self) -> None:
        """Return when each name has been looked up once, with or without an answer."""
        if not self._wanted <= self._asked:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    def why_unresolved(self, service: LinkLocalService) -> str:
        """Why the name of a service has no addresses, "" if it has or needs none."""
        name = _name_of(service)
        if name not in self._wanted or service.fabric_addresses:
            return ""
        answer = self._answers.get(name)
        if answer is not None:
            return self._why_unusable(replace(service, fabric_addresses=answer))
        problem = self._problems.get(name, "it is being looked up")
        return f"{name[0]} has no address: {problem}"

    def _why_unusable(self, found: LinkLocalService) -> str:
        """Why no address of a name may be used, "" if one may."""
        if self._own is None or self._own.without(found).fabric_addresses:
            return ""
        return f"{found.fabric_dns_name}: {self._own.why_not_found(found)}"

    def _forget(self, name: Name) -> None:
        self._answers.pop(name, None)
        self._problems.pop(name, None)
        self._asked.discard(name)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        asking = self._asking.pop(name, None)
        if asking is not None:
            asking.cancel()

    def _ask(self, name: Name) -> None:
        self._timers.pop(name, None)
        asking = Deferred.fromCoroutine(self._resolve(name))
        if not asking.called:
            self._asking[name] = asking
            asking.addTimeout(LOOKUP_DEADLINE, self._clock)
        asking.addBoth(lambda _: self._was_asked(name))

    def _was_asked(self, name: Name) -> None:
        if name in self._wanted:
            self._asked.add(name)
        if self._wanted <= self._asked:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    async def _resolve(self, name: Name) -> None:
        try:
            answer = await self._lookup(*name)
            addresses = tuple(sorted(set(answer.addresses), key=int)[:MAX_ADDRESSES])
        except Exception as failure:  # a name that fails keeps its last answer
            self._failed(name, str(failure) or type(failure).__name__)
            return
        if name not in self._wanted:
            return
        if not addresses:
            self._failed(name, "no addresses")
            return
        self._later(name, min(max(answer.ttl, MIN_TTL), MAX_TTL))
        if self._answers.get(name) != addresses:
            self._answers[name] = addresses
            self._emit(NameResolved(name[0], addresses))
            self._tell()

    def _failed(self, name: Name, why: str) -> None:
        if name in self._wanted:
            self._problems[name] = why
            self._emit(NameUnresolved(name[0], why, name in self._answers))
            self._later(name, RETRY_AFTER)

    def _later(self, name: Name, seconds: float) -> None:
        self._asking.pop(name, None)
        self._timers[name] = self._clock.callLater(seconds, self._ask, name)

    def _tell(self) -> None:
        services = filled(self._services, self._answers)
        self._changed(self._usable(services, self._own) if self._own else services)

    def _usable(
        self, services: tuple[LinkLocalService, ...], own: OwnServers
    ) -> tuple[LinkLocalService, ...]:
        """The services without addresses of names that must not be used, such as the
        agent's own servers; that is reported once.
        """
        told: list[LinkLocalService] = []
        not_used: set[tuple[str, str, str]] = set()
        for provisioned, found in zip(self._services, services, strict=True):
            usable = found if provisioned.fabric_addresses else own.without(found)
            if usable != found:
                why = own.why_not_found(found)
                not_used.add((found.name, found.fabric_dns_name, why))
            told.append(usable)
        for each in sorted(not_used - self._not_used_told):
            self._emit(NameNotUsed(*each))
        self._not_used_told = not_used
        return tuple(told)
