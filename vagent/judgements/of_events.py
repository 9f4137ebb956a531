"""What only events tell becomes judgements: guests whose requests fail, taps that
vanish, opening packets that are dropped.

Nothing is done for what goes well: that a guest is served again is looked for only
while one is known not to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from vagent.datapath.events import PortState
from vagent.datapath.trap.events import QueueOverrun
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.metadata.events import ReplyRelayed
from vagent.metadata.request_id import shown
from vagent.metadata.upstream.events import ForwardFailed
from vagent.observe.event import Event
from vagent.ports.events import PortRemoved
from vagent.ports.port import PROBE_AUTHOR, Port, Registration

FAILING_SECONDS = 300.0
"""After its last error a guest that asks no more is not known to fail any longer."""
GONE_SECONDS = 5.0
"""For so long a tap must be away: the port of a guest that stops goes with its tap, and
one that is made anew is back before."""
OVERRUN_SECONDS = 60.0
"""After the last packet that was dropped."""
MAX_FAILING = 1024
MAX_GONE = 64
"""Ports that are remembered; when all taps vanish at once, more would tell no more."""

_NO_ANSWER = (
    "look into the log of nova-api: it crashed, or what answers there is not nova-api"
)
_REASONS = {
    "timeout": (
        "gets 504: nova-api took longer than response-timeout",
        "look whether nova-api and its database are overloaded",
    ),
    "empty-reply": ("gets 502: nova-api closed without an answer", _NO_ANSWER),
    "broken-reply": ("gets 502: nova-api broke off in its answer", _NO_ANSWER),
    "malformed-reply": ("gets 502: what nova-api answered is no HTTP", _NO_ANSWER),
    "held-too-long": (
        "gets 503: no endpoint of nova-api took the request within hold-time",
        "vagentctl doctor tries every endpoint from this host",
    ),
}
"""Why a request failed, of those reasons that are not the guest's own doing: what its
guest gets, and what mends it."""

Find = Callable[[str], Registration | None]


class Heeding(Protocol):
    """The observer, as far as it lets others know of events."""

    def heed(self, kind: type[Event], told: Callable[[Event], None]) -> None:
        """Tell of each event of this class."""

    def ignore(self, kind: type[Event]) -> None:
        """No longer."""


@dataclass(slots=True)
class _Failing:
    reason: str
    request: int
    last: float


class EventRecord:
    """Takes in what events tell from now on."""

    def __init__(self, observer: Heeding, clock: IReactorTime) -> None:
        self._observer = observer
        self._clock = clock
        self._failing: dict[str, _Failing] = {}
        self._there: set[str] = set()
        self._gone: dict[str, float] = {}
        self._overrun: float | None = None
        observer.heed(ForwardFailed, self._failed)
        observer.heed(PortState, self._port_changed)
        observer.heed(PortRemoved, self._port_removed)
        observer.heed(QueueOverrun, self._overran)

    def __repr__(self) -> str:
        return f"<EventRecord {len(self._failing)} failing, {len(self._gone)} gone>"

    def forget_failing(self) -> None:
        """The services are others now: who failed may be served."""
        if self._failing:
            self._failing.clear()
            self._observer.ignore(ReplyRelayed)

    def judgements(self, find: Find, *, is_told: bool) -> Iterator[Judgement]:
        """What is wrong now. `find` gives the registration of a port; `is_told`: why
        guests fail is told of the endpoints already.
        """
        now = self._clock.seconds()
        self._forget_old(find, now)
        for port_id, failing in () if is_told else self._failing.items():
            port = _port(find, port_id)
            if port is not None:
                text, remedy = _REASONS[failing.reason]
                yield Judgement(
                    JudgementKind.GUEST_GETS_ERRORS,
                    Severity.WRONG,
                    _subject(port),
                    f"its guest {text}",
                    f"{remedy}; vagentctl trace Metadata --port {port_id}",
                    request=shown(failing.request),
                )
        for port_id, since in self._gone.items():
            port = _port(find, port_id)
            if port is not None and now - since >= GONE_SECONDS:
                yield Judgement(
                    JudgementKind.TAP_GONE,
                    Severity.WARNING,
                    _subject(port),
                    f"its tap {port.tap} has vanished",
                    "nothing, if its guest has stopped: whoever stops it deletes the"
                    " port; otherwise look why the interface went (ip link, the"
                    " hypervisor's log)",
                )
        if self._overrun is not None and now - self._overrun < OVERRUN_SECONDS:
            yield Judgement(
                JudgementKind.PACKETS_DROPPED,
                Severity.WARNING,
                Subject(SubjectKind.HOST, "queue"),
                "opening packets of guests were dropped: they came faster than the"
                " agent took them",
                "vagentctl flow list shows who opens many; max-vm-new-flows is the"
                " limit of each",
            )

    def _failed(self, event: Event) -> None:
        """A guest's request ended with an error."""
        assert isinstance(event, ForwardFailed)  # noqa: S101  for the type checker
        port_id = event.caller.port_id
        if event.reason not in _REASONS or not port_id:
            return
        if port_id in self._failing or len(self._failing) < MAX_FAILING:
            if not self._failing:
                self._observer.heed(ReplyRelayed, self._served)
            now = self._clock.seconds()
            self._failing[port_id] = _Failing(event.reason, event.request, now)

    def _served(self, event: Event) -> None:
        """A guest got an answer, while one or another is known to fail."""
        assert isinstance(event, ReplyRelayed)  # noqa: S101  for the type checker
        self._drop(event.caller.port_id)

    def _drop(self, port_id: str) -> None:
        if self._failing.pop(port_id, None) is not None and not self._failing:
            self._observer.ignore(ReplyRelayed)

    def _port_changed(self, event: Event) -> None:
        """A port's tap was looked for."""
        assert isinstance(event, PortState)  # noqa: S101  for the type checker
        if event.is_there:
            self._there.add(event.port_id)
            self._gone.pop(event.port_id, None)
        elif event.port_id in self._there:
            self._there.discard(event.port_id)
            if len(self._gone) < MAX_GONE:
                self._gone[event.port_id] = self._clock.seconds()

    def _port_removed(self, event: Event) -> None:
        assert isinstance(event, PortRemoved)  # noqa: S101  for the type checker
        self._there.discard(event.port_id)
        self._gone.pop(event.port_id, None)

    def _overran(self, _event: Event) -> None:
        self._overrun = self._clock.seconds()

    def _forget_old(self, find: Find, now: float) -> None:
        """Guests whose ports are no more, or that have not asked for long."""
        for port_id, failing in [*self._failing.items()]:
            if now - failing.last >= FAILING_SECONDS or find(port_id) is None:
                self._drop(port_id)


def _port(find: Find, port_id: str) -> Port | None:
    """A registered port, but none that stands for another for a moment."""
    registration = find(port_id)
    if registration is None or registration.port.author.startswith(PROBE_AUTHOR):
        return None
    return registration.port


def _subject(port: Port) -> Subject:
    name = port.display_name or port.tap
    return Subject(SubjectKind.PORT, port.id, name, port.instance_id, port.tap)
