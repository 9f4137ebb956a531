"""The health of fabric endpoints, and which of them a new flow gets. Pure: no I/O.

Each endpoint has two healths, one for TCP and one for UDP: a name server may refuse
either. A flow without a reply may be its guest's own doing (a guest can send what no
server answers, or reset what it opened), so a failure affects only that guest: its
flows avoid the endpoint for a while. When two guests have failed, with no reply to
anybody in between, the endpoint is down for all. No guest can make a reply, so any
reply clears every failure. The agent's own checks, where agent.conf asks for them,
count for all. When all endpoints of a service are down, all of them are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vagent.config.model import EndpointCheckConfig
from vagent.datapath.endpoints.events import (
    FabricEndpointAvoided,
    FabricEndpointChanged,
)
from vagent.datapath.state import NatEndpoint
from vagent.kernel.ip_packet import TCP, UDP
from vagent.observe.event import Emit
from vagent.ports.port import Registration

AGREEING_GUESTS = 2
"""Guests whose flows must have failed before an endpoint is down for all: one guest
alone must not be able to take it away from the others."""
FIRST_PAUSE = 5.0
MAX_PAUSE = 60.0
"""Seconds for which a guest's flows avoid an endpoint where one of them failed, and
between two flows that are sent to an endpoint that is down, to try it. Both double with
each failure. The first pause is longer than the passive check of a flow takes."""
MEMORY = 60.0
"""Seconds for which a guest's failure is remembered after its pause has ended."""
MAX_FAILED_GUESTS = 64
"""Guests whose failures are remembered for one endpoint. It is down for all by then."""

PROTOCOLS = {TCP: "TCP", UDP: "UDP"}


class HealthState(StrEnum):
    """What is known of an endpoint. SUSPECT: a flow of one guest got no reply."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class Choice(NamedTuple):
    """`is_live` is False where all endpoints are down and one was taken anyway."""

    number: int
    is_live: bool


class EndpointState(NamedTuple):
    """A fabric endpoint and its health, as the pages show them."""

    endpoint: NatEndpoint
    tcp: HealthState
    udp: HealthState


def _pause(before: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(before, 10), MAX_PAUSE)


@dataclass(slots=True)
class _Failures:
    """How often flows of one guest failed; they avoid the endpoint until `until`."""

    count: int
    until: float


@dataclass(slots=True)
class _Record:
    """The evidence of one protocol that an endpoint does not answer. An endpoint
    without such evidence has no record. `failures` are those of each guest, by the
    guest's index. `trials` counts the flows that were sent to the endpoint to try it,
    from the moment at which it was judged down.
    """

    failures: dict[int, _Failures] = field(default_factory=dict)
    is_down: bool = False
    trials: int = 0
    next_trial: float = 0.0

    def plan_trial(self, now: float) -> None:
        """A flow may try the endpoint again after a pause."""
        self.next_trial = now + _pause(self.trials)
        self.trials += 1

    def add_failure(self, index: int, now: float) -> bool:
        """Remember that a flow of this guest failed; False where there is no room."""
        before = self.failures.get(index)
        if before is None and len(self.failures) >= MAX_FAILED_GUESTS:
            return False
        count = 1 if before is None else before.count + 1
        self.failures[index] = _Failures(count, now + _pause(count - 1))
        return True

    def is_avoided_by(self, index: int, now: float) -> bool:
        """Do this guest's flows avoid the endpoint at this time?"""
        failed = self.failures.get(index)
        return failed is not None and now < failed.until

    def forget_old(self, now: float) -> None:
        """Forget failures whose memory has run out."""
        old = [i for i, each in self.failures.items() if now >= each.until + MEMORY]
        for index in old:
            del self.failures[index]


@dataclass(slots=True)
class _Checked:
    """How many of the agent's own checks passed, or failed, in a row until now."""

    passed: int = 0
    failed: int = 0
    is_down: bool = False


Key = tuple[int, int]
"""Number of an endpoint, and IP protocol."""


