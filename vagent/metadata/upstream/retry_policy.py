"""What becomes of a request whose upstream connection failed. A pure table.

The order of the questions is the policy: whether the guest has part of the response
already, whether the upstream can have acted on the request, and whether it would do
harm to act on it twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class UpstreamFailure(Enum):
    """How a connection failed a request; the value is the reason in traces."""

    STALE = "stale-connection"
    """A pooled connection closed before any byte of the response came: the upstream
    ended it as idle at the moment when the request was sent.
    """
    EMPTY = "empty-reply"
    """A new connection closed before any byte of the response (uWSGI after a crash)."""
    BROKEN = "broken-reply"
    """The response ended early."""
    MALFORMED = "malformed-reply"
    """The bytes are no HTTP response, or break a rule of `response_reader`."""
    TIMEOUT = "timeout"
    """No response in time."""
    REFUSED = "tls-refused"
    """A TLS alert came instead of a first byte: the client certificate was refused."""


class RetryStep(Enum):
    """What happens to a request after its connection failed."""

    AGAIN = "send it again on a new connection"
    ELSEWHERE = "send it to another endpoint"
    WAIT = "wait for a connection, as if it had never been sent"
    ANSWER = "answer the guest with an error"
    RESET = "reset the guest's connection"


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """The step, and the status for the guest where the step is ANSWER."""

    step: RetryStep
    status: int = 502


def next_step(
    failure: UpstreamFailure,
    *,
    relayed: bool,
    repeatable: bool,
    attempts: int,
    elsewhere: bool,
) -> RetryDecision:
    """Decide what becomes of the request.

    `relayed`: the guest has bytes of the response. `attempts`: how often the request
    was sent. `elsewhere`: another endpoint is up. A request that is not `repeatable` is
    sent again only after REFUSED, which proves that no server has read it.
    """
    if relayed:
        return RetryDecision(RetryStep.RESET)
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
