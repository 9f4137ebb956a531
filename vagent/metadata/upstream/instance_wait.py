"""Requests that wait because the upstream does not know their instance yet.

A port may be registered some seconds before its instance is described, and to a guest
that boots meanwhile a 404 is final. So the embedded server says in a field of its own
that the instance, and not the path, is what it does not know (`INSTANCE_FIELD`, which
no guest gets to see), and the request waits, like one whose upstream is not ready. It
is sent again when the instance is there; where the embedded server is another host's,
and nobody tells, every few seconds. When `hold_time` is over the guest gets the 404.

Those who wait here take no place in the queue for connections, but one of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from vagent.metadata.limits import ASK_AGAIN_SECONDS
from vagent.metadata.upstream.events import InstanceAwaited
from vagent.metadata.upstream.wait_queue import WaitingPlaces
from vagent.observe.event import Emit
from vagent.transport.deadlines import Deadlines

if TYPE_CHECKING:
    from vagent.metadata.upstream.forwarded_request import ForwardedRequest

MAX_RECENT = 256
"""Instances that changed last, which are remembered: more than change while one request
is answered."""
_INSTANCE = re.compile(rb"^X-Instance-ID: ([^\r]*)", re.MULTILINE)


class _Waiting:
    """One request, and the answer that it gets if nothing changes."""

    __slots__ = ("_owner", "deadline", "deliver", "instance", "request")

    def __init__(
        self,
        owner: InstanceWait,
        request: ForwardedRequest,
        deliver: Callable[[], None],
        deadline: float,
    ) -> None:
        self._owner = owner
        self.request = request
        self.deliver = deliver
        self.deadline = deadline
        found = _INSTANCE.search(request.guest)
        self.instance = found[1].decode() if found else ""

    def expired(self) -> None:
        """Ask again, or answer."""
        self._owner.expired(self)


class InstanceWait(WaitingPlaces):
    """They wait until `instance_changed` or `ask_again` is called, or their time is
    over. `submit` sends a request again.
    """

    def __init__(
        self,
        hold_time: float,
        *,
        submit: Callable[[ForwardedRequest], None],
        emit: Emit,
        deadlines: Deadlines,
    ) -> None:
        super().__init__()
        self._hold_time = hold_time
        self._submit = submit
        self._emit = emit
        self._deadlines = deadlines
        self._waiting: dict[ForwardedRequest, _Waiting] = {}
        self._recent: dict[str, None] = {}

    def add(self, request: ForwardedRequest, deliver: Callable[[], None]) -> bool:
        """Let it wait; `deliver` passes on the answer that it got. False: do that now,
        because the document is none that guests boot with, because its time is over, or
        because there is no place.
        """
        now = self._deadlines.now()
        until = request.hold_until or now + self._hold_time
        if not request.is_for_boot or now >= until:
            return False
        if not self.take_place(request.caller.port_id):
            return False
        request.hold_until = until
        deadline = min(until, now + ASK_AGAIN_SECONDS)
        waiting = _Waiting(self, request, deliver, deadline)
        self._waiting[request] = waiting
        self._deadlines.watch(waiting)
        if not request.was_unknown:
            request.was_unknown = True
            instance = waiting.instance
            self._emit(InstanceAwaited(request.request_id, request.caller, instance))
            if instance in self._recent:
                # It may have come while the answer was on its way.
                self._again(request)
        return True

    def remove(self, request: ForwardedRequest) -> None:
        """Let it wait no longer; does nothing if it does not."""
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            self.give_place_back(request.caller.port_id)
            self._deadlines.unwatch(waiting)

    def instance_changed(self, instance: str) -> None:
        """Send the requests again that wait for this instance (a UUID)."""
        self._recent.pop(instance, None)
        if len(self._recent) >= MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[instance] = None
        for request, waiting in tuple(self._waiting.items()):
            if waiting.instance == instance:
                self._again(request)

    def ask_again(self) -> None:
        """Send all again, for example because there is another upstream."""
        for request in tuple(self._waiting):
            self._again(request)

    def expired(self, waiting: _Waiting) -> None:
        """Time to ask again, or to answer."""
        request = waiting.request
        if self._deadlines.now() < request.hold_until:
            self._again(request)
        else:
            self.remove(request)
            waiting.deliver()

    def _again(self, request: ForwardedRequest) -> None:
        self.remove(request)
        request.attempts = 0
        self._submit(request)
