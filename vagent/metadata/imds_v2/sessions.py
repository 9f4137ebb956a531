"""Decides on session tokens as in Amazon's IMDSv2, in front of any upstream. Pure.

A guest asks for a token with PUT, and then shows it with each request. Software that an
attacker can only make fetch an address (SSRF) sends no PUT, so it gets no token. The
upstream never sees one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vagent.config.model import SessionMode
from vagent.metadata.http.request_head import RequestHead
from vagent.metadata.imds_v2.keys import SessionKeys
from vagent.metadata.imds_v2.token import (
    TokenVerdict,
    holder_of,
    mint_token,
    verify_token,
)
from vagent.ports.port import PortTokens, Registration

TOKEN_PATH = re.compile(rb"/(?:latest|1\.0|[0-9]{4}-[0-9]{2}-[0-9]{2})/api/token")
"""Below every version: clients ask below the one that they use."""
WITHOUT_TOKENS = re.compile(rb"/(?:openstack|nocloud)(?:/.*)?", re.DOTALL)
"""Trees whose clients know nothing of session tokens: Nova's, and cloud-init's seed."""
MAX_TTL = 21600
"""Seconds: six hours, Amazon's limit. The shortest life is one second."""

_TTL = re.compile(rb"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class IssueToken:
    """Give the guest this token, which lives `ttl` seconds. `missed` as in `Allow`."""

    token: bytes = field(repr=False)
    ttl: int
    missed: str = ""


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse with this status; `reason` is of a closed set, `text` for the guest."""

    status: int
    reason: str
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on. `missed`: why this would be denied if tokens were required, or ""."""

    missed: str = ""


GO_ON = Allow()

TOO_FAR = "too-far"
_TOO_FAR = (
    b"This request came through a router; a session token does not get that far.\n"
)


class Sessions:
    """Decides for each request of a known guest whose mode is not off.

    `mode` is for ports that have none of their own.
    """

    def __init__(self, mode: SessionMode, keys: SessionKeys) -> None:
        self._mode = mode
        self._keys = keys

    def mode_of(self, registration: Registration) -> SessionMode:
        """The port's own mode, or that of all ports."""
        said = registration.port.session_tokens
        if said in (PortTokens.UNSAID, PortTokens.DEFAULT):
            return self._mode
        return SessionMode(said)

    def load(self) -> None:
        """Read the keys of the last run; to be called before the first request."""
        self._keys.load()

    def decide(
        self, request: RequestHead, registration: Registration, *, is_far: bool = False
    ) -> IssueToken | Deny | Allow:
        """What becomes of the request. `is_far`: its packets came over more hops than
        allowed, which is refused.

        A wrong token is refused even where tokens are optional, as Amazon does. Only a
        request for a token is told a reason: in answer to any other, scripts would take
        the text for the document that they wait for.
        """
        mode = self.mode_of(registration)
        is_audit = mode is SessionMode.AUDIT
        is_asking = request.method == b"PUT" and TOKEN_PATH.fullmatch(request.path)
        if is_far and not is_audit:
            return Deny(403, TOO_FAR, _TOO_FAR if is_asking else b"")
        if is_asking:
            return self._issue(request, registration, TOO_FAR if is_far else "")
        if is_far:
            return Allow(TOO_FAR)
        verdict = verify_token(
            request.session.token,
            key_of=self._keys.pair().key_of,
            holder=holder_of(registration),
            now=self._keys.now(),
        )
        if verdict is TokenVerdict.VALID:
            return GO_ON
        if is_audit:
            return Allow(verdict.value)
        if verdict is TokenVerdict.MISSING and not _demands(mode, request.path):
            return GO_ON
        return Deny(401, verdict.value)

    def _issue(
        self, request: RequestHead, registration: Registration, missed: str
    ) -> IssueToken | Deny:
        if request.session.is_forwarded:
            return Deny(403, "forwarded-token-request")
        ttl = request.session.ttl
        if _TTL.fullmatch(ttl) is None or not 1 <= int(ttl) <= MAX_TTL:
            return Deny(400, "bad-token-ttl")
        pair = self._keys.pair()
        token = mint_token(
            pair.current,
            pair.number,
            nonce=self._keys.nonce(),
            expires=int(self._keys.now()) + int(ttl),
            holder=holder_of(registration),
        )
        return IssueToken(token, int(ttl), missed)


def _demands(mode: SessionMode, path: bytes) -> bool:
    """Must a request for this path show a token? Audit: the answer is only counted."""
    if mode is SessionMode.REQUIRED_EC2:
        return WITHOUT_TOKENS.fullmatch(path) is None
    return mode in (SessionMode.REQUIRED, SessionMode.AUDIT)
