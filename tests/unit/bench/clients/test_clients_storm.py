"""What a guest of the boot storm makes of an answer."""

from __future__ import annotations

import pytest

from bench.clients.storm import ForeignAnswerError, answer

GOOD = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 6\r\n\r\nme x y"


@pytest.mark.parametrize("size", range(len(GOOD)))
def test_half_an_answer_is_none_yet(size: int) -> None:
    """Wherever it is cut."""
    assert answer(GOOD[:size], ended=False, mine="me") is None


def test_a_whole_answer_tells_its_status() -> None:
    """As soon as its length is there."""
    assert 200 == answer(GOOD, ended=False, mine="me")


def test_without_a_length_the_end_ends_it() -> None:
    """HTTP/1.0's way."""
    said = b"HTTP/1.0 200 OK\r\n\r\nme x y"
    assert answer(said, ended=False, mine="me") is None
    assert 200 == answer(said, ended=True, mine="me")


def test_an_answer_for_another_guest_ends_everything() -> None:
    """No figure is worth anything then."""
    with pytest.raises(ForeignAnswerError, match="you was given"):
        answer(GOOD, ended=False, mine="you")


def test_a_refusal_is_for_nobody() -> None:
    """Its body may say anything."""
    said = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
    assert 503 == answer(said, ended=False, mine="me")