class EndpointHealth:
    """The health of all endpoints. `pick` takes one of several numbers at random;
    `guests` has the registered ports by index, because events name the port.
    """

    def __init__(
        self,
        config: EndpointCheckConfig,
        *,
        pick: Callable[[tuple[int, ...]], int],
        guests: Mapping[int, Registration],
        emit: Emit,
    ) -> None:
        self._config = config
        self._pick = pick
        self._emit = emit
        self._guests = guests
        self._endpoints: dict[int, NatEndpoint] = {}
        self._records: dict[Key, _Record] = {}
        self._checks: dict[int, _Checked] = {}
        self._avoiding: set[int] = set()
        self._live: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
        self._any_trouble = False

    def __repr__(self) -> str:
        ill = [
            f"{each.endpoint.address}:{each.endpoint.port} {each.tcp}/{each.udp}"
            for each in self.states()
            if (each.tcp, each.udp) != (HealthState.UP, HealthState.UP)
        ]
        seen = ", ".join(ill) or "well"
        return f"<EndpointHealth {len(self._endpoints)} endpoints, {seen}>"

    def choose(
        self, numbers: tuple[int, ...], protocol: int, index: int, now: float
    ) -> Choice:
        """The endpoint for a new flow of the guest with this index, at this time."""
        if not self._any_trouble:
            return Choice(self._pick(numbers), is_live=True)
        live = self._live_of(numbers, protocol)
        if len(live) < len(numbers):
            trial = self._trial(numbers, protocol, index, now)
            if trial:
                return Choice(trial, is_live=True)
        mine = live
        if index in self._avoiding:
            mine = tuple(
                number
                for number in live
                if not self._avoids(index, (number, protocol), now)
            )
        if mine:
            return Choice(self._pick(mine), is_live=True)
        return Choice(self._pick(live or numbers), is_live=False)

    def is_well(self, number: int, protocol: int) -> bool:
        """Is there no evidence that this endpoint does not answer?"""
        return not self._any_trouble or (
            (number, protocol) not in self._records
            and not self._check_says_down(number)
        )

    def replied(self, number: int, protocol: int) -> None:
        """A flow to this endpoint got a reply."""
        if (number, protocol) in self._records:
            before = self._healths(number)
            del self._records[number, protocol]
            self._report(number, before, "a flow got its reply")

    def failed(self, number: int, protocol: int, index: int, now: float) -> None:
        """A flow of this guest got no reply, or a reset as its first one."""
        if number not in self._endpoints:
            return
        before = self._healths(number)
        record = self._records.setdefault((number, protocol), _Record())
        record.forget_old(now)
        if not record.add_failure(index, now):
            return
        if not record.is_down and len(record.failures) >= AGREEING_GUESTS:
            record.is_down = True
            record.plan_trial(now)
            if number in self._checks:
                self._checks[number].passed = 0
        self._report(number, before, "flows of guests got no reply", index)

    def checked(self, number: int, *, passed: bool, why: str = "") -> None:
        """The agent's own check of an endpoint ended."""
        if number not in self._endpoints:
            return
        before = self._healths(number)
        check = self._checks.setdefault(number, _Checked())
        if passed:
            check.passed, check.failed = check.passed + 1, 0
            if check.passed == self._config.rise:
                check.is_down = False
                # A connection proves nothing of UDP, where a flow has to try.
                self._records.pop((number, TCP), None)
                self._report(number, before, "checks passed")
            return
        check.passed, check.failed = 0, check.failed + 1
        if check.failed == self._config.fall:
            check.is_down = True
            self._report(number, before, f"checks failed: {why}")

    def follow(self, endpoints: Iterable[NatEndpoint]) -> None:
        """These are the endpoints now; the health of others is forgotten."""
        before, self._endpoints = self._endpoints, {e.number: e for e in endpoints}
        if before == self._endpoints:
            return
        same = {n for n, e in self._endpoints.items() if before.get(n) == e}
        self._records = {k: r for k, r in self._records.items() if k[0] in same}
        self._checks = {n: c for n, c in self._checks.items() if n in same}
        self._changed()

    def forget(self, index: int) -> None:
        """The guest is gone: forget its failures."""
        if index in self._avoiding:
            for record in self._records.values():
                record.failures.pop(index, None)
            self._changed()

    def prune(self, now: float) -> None:
        """Forget failures whose memory has run out."""
        if not self._records:
            return
        for record in self._records.values():
            record.forget_old(now)
        self._changed()

    def states(self) -> tuple[EndpointState, ...]:
        """All endpoints in the order of their numbers."""
        return tuple(
            EndpointState(endpoint, *self._healths(number))
            for number, endpoint in sorted(self._endpoints.items())
        )

    def state(self, number: int) -> EndpointState | None:
        """The endpoint with this number, None where there is none."""
        endpoint = self._endpoints.get(number)
        return (
            None
            if endpoint is None
            else EndpointState(endpoint, *self._healths(number))
        )

    def _health(self, key: Key) -> HealthState:
        record = self._records.get(key)
        if self._is_down(key):
            return HealthState.DOWN
        return HealthState.UP if record is None else HealthState.SUSPECT

    def _is_down(self, key: Key) -> bool:
        record = self._records.get(key)
        return self._check_says_down(key[0]) or (record is not None and record.is_down)

    def _check_says_down(self, number: int) -> bool:
        check = self._checks.get(number)
        return check is not None and check.is_down

    def _live_of(self, numbers: tuple[int, ...], protocol: int) -> tuple[int, ...]:
        live = self._live.get((numbers, protocol))
        if live is None:
            live = tuple(n for n in numbers if not self._is_down((n, protocol)))
            self._live[numbers, protocol] = live
        return live

    def _trial(
        self, numbers: tuple[int, ...], protocol: int, index: int, now: float
    ) -> int:
        """A dead endpoint that this flow is to try, 0 for none. None has to where the
        agent's own checks will tell.
        """
        for number in numbers:
            record = self._records.get((number, protocol))
            if record is None or not record.is_down or now < record.next_trial:
                continue
            is_checked = number in self._checks and protocol == TCP
            if is_checked or self._check_says_down(number):
                continue
            if not record.is_avoided_by(index, now):
                record.plan_trial(now)
                return number
        return 0

    def _avoids(self, index: int, key: Key, now: float) -> bool:
        record = self._records.get(key)
        return record is not None and record.is_avoided_by(index, now)

    def _healths(self, number: int) -> tuple[HealthState, HealthState]:
        return self._health((number, TCP)), self._health((number, UDP))

    def _report(
        self,
        number: int,
        before: tuple[HealthState, HealthState],
        why: str,
        index: int = -1,
    ) -> None:
        """Emit what has changed; the guest with this index brought it about."""
        self._changed()
        endpoint = self._endpoints[number]
        for name, was, now in zip(
            PROTOCOLS.values(), before, self._healths(number), strict=True
        ):
            if was is now:
                continue
            about = (endpoint.address, endpoint.port, name, now.value, why)
            if HealthState.DOWN in (was, now):
                self._emit(FabricEndpointChanged(*about))
            else:
                self._emit(FabricEndpointAvoided(*about, self._guests.get(index)))

    def _changed(self) -> None:
        """Work out anew what the choice for each flow needs."""
        self._records = {
            k: r for k, r in self._records.items() if r.failures or r.is_down
        }
        self._live.clear()
        self._avoiding = {i for r in self._records.values() for i in r.failures}
        self._any_trouble = bool(self._records) or any(
            check.is_down for check in self._checks.values()
        )
