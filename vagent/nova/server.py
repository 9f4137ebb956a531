"""The metadata server as a site of twisted.web, with limits.

Its clients are proxies that hold a client certificate, not guests, so twisted.web is
strict enough; connections, bodies (`vagent.nova.channel`) and the time for an answer
are limited. `Responder` makes the answers.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Site

from vagent.metadata.http.date import HttpDate
from vagent.nova.additions.added_paths import AddedPaths
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
"""At a time. A proxy keeps a few dozen; this is enough for a rack of them."""
IDLE_TIMEOUT = 75.0
"""Seconds without a byte, in the TLS handshake as well. Usual proxies close an idle
connection after 60 s; to close it first could hit a request that is just being sent."""
ANSWER_DEADLINE = 10.0
"""Seconds for an answer. The store takes milliseconds; guests give up after 10 s."""


class MetadataSite(Site):
    """The factory of the server's connections. Each answer is an event, so Twisted's
    access log is off.
    """

    protocol = MetadataChannel  # type: ignore[assignment]  # Twisted names its HTTP/2 proxy class here

    def __init__(
        self,
        responder: Responder,
        *,
        emit: Emit,
        reactor: IReactorTime,
        date: HttpDate,
        answer_deadline: float,
    ) -> None:
        super().__init__(
            Resource(),
            requestFactory=MetadataRequest,
            timeout=IDLE_TIMEOUT,
            reactor=reactor,
        )
        self.date = date
        self._responder = responder
        self._emit = emit
        self._clock = reactor
        self._answer_deadline = answer_deadline
        self._connections = 0

    def startFactory(self) -> None:
        """Unlike Twisted's, starts no clock for an access log."""

    def stopFactory(self) -> None:
        """There is nothing to close."""

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

    async def answer(self, request: NovaRequest) -> NovaReply:
        """The reply; 500 if making it fails or takes too long. Raises only
        CancelledError, when the client has gone.
        """
        work = Deferred.fromCoroutine(self._responder.respond(request))
        try:
            return await work.addTimeout(self._answer_deadline, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # one bad request must not stop the server
            self._emit(NovaFailed(type(error).__name__, _place(error)))
            reply = refuse(FAILED, request.accept)
            self._emit(
                NovaAnswered(
                    request.method, request.target, reply.status, "", FAILED.reason
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


def _place(error: Exception) -> str:
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{Path(last.filename).name}:{last.lineno}"
