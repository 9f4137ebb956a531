"""A guest of the boot storm behaves as cloud-init does."""

from __future__ import annotations

import pytest

from bench.clients.boot import AGAIN, PAUSE, REQUESTS, Boot, Outcome

FIRST, VERSIONS, METADATA, USER_DATA, ROOT = 0, 1, 2, 3, 7


def boot_until(number: int) -> Boot:
    """All before request `number` went well."""
    boot = Boot()
    for _ in range(number):
        boot.answered(200)
    return boot


def finish(boot: Boot) -> int:
    """Answer whatever it still asks; how much that was."""
    asked = 0
    while boot.path is not None:
        boot.answered(200)
        asked += 1
    return asked


def test_a_boot_without_trouble_asks_twenty_eight_times() -> None:
    """One after the other, and lacks nothing."""
    boot = Boot()
    assert "/openstack" == boot.path
    assert 28 == finish(boot) == len(REQUESTS)
    assert (Outcome.WHOLE, 0) == (boot.outcome, boot.repeated)


@pytest.mark.parametrize("answered", [True, False])
def test_the_first_request_is_made_once(answered: bool) -> None:
    """Whatever went wrong with it, there is no datasource."""
    boot = Boot()
    assert 0.0 == (boot.answered(503) if answered else boot.unanswered())
    assert boot.path is None
    assert (Outcome.LOST, 0) == (boot.outcome, boot.repeated)


@pytest.mark.parametrize(
    ("number", "outcome", "left"),
    [
        (VERSIONS, Outcome.WHOLE, 26),
        (METADATA, Outcome.LOST, 0),
        (USER_DATA, Outcome.INCOMPLETE, 24),
    ],
)
def test_a_document_is_final_when_it_is_refused(
    number: int, outcome: Outcome, left: int
) -> None:
    """An answer of 400 or more is not asked for again."""
    boot = boot_until(number)
    boot.answered(500)
    assert left == finish(boot)
    assert (outcome, 0) == (boot.outcome, boot.repeated)


def test_a_document_that_does_not_come_is_asked_for_again() -> None:
    """A second later, five times; then it is done without."""
    boot = boot_until(USER_DATA)
    for _ in range(AGAIN - 1):
        assert PAUSE == boot.unanswered()
        assert REQUESTS[USER_DATA][0] == boot.path
    assert 0.0 == boot.unanswered()
    assert REQUESTS[USER_DATA + 1][0] == boot.path
    assert (Outcome.INCOMPLETE, AGAIN - 1) == (boot.outcome, boot.repeated)


def test_an_entry_of_the_tree_is_asked_for_again_even_when_refused() -> None:
    """And heals where the next answer is good."""
    boot = boot_until(ROOT)
    assert PAUSE == boot.answered(503)
    assert 0.0 == boot.answered(200)
    finish(boot)
    assert (Outcome.WHOLE, 1) == (boot.outcome, boot.repeated)


def test_a_tree_with_a_hole_is_left_out_as_a_whole() -> None:
    """cloud-init asks for no more of it."""
    boot = boot_until(ROOT + 3)
    for _ in range(AGAIN):
        boot.answered(503)
    assert boot.path is None
    assert (Outcome.INCOMPLETE, AGAIN - 1) == (boot.outcome, boot.repeated)
