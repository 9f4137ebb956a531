"""Ports that learn: each takes the address that its guest uses, and follows it.

The program at the tap drops what comes from the right MAC address and another address
than the port's, and reports it. So it does with the address that the guest tells its
neighbours by ARP, which passes: the guest is known before it asks. Packets of a guest
that uses several addresses in turn would have each change written to disk, so changes
of one port have a distance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.events import AddressNotLearned
from vagent.datapath.tap.who.refusals import AtTap, Difference, Refusal
from vagent.observe.event import Emit
from vagent.ports.port import Port, Registration

Address = IPv4Address | IPv6Address
Key = tuple[str, int]
"""A port and an IP version."""

MAX_CHANGES, CHANGE_SECONDS = 3, 30.0
"""Changes, at most, of one port's address of one version in so many seconds. A guest
that boots may have a link-local address first."""
FRESH_SECONDS = 6.0
"""Of the last packet from an address that a look at all refusals still finds, longer
than the time between two looks."""

_NOWHERE = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("255.255.255.255/32"),
    IPv6Network("::/128"),
    IPv6Network("::1/128"),
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("ff00::/8"),
)
"""No host has such an address (RFC 6890)."""


class NoGuests(StrEnum):
    """Why an address cannot be a guest's."""

    NO_HOST = "no host has such an address"
    AGENT = "the agent's own"
    SERVICE = "a service's"
    OTHER_PORT = "another port's of this tap"


@dataclass(frozen=True, slots=True)
class Taken:
    """Addresses that no port may learn: the identity ranges of the agent, and the
    services (called whenever one is asked for).
    """

    own: Collection[IPv4Network | IPv6Network]
    services: Callable[[], Collection[Address]]


def why_not(
    address: Address, port: Port, there: Iterable[Registration], taken: Taken
) -> NoGuests | None:
    """Why a port may not learn this address, None where it may. `there` are all ports
    of its tap.
    """
    if any(address in network for network in _NOWHERE):
        return NoGuests.NO_HOST
    if any(address in network for network in taken.own):
        return NoGuests.AGENT
    if address in taken.services():
        return NoGuests.SERVICE
    others = (each.port for each in there if each.port.id != port.id)
    if any(address in other.addresses for other in others):
        return NoGuests.OTHER_PORT
    return None


class Learner:
    """Hears of refusals, and lets ports that learn have the addresses. `learn` is the
    registrar's; it may raise, and then is called again when the guest is refused again.
    """

    def __init__(
        self,
        taken: Taken,
        *,
        at_tap: AtTap,
        learn: Callable[[str, Address], Awaitable[None]],
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._taken = taken
        self._at_tap = at_tap
        self._learn = learn
        self._emit = emit
        self._clock = clock
        self._tried: dict[Key, tuple[float, ...]] = {}
        self._under_way: set[tuple[str, Address]] = set()

    def __repr__(self) -> str:
        return f"<Learner {len(self._tried)} tried lately>"

    def hear(self, refusal: Refusal) -> None:
        """A sender was refused just now. Its address is learned, unless the port has
        had its MAX_CHANGES; then a later call of `follow` may find it.
        """
        found = _learnable(refusal)
        if found is None:
            return
        port, address = found
        if (port.id, address) in self._under_way:  # told by ARP and by a packet
            return
        key, seconds = (port.id, address.version), self._clock.seconds()
        self._forget_old(seconds)
        tried = self._tried.get(key, ())
        if address in port.addresses or len(tried) >= MAX_CHANGES:
            return
        self._tried[key] = (*tried, seconds)
        why = why_not(address, port, self._at_tap(port.tap), self._taken)
        if why is not None:
            self._emit(AddressNotLearned(port.id, port.tap, str(address), why))
            return
        Deferred.fromCoroutine(self._ask(port.id, address)).addErrback(
            self._report, port, address
        )

    def follow(self, refusals: Iterable[Refusal]) -> None:
        """All refusals that the kernel remembers, the latest first. Of each port the
        latest address counts, if it was seen after the last look.
        """
        seen: set[Key] = set()
        for refusal in refusals:
            if refusal.ago > FRESH_SECONDS:
                return
            found = _learnable(refusal)
            if found is not None:
                port, address = found
                if (port.id, address.version) not in seen:
                    seen.add((port.id, address.version))
                    self.hear(refusal)

    async def _ask(self, port_id: str, address: Address) -> None:
        self._under_way.add((port_id, address))
        try:
            await self._learn(port_id, address)
        finally:
            self._under_way.discard((port_id, address))

    def _report(self, failure: Failure, port: Port, address: Address) -> None:
        why = str(failure.value)
        self._emit(AddressNotLearned(port.id, port.tap, str(address), why))

    def _forget_old(self, seconds: float) -> None:
        fresh = {
            key: tuple(one for one in tried if seconds - one < CHANGE_SECONDS)
            for key, tried in self._tried.items()
        }
        self._tried = {key: tried for key, tried in fresh.items() if tried}


def _learnable(refusal: Refusal) -> tuple[Port, Address] | None:
    port, address = refusal.port, refusal.sender.address
    if refusal.reason is not DropReason.UNLEARNED or port is None or address is None:
        return None
    others = set(refusal.differs) - {Difference.ADDRESS}
    return None if others or not port.learn else (port, address)
