"""Active health checks: each endpoint is asked something harmless at intervals.

`GET /` without an identity: Nova answers it with the list of its versions before it
looks at any header (no signature, no database, no Neutron), and so does the embedded
server. A connection alone would prove less: a TLS 1.3 server refuses a client
certificate after the handshake, and a worker that hangs still accepts connections. What
a probe meets counts as if a guest's request had met it; but only of a probe is a status
of 500 and above a failure, or the words of a web server that wants TLS or another
client certificate, because nothing in this request can be the cause.

An endpoint that refused our client certificate is tried with such a request, too, and
not by a connection alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.limits import MAX_UPSTREAM_CONNECTIONS
from vagent.metadata.upstream.endpoint import UpstreamEndpoint
from vagent.metadata.upstream.refusal import RefusalKind, read_refusal
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.transport.deadlines import NEVER, Deadlines

_TLS_FAULTS = (RefusalKind.CLIENT_CERTIFICATE, RefusalKind.NEEDS_TLS)
_MESSAGE = b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: vagent-probe\r\n\r\n"


class Probe:
    """The request of one health check (an `UpstreamRequest`).

    `done` is called once, with "" or with what was wrong.
    """

    guest = b""
    head_only = False
    binds = False
    streaming = False

    def __init__(self, done: Callable[[str], None]) -> None:
        self._done = done
        self._is_over = False

    def message(self, host: bytes) -> bytes:
        """The request as bytes."""
        return _MESSAGE % host

    def received(self, head: ResponseHead, content: bytes) -> None:
        """The content does not matter."""

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """Answered: only the status matters, and what a web server says of TLS."""
        problem = ""
        if head.status >= 400:
            refusal = read_refusal(head.status, content, b"/")
            if refusal is not None and refusal.kind in _TLS_FAULTS:
                problem = f"status {head.status}: {refusal.text}"
            elif head.status >= 500:
                problem = f"status {head.status}"
        self.over(problem)

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """No response came."""
        self.over(f"{failure.value}: {detail}")

    def over(self, problem: str) -> None:
        """The check has ended, perhaps before its request was sent."""
        if not self._is_over:
            self._is_over = True
            self._done(problem)


class HealthChecks:
    """Checks every endpoint each `interval` seconds; 0 turns it off.

    `connect` opens a connection for a probe, which afterwards is pooled as any other;
    `probed` is called with "" or with what was wrong.
    """

    def __init__(
        self,
        interval: float,
        *,
        deadlines: Deadlines,
        connect: Callable[[UpstreamEndpoint, Probe], None],
        probed: Callable[[UpstreamEndpoint, str], None],
    ) -> None:
        self._interval = interval
        self._deadlines = deadlines
        self._connect = connect
        self._probed = probed
        self._endpoints: Sequence[UpstreamEndpoint] = ()
        self.deadline = NEVER

    def check(self, endpoints: Sequence[UpstreamEndpoint]) -> None:
        """Check these from now on. The first round comes at once; without endpoints
        there are none.
        """
        self._endpoints = endpoints
        if not endpoints or not self._interval:
            self.deadline = NEVER
            self._deadlines.unwatch(self)
        elif self.deadline == NEVER:
            self.deadline = self._deadlines.now()
            self._deadlines.watch(self)

    def trial(self, endpoint: UpstreamEndpoint) -> Probe | None:
        """The probe for a connection that is opened to this endpoint, which is down;
        None where the connection itself shows whether it is back.
        """
        if not endpoint.breaker.is_refused or endpoint.is_probing:
            return None
        endpoint.is_probing = True
        return Probe(partial(self._over, endpoint))

    def expired(self) -> None:
        """The next round is due."""
        now = self._deadlines.now()
        self.deadline = now + self._interval
        for endpoint in self._endpoints:
            if _may_probe(endpoint, now):
                endpoint.is_probing = True
                self._connect(endpoint, Probe(partial(self._over, endpoint)))

    def _over(self, endpoint: UpstreamEndpoint, problem: str) -> None:
        endpoint.is_probing = False
        endpoint.probed = (self._deadlines.now(), problem)
        self._probed(endpoint, problem)


def _may_probe(endpoint: UpstreamEndpoint, now: float) -> bool:
    """One probe at a time, so that one that hangs is not followed by others."""
    breaker = endpoint.breaker
    used = len(endpoint.connections) + breaker.connecting
    return (
        not endpoint.is_probing
        and used < MAX_UPSTREAM_CONNECTIONS
        and breaker.may_connect(now, wanted=False)
    )
