"""The date of a response: right, and cheap."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from vagent.metadata.http.date import HttpDate


class Times:
    """Two clocks, of which one can be set."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.25
        self.steady = 5.0
        self.looked = 0

    def now(self) -> float:
        self.looked += 1
        return self.wall

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_it_is_an_imf_fixdate() -> None:
    """RFC 9110 §5.6.7: always in GMT, of fixed length."""
    times = Times()
    date = HttpDate(times.now, lambda: times.steady)
    assert b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n" == date.line()
    line = date.line()
    assert b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n" == line
    shown = line.decode().partition(" ")[2].strip()
    assert 1_700_000_000 == parsedate_to_datetime(shown).timestamp()


def test_it_is_rendered_once_a_second() -> None:
    """It changes when the second does, not a second after it was rendered."""
    times = Times()
    date = HttpDate(times.now, lambda: times.steady)
    first = date.line()
    times.pass_by(0.5)
    assert first is date.line()
    times.pass_by(0.25)
    assert b"Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n" == date.line()
    times.pass_by(0.75)
    assert b"Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n" == date.line()
    assert 2 == times.looked
    times.pass_by(0.25)
    assert b"Date: Tue, 14 Nov 2023 22:13:22 GMT\r\n" == date.line()
    assert 3 == times.looked
    times.pass_by(3600.0)
    assert b"Date: Tue, 14 Nov 2023 23:13:22 GMT\r\n" == date.line()


def test_a_clock_that_is_set_back_is_followed() -> None:
    """Within a second: the other clock goes on."""
    times = Times()
    date = HttpDate(times.now, lambda: times.steady)
    date.line()
    times.wall -= 86_400.0
    times.pass_by(1.0)
    assert b"Date: Mon, 13 Nov 2023 22:13:21 GMT\r\n" == date.line()
