"""The listening side: HTTP/1.1 by twisted.web, one answer to each request.

Callers are proxies that hold a client certificate, not guests, so `twisted.web` will
do; connections, bodies (`vagent.nova.channel`) and the time that an answer may take
have ceilings. Refuses to know what is asked: `Responder` does.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Site

from vagent.nova.authority import Authority
from vagent.nova.channel import MetadataChannel, MetadataRequest
from vagent.nova.events import NovaAnswered, NovaConnectionRefused, NovaFailed
from vagent.nova.openstack import Entropy
from vagent.nova.reply import BODY_TOO_LARGE, FAILED, NovaReply, refuse
from vagent.nova.request import NovaRequest
from vagent.nova.respond import Responder
from vagent.nova.source import InstanceSource, PasswordStore
from vagent.nova.vendordata.vendor_data import NoVendorData, VendorData
from vagent.observe.event import Emit

MAX_CONNECTIONS = 1024
"""At a time. A proxy pools a few dozen; this leaves room for a rack of them."""
IDLE_TIMEOUT = 75.0
"""Seconds without a byte, the TLS handshake included. Above the 60 s after which usual
proxies close an idle connection themselves, so that they do not run into ours."""
ANSWER_DEADLINE = 10.0
"""Seconds for an answer. Reading the store takes milliseconds; guests give up at 10."""


class MetadataSite(Site):
    """The server's factory. Not logged by Twisted: every answer is an event."""

    protocol = MetadataChannel  # type: ignore[assignment]  # Twisted names its HTTP/2 proxy class here

    def __init__(
        self,
        responder: Responder,
        *,
        emit: Emit,
        reactor: IReactorTime,
        answer_deadline: float,
    ) -> None:
        super().__init__(
            Resource(),
            requestFactory=MetadataRequest,
            timeout=IDLE_TIMEOUT,
            reactor=reactor,
        )
        self._responder = responder
        self._emit = emit
        self._clock = reactor
        self._answer_deadline = answer_deadline
        self._connections = 0

    def startFactory(self) -> None:
        """No access log, so no clock for it."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def enter(self) -> bool:
        """Take a place for a connection; False when there is none."""
        if self._connections >= MAX_CONNECTIONS:
            self._emit(NovaConnectionRefused())
            return False
        self._connections += 1
        return True

    def leave(self) -> None:
        """Give a connection's place back."""
        self._connections -= 1

    def report_refused_body(self) -> None:
        """A request was refused for its body before it was complete."""
        refusal = BODY_TOO_LARGE
        self._emit(NovaAnswered("-", b"-", refusal.status, "", refusal.reason))

    async def answer(self, asked: NovaRequest) -> NovaReply:
        """The reply, within the deadline, whatever happens. Raises only CancelledError,
        when the caller has gone.
        """
        work = Deferred.fromCoroutine(self._responder.respond(asked))
        try:
            return await work.addTimeout(self._answer_deadline, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # border: one bad request must not stop the server
            self._emit(NovaFailed(type(error).__name__, _place(error)))
            reply = refuse(FAILED, asked.accept)
            self._emit(
                NovaAnswered(
                    asked.method, asked.target, reply.status, "", FAILED.reason
                )
            )
            return reply

    def __repr__(self) -> str:
        return f"<MetadataSite {self._connections} connections>"


def metadata_site(
    instances: InstanceSource,
    passwords: PasswordStore,
    authority: Authority,
    *,
    entropy: Entropy,
    emit: Emit,
    reactor: IReactorTime,
    vendor_data: VendorData | None = None,
    answer_deadline: float = ANSWER_DEADLINE,
) -> MetadataSite:
    """The factory to listen with, over TLS (`vagent.nova.tls`) or on loopback.

    `answer_deadline` is the seconds after which a request gets 500.
    """
    responder = Responder(
        instances=instances,
        passwords=passwords,
        authority=authority,
        vendor_data=vendor_data or NoVendorData(),
        entropy=entropy,
        emit=emit,
    )
    return MetadataSite(
        responder, emit=emit, reactor=reactor, answer_deadline=answer_deadline
    )


def _place(error: Exception) -> str:
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{Path(last.filename).name}:{last.lineno}"
