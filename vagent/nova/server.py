"""The metadata server: the factory of its connections, with limits on their number and
on the time for an answer. `Responder` makes the answers.
"""

from __future__ import annotations

import traceback
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from vagent.errors import StoreError
from vagent.metadata.http.date import HttpDate
from vagent.nova.additions.added_paths import AddedPaths
from vagent.nova.authority import Authority
from vagent.nova.connection.channel import MetadataChannel
from vagent.nova.events import NovaAnswered, NovaConnectionRefused, NovaFailed
from vagent.nova.openstack import Entropy
from vagent.nova.reply import BODY_TOO_LARGE, FAILED, NovaReply, refuse
from vagent.nova.request import NovaRequest
from vagent.nova.respond import Responder
from vagent.nova.source import InstanceSource, PasswordStore
from vagent.nova.vendordata.vendor_data import NoVendorData, VendorData
from vagent.observe.event import Emit
from vagent.transport.deadlines import Deadlines

MAX_CONNECTIONS = 1024
"""At a time. A proxy keeps a few dozen; this is enough for a rack of them."""
ANSWER_DEADLINE = 10.0
"""Seconds for an answer. The store takes milliseconds; guests give up after 10 s."""


class MetadataSite(Factory):
    """The factory of the server's connections. Each answer is an event."""

    noisy = False

    def __init__(
        self,
        responder: Responder,
        *,
        emit: Emit,
        reactor: IReactorTime,
        date: HttpDate,
        answer_deadline: float,
    ) -> None:
        self.date = date
        self.deadlines = Deadlines(reactor)
        self._responder = responder
        self._emit = emit
        self._clock = reactor
        self._answer_deadline = answer_deadline
        self._connections = 0

    def buildProtocol(self, addr: IAddress | None) -> MetadataChannel:
        """One more connection."""
        del addr
        return MetadataChannel(self)

    def stopFactory(self) -> None:
        """Nothing listens any more: no timer is left behind."""
        self.deadlines.stop()

    def enter(self) -> bool:
        """Count a new connection; False: there are too many, so close it."""
        if self._connections >= MAX_CONNECTIONS:
            self._emit(NovaConnectionRefused())
            return False
        self._connections += 1
        return True

    def leave(self) -> None:
        """A counted connection is closed."""
        self._connections -= 1

    def report_refused_body(self) -> None:
        """A request was refused because its body is too long."""
        refusal = BODY_TOO_LARGE
        self._emit(NovaAnswered("-", b"-", refusal.status, "", refusal.reason))

    def answer(self, request: NovaRequest) -> NovaReply | Deferred[NovaReply]:
        """The reply, at once if nothing has to be waited for; 500 if making it fails or
        takes too long. Fails only with CancelledError, when the client has gone.
        """
        work = self._responder.respond(request)
        try:
            # A Deferred for each answer would cost a quarter of its time.
            waiting = work.send(None)
        except StopIteration as done:
            reply: NovaReply = done.value
            return reply
        except Exception:
            return self._failed(Failure(), request)
        rest = Deferred.fromCoroutine(_Begun(work, waiting).end())
        rest.addTimeout(self._answer_deadline, self._clock)
        return rest.addErrback(self._failed, request)

    def _failed(self, failure: Failure, request: NovaRequest) -> NovaReply:
        """One bad request must not stop the server."""
        error = failure.value
        if isinstance(error, CancelledError) or not isinstance(error, Exception):
            failure.raiseException()
        problem = str(error) if isinstance(error, StoreError) else ""
        self._emit(NovaFailed(type(error).__name__, _place(failure), problem))
        reply = refuse(FAILED, request.accept)
        self._emit(
            NovaAnswered(
                request.method, request.target, reply.status, "", FAILED.reason
            )
        )
        return reply

    def __repr__(self) -> str:
        return f"<MetadataSite {self._connections} connections>"


class _Begun:
    """A coroutine that has begun, and waits for something."""

    def __init__(self, work: Coroutine[Any, Any, NovaReply], waiting: Any) -> None:
        self._work = work
        self._waiting = waiting

    async def end(self) -> NovaReply:
        """What it returns, or raises."""
        return await self

    def __await__(self) -> Generator[Any, Any, NovaReply]:
        """Passes on what it waits for, and what comes of that."""
        waiting = self._waiting
        while True:
            try:
                try:
                    value = yield waiting
                except Exception as error:
                    waiting = self._work.throw(error)
                else:
                    waiting = self._work.send(value)
            except StopIteration as done:
                reply: NovaReply = done.value
                return reply


def metadata_site(
    instances: InstanceSource,
    passwords: PasswordStore,
    authority: Authority,
    *,
    entropy: Entropy,
    emit: Emit,
    reactor: IReactorTime,
    date: HttpDate,
    vendor_data: VendorData | None = None,
    additions: AddedPaths | None = None,
    answer_deadline: float = ANSWER_DEADLINE,
) -> MetadataSite:
    """The factory to listen with, over TLS (`vagent.nova.tls`) or on loopback.

    `answer_deadline` is the seconds after which a request gets 500, `date` the date of
    each answer.
    """
    responder = Responder(
        instances=instances,
        passwords=passwords,
        authority=authority,
        vendor_data=vendor_data or NoVendorData(),
        additions=additions or AddedPaths(ports_of=lambda _: (), signer=None),
        entropy=entropy,
        emit=emit,
    )
    return MetadataSite(
        responder,
        emit=emit,
        reactor=reactor,
        date=date,
        answer_deadline=answer_deadline,
    )


def _place(failure: Failure) -> str:
    *_, last = traceback.extract_tb(failure.getTracebackObject())
    return f"{Path(last.filename).name}:{last.lineno}"
