"""Requests of guests that wait until a document changes: long polls.

The document is asked for once; while its entity tag is the one that the guest knows,
the request waits. It is asked for again when the instance is reported to have changed,
from time to time (another agent's server reports nothing here), and at the end of the
guest's time. While it waits, a request takes none of the places in which requests wait
for the upstream, and a guest may have only a few that wait.
"""

from __future__ import annotations

from vagent.metadata.cache.caching_forwarder import SERVER_ERRORS, CachingForwarder
from vagent.metadata.events import ChangeAwaited
from vagent.metadata.guest.connection import DownstreamConnection
from vagent.metadata.http.awaited_change import AwaitedChange, etag_of
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.limits import AGAIN_SECONDS, MAX_LONG_POLLS
from vagent.metadata.upstream.forwarded_request import ForwardedRequest
from vagent.observe.event import Emit
from vagent.transport.deadlines import NEVER, Deadlines


class LongPolls:
    """All that wait, by the instance whose documents they wait for."""

    def __init__(
        self, forwarder: CachingForwarder, *, emit: Emit, deadlines: Deadlines
    ) -> None:
        self.forwarder = forwarder
        self.emit = emit
        self.deadlines = deadlines
        self._polls: dict[str, set[LongPoll]] = {}
        self._ending = False

    def begin(
        self, connection: DownstreamConnection, wanted: AwaitedChange, instance_id: str
    ) -> None:
        """Answer the connection's request when the document is another one."""
        if connection.quota.long_polls >= MAX_LONG_POLLS:
            self.forwarder.refuse(connection, "too-many-long-polls")
            return
        if not self.forwarder.admits(connection):
            return
        is_last = self._ending or connection.has_ended
        seconds = 0.0 if is_last else wanted.seconds
        poll = LongPoll(self, connection, wanted.last_etag, instance_id, seconds)
        connection.quota.long_polls += 1
        connection.pending = poll
        self._polls.setdefault(instance_id, set()).add(poll)
        poll.ask()

    def changed(self, instance_id: str) -> None:
        """Documents of this instance may be others now."""
        for poll in tuple(self._polls.get(instance_id, ())):
            poll.look_again()

    def all_changed(self) -> None:
        """Documents come from somewhere else now."""
        for instance_id in tuple(self._polls):
            self.changed(instance_id)

    def end(self) -> None:
        """Answer all that wait with what there is now; from now on nothing waits."""
        self._ending = True
        for polls in list(self._polls.values()):
            for poll in tuple(polls):
                poll.end()

    def discard(self, poll: LongPoll) -> None:
        """It is answered, or its guest has gone."""
        polls = self._polls[poll.instance_id]
        polls.discard(poll)
        if not polls:
            del self._polls[poll.instance_id]
        poll.connection.quota.long_polls -= 1

    def __len__(self) -> int:
        return sum(len(polls) for polls in self._polls.values())


class LongPoll:
    """One request. It receives each response of the upstream (`ResponseReceiver`), and
    is what the guest's connection waits for (`PendingResponse`).

    While it asks, it counts as one of the guest's requests that wait for the upstream;
    while it waits, it does not.
    """

    __slots__ = (
        "_asks",
        "_end",
        "_etag",
        "_forwarded",
        "_has_document",
        "_is_stale",
        "_polls",
        "connection",
        "deadline",
        "instance_id",
    )

    def __init__(
        self,
        polls: LongPolls,
        connection: DownstreamConnection,
        etag: bytes | None,
        instance_id: str,
        seconds: float,
    ) -> None:
        self._polls = polls
        self._etag = etag
        self._end = polls.deadlines.now() + seconds
        self._is_stale = self._has_document = self._asks = False
        self._forwarded: ForwardedRequest
        self.connection = connection
        self.instance_id = instance_id
        self.deadline = NEVER

    def ask(self) -> None:
        """Ask for the document; the request has its place."""
        self._asks = True
        self._is_stale = False
        self.deadline = NEVER
        self._polls.deadlines.unwatch(self)
        forwarder, connection = self._polls.forwarder, self.connection
        # Time spent waiting for a change is no delay of the answer.
        connection.started = self._polls.deadlines.now()
        self._forwarded = forwarder.request_for(connection, self, b"")
        forwarder.submit(self._forwarded)

    def look_again(self) -> None:
        """The document may be another one by now."""
        if self._asks:
            self._is_stale = True
        elif self._polls.forwarder.takes_place(self.connection):
            self.ask()
        else:
            self.deadline = self._polls.deadlines.now()  # at the next tick

    def end(self) -> None:
        """Answer with what there is now."""
        self._end = 0.0
        if not self._asks:
            self.look_again()

    def expired(self) -> None:
        """It has waited for a while, or as long as it may."""
        self.look_again()

    # The methods of `PendingResponse`: the guest's connection calls them.

    def guest_caught_up(self) -> None:
        """The guest has taken what was relayed."""
        self._forwarded.guest_caught_up()

    def guest_ended(self) -> None:
        """Most likely it has closed, which TCP does not tell from a half-close: do not
        wait on.
        """
        self.end()

    def guest_left(self, connection: DownstreamConnection) -> None:
        """The guest's connection is closed."""
        self._leave()
        if self._asks:
            self._forwarded.abandon()
        else:
            connection.quota.in_flight += 1  # as `request_done` takes one off

    # The methods of `ResponseReceiver`: the upstream request calls them.

    def send_response(self, head: ResponseHead, content: bytes) -> None:
        """The document as it is now: send it, or wait for another one."""
        etag = etag_of(head.fields) if head.status == 200 else b""
        is_failure = head.status in SERVER_ERRORS
        if self._may_wait(etag, is_failure=is_failure):
            self._wait(etag)
        else:
            self._leave()
            self.connection.send_response(head, content)

    def relay(self, data: bytes) -> bool:
        """A part of a large document, which is not compared: it is sent at once."""
        return self.connection.relay(data)

    def finish(self, status: int, size: int, *, close: bool) -> None:
        """All parts of a large document were sent."""
        self._leave()
        self.connection.finish(status, size, close=close)

    def send_local_response(self, status: int, *, close: bool) -> None:
        """The upstream has no answer."""
        if self._may_wait(b"", is_failure=True):
            self._wait(b"")
        else:
            self._leave()
            self.connection.send_local_response(status, close=close)

    def reset(self) -> None:
        """The upstream failed in the middle of a large document."""
        self._leave()
        self.connection.reset()

    def _may_wait(self, etag: bytes, *, is_failure: bool) -> bool:
        """A failure of the upstream is no change, once there was a document."""
        if self._polls.deadlines.now() >= self._end:
            return False
        if is_failure:
            return self._has_document
        return bool(etag) and self._etag in (None, etag)

    def _wait(self, etag: bytes) -> None:
        connection, deadlines = self.connection, self._polls.deadlines
        if etag:
            self._etag = etag
        if not self._has_document:
            self._has_document = True
            connection.probe_guest()
            self._polls.emit(ChangeAwaited(connection.request_id, connection.caller))
        self._asks = False
        connection.quota.in_flight -= 1
        if self._is_stale:
            self.look_again()
            return
        self.deadline = min(self._end, deadlines.now() + AGAIN_SECONDS)
        deadlines.watch(self)

    def _leave(self) -> None:
        self._polls.deadlines.unwatch(self)
        self._polls.discard(self)
