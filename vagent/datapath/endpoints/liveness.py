"""Which fabric endpoints answer, and which one a new flow gets. Pure: no I/O, no clock.

An endpoint is judged for TCP and for UDP apart: a name server may refuse one of them.
A flow that stays without a reply may be its guest's own doing (it can send what no
server answers, or reset what it opened), so it counts for that guest alone; only when
two guests agree, and nobody got a reply in between, does the endpoint count as down for
all. A reply cannot be made by a guest, so one of anybody clears all. Checks of the
agent's own, where there are any, count for all. When no endpoint is left, all are used.
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
from vagent.datapath.state import Endpoint
from vagent.kernel.ip_packet import TCP, UDP
from vagent.observe.event import Emit
from vagent.ports.port import Registration

WITNESSES = 2
"""Guests whose flows must have failed before an endpoint is down for all: one alone
must not be able to take it away from the others."""
FIRST_PAUSE = 5.0
MAX_PAUSE = 60.0
"""Seconds in which a guest's flows avoid an endpoint that left one without a reply, and
between two flows that try one that is down: twice as long each time. The first is
longer than it takes to know what became of a flow."""
MEMORY = 60.0
"""Seconds after its pause in which a guest's failure is remembered."""
MAX_AGAINST = 64
"""Guests that are remembered as having failed at one endpoint; it is down by then."""

PROTOCOLS = {TCP: "TCP", UDP: "UDP"}


class Health(StrEnum):
    """What is believed of an endpoint. `SUSPECT`: one guest got no reply there."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"


class Choice(NamedTuple):
    """`is_live` is False where every endpoint seems down and one was taken anyway."""

    number: int
    is_live: bool


class EndpointState(NamedTuple):
    """For the pages."""

    endpoint: Endpoint
    tcp: Health
    udp: Health


def _pause(before: int) -> float:
    return min(FIRST_PAUSE * 2.0 ** min(before, 10), MAX_PAUSE)


@dataclass(slots=True)
class _Failed:
    """One guest's failures; `until` is when its flows may go there again."""

    count: int
    until: float


@dataclass(slots=True)
class _Record:
    """What speaks against an endpoint, for one protocol. None exists while nothing
    does.
    """

    against: dict[int, _Failed] = field(default_factory=dict)
    is_down: bool = False
    trials: int = 0
    next_trial: float = 0.0

    def plan_trial(self, now: float) -> None:
        """Another flow may try it after a pause."""
        self.next_trial = now + _pause(self.trials)
        self.trials += 1

    def holds_against(self, index: int, now: float) -> bool:
        """Remember a guest's failure, if there is room."""
        before = self.against.get(index)
        if before is None and len(self.against) >= MAX_AGAINST:
            return False
        count = 1 if before is None else before.count + 1
        self.against[index] = _Failed(count, now + _pause(count - 1))
        return True

    def is_shunned_by(self, index: int, now: float) -> bool:
        """Do this guest's flows avoid the endpoint now?"""
        failed = self.against.get(index)
        return failed is not None and now < failed.until

    def forget_old(self, now: float) -> None:
        """Drop what is too old to say anything."""
        old = [i for i, each in self.against.items() if now >= each.until + MEMORY]
        for index in old:
            del self.against[index]


@dataclass(slots=True)
class _Checked:
    """The last checks of an endpoint."""

    passed: int = 0
    failed: int = 0
    is_down: bool = False


Key = tuple[int, int]
"""Number of the endpoint, protocol."""


