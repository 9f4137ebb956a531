"""What becomes of a request whose connection failed: the table, row by row."""

from __future__ import annotations

import pytest

from vagent.metadata.upstream.retry_policy import (
    RetryDecision,
    RetryStep,
    UpstreamFailure,
    next_step,
)


@pytest.mark.parametrize("failure", list(UpstreamFailure))
def test_nothing_is_retried_after_bytes_reached_the_guest(
    failure: UpstreamFailure,
) -> None:
    """Half a reply cannot be taken back: cut."""
    verdict = next_step(
        failure, relayed=True, repeatable=True, attempts=1, elsewhere=True
    )
    assert RetryStep.RESET is verdict.step


@pytest.mark.parametrize(
    "failure", [one for one in UpstreamFailure if one is not UpstreamFailure.REFUSED]
)
def test_what_must_not_be_repeated_is_answered(failure: UpstreamFailure) -> None:
    """POST and vendor_data2.json: never again, whatever happened."""
    verdict = next_step(
        failure, relayed=False, repeatable=False, attempts=1, elsewhere=True
    )
    assert RetryStep.ANSWER is verdict.step


@pytest.mark.parametrize(
    ("failure", "attempts", "elsewhere", "expected"),
    [
        (UpstreamFailure.STALE, 1, False, RetryDecision(RetryStep.AGAIN)),
        (UpstreamFailure.STALE, 5, True, RetryDecision(RetryStep.AGAIN)),
        (UpstreamFailure.EMPTY, 1, True, RetryDecision(RetryStep.ELSEWHERE)),
        (UpstreamFailure.EMPTY, 1, False, RetryDecision(RetryStep.ANSWER, 502)),
        (UpstreamFailure.EMPTY, 2, True, RetryDecision(RetryStep.ANSWER, 502)),
        (UpstreamFailure.BROKEN, 1, True, RetryDecision(RetryStep.ELSEWHERE)),
        (UpstreamFailure.MALFORMED, 1, True, RetryDecision(RetryStep.ANSWER, 502)),
        (UpstreamFailure.TIMEOUT, 1, True, RetryDecision(RetryStep.ANSWER, 504)),
        (UpstreamFailure.REFUSED, 9, False, RetryDecision(RetryStep.WAIT)),
    ],
)
def test_repeatable_requests(
    failure: UpstreamFailure, attempts: int, elsewhere: bool, expected: RetryDecision
) -> None:
    """The table for GET and HEAD."""
    assert expected == next_step(
        failure, relayed=False, repeatable=True, attempts=attempts, elsewhere=elsewhere
    )
