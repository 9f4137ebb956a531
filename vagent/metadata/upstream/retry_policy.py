"""What becomes of a request whose upstream connection failed it. A pure table.

The order of the questions is the policy: what the guest has already seen decides
first, then whether the upstream can have acted on the request, then whether acting
twice would hurt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class UpstreamFailure(Enum):
    """How an upstream connection failed a request."""

    STALE = "stale-connection"
    """A pooled connection closed before any byte of the reply: the keep-alive race."""
    EMPTY = "empty-reply"
    """A fresh connection closed before any byte of the reply (uWSGI after a crash)."""
    BROKEN = "broken-reply"
    """The reply ended early."""
    MALFORMED = "malformed-reply"
    """The bytes are no HTTP reply that we accept."""
    TIMEOUT = "timeout"
    """No complete reply in time."""
    REFUSED = "tls-refused"
    """A TLS alert instead of a first byte: our certificate was never accepted."""


class RetryStep(Enum):
    """What to do next with the request."""

    AGAIN = "again on a fresh connection"
    ELSEWHERE = "on another endpoint"
    WAIT = "wait for a connection, as if it had never been sent"
    ANSWER = "answer the guest"
    CUT = "cut the guest's connection"


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """The step, and the status for the guest where the step is ANSWER."""

    step: RetryStep
    status: int = 502


def after(
    failure: UpstreamFailure,
    *,
    relayed: bool,
    repeatable: bool,
    attempts: int,
    elsewhere: bool,
) -> RetryDecision:
    """Decide. `relayed`: the guest has bytes of the reply; `attempts`: sent so far.

    `elsewhere`: another endpoint is up. A request that must not act twice is retried
    only after REFUSED, which proves that nobody has read it.
    """
    if relayed:
        return RetryDecision(RetryStep.CUT)
    if failure is UpstreamFailure.REFUSED:
        return RetryDecision(RetryStep.WAIT)
    if failure is UpstreamFailure.TIMEOUT:
        return RetryDecision(RetryStep.ANSWER, 504)
    if not repeatable or failure is UpstreamFailure.MALFORMED:
        return RetryDecision(RetryStep.ANSWER)
    if failure is UpstreamFailure.STALE:
        return RetryDecision(RetryStep.AGAIN)
    if elsewhere and attempts < 2:
        return RetryDecision(RetryStep.ELSEWHERE)
    return RetryDecision(RetryStep.ANSWER)
