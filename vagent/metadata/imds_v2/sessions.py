"""Sessions as Amazon has them (IMDSv2), in front of any upstream: a pure decision.

A token is asked for with PUT, which software that can only be tricked into fetching an
address does not send, and is shown with each request after that. The upstream never
sees one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vagent.config.model import SessionMode
from vagent.metadata.http.request_head import RequestHead
from vagent.metadata.http.response_writer import status_line
from vagent.metadata.imds_v2.keys import SessionKeys
from vagent.metadata.imds_v2.token import (
    TOKEN_LENGTH,
    TokenVerdict,
    holder_of,
    mint_token,
    verify_token,
)
from vagent.ports.port import PortTokens, Registration

TOKEN_PATH = b"/latest/api/token"
MAX_TTL = 21600
"""Six hours; the least is one second. Amazon's limits."""

_TTL = re.compile(rb"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Issue:
    """Give the guest this reply, which holds a token; `size` counts the body.

    `missed` as in `Let`.
    """

    data: bytes = field(repr=False)
    size: int = TOKEN_LENGTH
    missed: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer with this status; `reason` is of a closed set, `text` for the guest."""

    status: int
    reason: str
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Let:
    """Go on. `missed` is why it would be denied if tokens were required, or ""."""

    missed: str = ""


GO_ON = Let()

TOO_FAR = "too-far"
_TOO_FAR = (
    b"This request came through a router; a session token does not get that far.\n"
)


class Sessions:
    """Decides for each request of a known guest whose mode is not off.

    `mode` is that of ports of which nothing else is said.
    """

    def __init__(self, mode: SessionMode, keys: SessionKeys) -> None:
        self._mode = mode
        self._keys = keys

    def mode_of(self, registration: Registration) -> SessionMode:
        """The port's own mode, or that of all."""
        said = registration.port.session_tokens
        if said in (PortTokens.UNSAID, PortTokens.DEFAULT):
            return self._mode
        return SessionMode(said)

    def load(self) -> None:
        """Take up the keys of the last run; call it before the first request."""
        self._keys.load()

    def decide(
        self, request: RequestHead, registration: Registration, *, is_far: bool = False
    ) -> Issue | Deny | Let:
        """What becomes of the request; `is_far`: it is to be refused for its distance.

        A wrong token is refused where tokens are optional too, as Amazon does: whoever
        shows one means it. Only whoever asks for a token is told a reason: scripts take
        any other body for the document they wait for.
        """
        mode = self.mode_of(registration)
        is_audit = mode is SessionMode.AUDIT
        is_asking = request.method == b"PUT" and request.path == TOKEN_PATH
        if is_far and not is_audit:
            return Deny(403, TOO_FAR, _TOO_FAR if is_asking else b"")
        if is_asking:
            return self._issue(request, registration, TOO_FAR if is_far else "")
        if is_far:
            return Let(TOO_FAR)
        verdict = verify_token(
            request.session.token,
            key_of=self._keys.pair().key_of,
            holder=holder_of(registration),
            now=self._keys.now(),
        )
        if verdict is TokenVerdict.VALID:
            return GO_ON
        if is_audit:
            return Let(verdict.value)
        if mode is SessionMode.OPTIONAL and verdict is TokenVerdict.MISSING:
            return GO_ON
        return Deny(401, verdict.value)

    def _issue(
        self, request: RequestHead, registration: Registration, missed: str
    ) -> Issue | Deny:
        if request.session.is_forwarded:
            return Deny(403, "forwarded-token-request")
        ttl = request.session.ttl
        if _TTL.fullmatch(ttl) is None or not 1 <= int(ttl) <= MAX_TTL:
            return Deny(400, "bad-token-ttl")
        pair = self._keys.pair()
        token = mint_token(
            pair.current,
            pair.number,
            expires=int(self._keys.now()) + int(ttl),
            holder=holder_of(registration),
        )
        return Issue(_reply(request, int(ttl), token), missed=missed)


def _reply(request: RequestHead, ttl: int, token: bytes) -> bytes:
    closing = b"" if request.keep_alive else b"Connection: close\r\n"
    return (
        b"%bContent-Type: text/plain\r\nCache-Control: no-store\r\n"
        b"%b-ttl-seconds: %d\r\nContent-Length: %d\r\n%b\r\n%b"
        % (status_line(200), request.session.family, ttl, len(token), closing, token)
    )
