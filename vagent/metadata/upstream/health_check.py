"""Active probes: every endpoint is asked something harmless, now and then.

`GET /` without identity: Nova answers it with the list of its versions before it looks
at any header (no signature, no database, no Neutron), and so does the embedded server.
A mere connect would prove less: a TLS 1.3 server refuses our certificate after the
handshake, and a worker that hangs accepts connections. What comes of a probe is seen as
what comes of a guest's request is; only here is a status of 500 and above a failure,
since nothing about this request can be the asker's fault.
"""

from __future__ import annotations

from collections.abc import Callable

from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.upstream.retry_policy import UpstreamFailure
from vagent.transport.deadlines import NEVER, Deadlines

_MESSAGE = b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: vagent-probe\r\n\r\n"


class Probe:
    """A request that nobody waits for. `done` is told "" or what was wrong.

    To its connection it is what a guest's exchange is: see `Carried`.
    """

    head_only = False
    streaming = False

    def __init__(self, done: Callable[[str], None]) -> None:
        self._done = done
        self.is_over = False

    def message(self, host: bytes) -> bytes:
        """See `Carried`."""
        return _MESSAGE % host

    def received(self, head: ResponseHead, content: bytes) -> None:
        """See `Carried`. The content is not looked at."""

    def completed(self, head: ResponseHead, content: bytes) -> None:
        """See `Carried`."""
        del content
        self.over(f"status {head.status}" if head.status >= 500 else "")

    def failed(self, failure: UpstreamFailure, detail: str) -> None:
        """See `Carried`."""
        self.over(f"{failure.value}: {detail}")

    def over(self, problem: str) -> None:
        """It has ended, before it was sent or after; told once."""
        if not self.is_over:
            self.is_over = True
            self._done(problem)


class ProbeTimer:
    """Calls `probe` every `interval` seconds while it runs; 0: never."""

    def __init__(
        self, interval: float, probe: Callable[[], None], deadlines: Deadlines
    ) -> None:
        self._interval = interval
        self._probe = probe
        self._deadlines = deadlines
        self.deadline = NEVER

    def run(self, *, wanted: bool) -> None:
        """Begin, with a round at once, or go on; or end where nothing is wanted."""
        if not wanted or not self._interval:
            self.deadline = NEVER
            self._deadlines.unwatch(self)
        elif self.deadline == NEVER:
            self.deadline = self._deadlines.now()
            self._deadlines.watch(self)

    def expired(self) -> None:
        """The next round is due."""
        self.deadline = self._deadlines.now() + self._interval
        self._probe()