class Liveness:
    """`pick` takes one of several numbers, fairly. `registered` holds the port of each
    guest by its index, for what is told of it.
    """

    def __init__(
        self,
        config: EndpointCheckConfig,
        *,
        pick: Callable[[tuple[int, ...]], int],
        emit: Emit,
    ) -> None:
        self._config = config
        self._pick = pick
        self._emit = emit
        self.registered: Mapping[int, Registration] = {}
        self._endpoints: dict[int, Endpoint] = {}
        self._records: dict[Key, _Record] = {}
        self._checks: dict[int, _Checked] = {}
        self._shunning: set[int] = set()
        self._live: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
        self._troubled = False

    def __repr__(self) -> str:
        ill = [
            f"{each.endpoint.address}:{each.endpoint.port} {each.tcp}/{each.udp}"
            for each in self.states()
            if (each.tcp, each.udp) != (Health.UP, Health.UP)
        ]
        return (
            f"<Liveness {len(self._endpoints)} endpoints, {', '.join(ill) or 'well'}>"
        )

    def choose(
        self, numbers: tuple[int, ...], protocol: int, index: int, now: float
    ) -> Choice:
        """The endpoint for a new flow of the guest with this index."""
        if not self._troubled:
            return Choice(self._pick(numbers), is_live=True)
        live = self._live_of(numbers, protocol)
        if len(live) < len(numbers):
            trial = self._trial(numbers, protocol, index, now)
            if trial:
                return Choice(trial, is_live=True)
        mine = live
        if index in self._shunning:
            mine = tuple(
                number
                for number in live
                if not self._shuns(index, (number, protocol), now)
            )
        if mine:
            return Choice(self._pick(mine), is_live=True)
        return Choice(self._pick(live or numbers), is_live=False)

    def is_well(self, number: int, protocol: int) -> bool:
        """Does nothing speak against it?"""
        return not self._troubled or (
            (number, protocol) not in self._records
            and not self._check_says_down(number)
        )

    def replied(self, number: int, protocol: int) -> None:
        """A flow got its reply."""
        if (number, protocol) in self._records:
            before = self._healths(number)
            del self._records[number, protocol]
            self._tell(number, before, "a flow got its reply")

    def failed(self, number: int, protocol: int, index: int, now: float) -> None:
        """A flow of this guest got no reply, or a reset as the first one."""
        if number not in self._endpoints:
            return
        before = self._healths(number)
        record = self._records.setdefault((number, protocol), _Record())
        record.forget_old(now)
        if not record.holds_against(index, now):
            return
        if not record.is_down and len(record.against) >= WITNESSES:
            record.is_down = True
            record.plan_trial(now)
            if number in self._checks:
                self._checks[number].passed = 0
        self._tell(number, before, "flows of guests got no reply", index)

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
                self._tell(number, before, "checks passed")
            return
        check.passed, check.failed = 0, check.failed + 1
        if check.failed == self._config.fall:
            check.is_down = True
            self._tell(number, before, f"checks failed: {why}")

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """These are the endpoints now; what is known of others is forgotten."""
        before, self._endpoints = self._endpoints, {e.number: e for e in endpoints}
        if before == self._endpoints:
            return
        same = {n for n, e in self._endpoints.items() if before.get(n) == e}
        self._records = {k: r for k, r in self._records.items() if k[0] in same}
        self._checks = {n: c for n, c in self._checks.items() if n in same}
        self._changed()

    def forget(self, index: int) -> None:
        """The guest is gone, and what it said with it."""
        if index in self._shunning:
            for record in self._records.values():
                record.against.pop(index, None)
            self._changed()

    def prune(self, now: float) -> None:
        """Let go of what is too old to say anything."""
        if not self._records:
            return
        for record in self._records.values():
            record.forget_old(now)
        self._changed()

    def states(self) -> tuple[EndpointState, ...]:
        """All of them, by number."""
        return tuple(
            EndpointState(endpoint, *self._healths(number))
            for number, endpoint in sorted(self._endpoints.items())
        )

    def state(self, number: int) -> EndpointState | None:
        """One of them; None where no fabric endpoint has this number."""
        endpoint = self._endpoints.get(number)
        return (
            None
            if endpoint is None
            else EndpointState(endpoint, *self._healths(number))
        )

    def _health(self, key: Key) -> Health:
        record = self._records.get(key)
        if self._is_down(key):
            return Health.DOWN
        return Health.UP if record is None else Health.SUSPECT

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
        """A dead endpoint that this flow shall try; 0 for none. Where the agent checks,
        it knows without.
        """
        for number in numbers:
            record = self._records.get((number, protocol))
            if record is None or not record.is_down or now < record.next_trial:
                continue
            is_checked = number in self._checks and protocol == TCP
            if is_checked or self._check_says_down(number):
                continue
            if not record.is_shunned_by(index, now):
                record.plan_trial(now)
                return number
        return 0

    def _shuns(self, index: int, key: Key, now: float) -> bool:
        record = self._records.get(key)
        return record is not None and record.is_shunned_by(index, now)

    def _healths(self, number: int) -> tuple[Health, Health]:
        return self._health((number, TCP)), self._health((number, UDP))

    def _tell(
        self, number: int, before: tuple[Health, Health], why: str, index: int = -1
    ) -> None:
        """Report what changed; `index` is that of the guest which brought it about."""
        self._changed()
        endpoint = self._endpoints[number]
        for name, was, now in zip(
            PROTOCOLS.values(), before, self._healths(number), strict=True
        ):
            if was is now:
                continue
            about = (endpoint.address, endpoint.port, name, now.value, why)
            if Health.DOWN in (was, now):
                self._emit(FabricEndpointChanged(*about))
            else:
                self._emit(FabricEndpointAvoided(*about, self.registered.get(index)))

    def _changed(self) -> None:
        """Prepare what the choice for each new flow needs."""
        self._records = {
            k: r for k, r in self._records.items() if r.against or r.is_down
        }
        self._live.clear()
        self._shunning = {i for r in self._records.values() for i in r.against}
        self._troubled = bool(self._records) or any(
            check.is_down for check in self._checks.values()
        )
