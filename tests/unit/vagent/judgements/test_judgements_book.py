"""A judgement begins once and ends once, whatever flaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.task import Clock

from tests.unit.vagent.judgements.test_judgements_judgement import DOWN
from vagent.judgements.book import (
    END_SECONDS,
    LOOK_SECONDS,
    MAX_JUDGEMENTS,
    JudgementBook,
)
from vagent.judgements.events import JudgementBegan, JudgementEnded
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.observe.event import Event

PORT = replace(
    DOWN,
    kind=JudgementKind.INSTANCE_UNKNOWN,
    severity=Severity.WRONG,
    subject=Subject(SubjectKind.PORT, "p1", "web", "i1", "tap1"),
    request="req-1",
)
DATE = 1_780_000_000.0


class MovingClock(Clock):
    """Time goes on between any two looks at it, as it does in earnest."""

    def seconds(self) -> float:
        self.rightNow += 1e-6
        return float(super().seconds())


class Rig:
    """A book over judgements that a test changes."""

    def __init__(self, *judgements: Judgement) -> None:
        self.judgements = list(judgements)
        self.events: list[Event] = []
        self.clock = MovingClock()
        self.book = JudgementBook(
            lambda: self.judgements,
            emit=self.events.append,
            clock=self.clock,
            now=lambda: DATE + round(self.clock.seconds(), 2),
        )

    def advance(self, seconds: float) -> None:
        self.clock.pump([LOOK_SECONDS / 2] * round(2 * seconds / LOOK_SECONDS))

    def told(self) -> list[str]:
        told = [one.text().partition(":")[0] for one in self.events]
        self.events.clear()
        return told


def test_it_begins_at_once_and_is_told_once() -> None:
    """With the date of its beginning; looking again tells nothing."""
    rig = Rig(DOWN)
    rig.book.start()
    assert ["warning"] == rig.told()
    rig.advance(60)
    assert [] == rig.told()
    assert (replace(DOWN, since=DATE),) == rig.book.current()
    assert "<JudgementBook 1 in force>" == repr(rig.book)


def test_it_ends_when_it_was_not_seen_for_a_while() -> None:
    """Told once, with how long it lasted; then it can begin again."""
    rig = Rig(DOWN)
    rig.book.start()
    rig.advance(5)
    rig.told()
    rig.judgements.clear()
    rig.advance(END_SECONDS - LOOK_SECONDS)
    assert [] == rig.told()
    rig.advance(LOOK_SECONDS)
    assert ["ended after 5 s"] == rig.told()
    rig.advance(END_SECONDS)
    assert [] == rig.told()
    rig.judgements.append(DOWN)
    rig.advance(LOOK_SECONDS)
    assert ["warning"] == rig.told()


def test_what_comes_and_goes_is_one_judgement() -> None:
    """Two log lines for a minute of flapping; it keeps the date of its beginning."""
    rig = Rig(DOWN)
    rig.book.start()
    for _ in range(10):
        rig.judgements.clear()
        rig.advance(3)
        rig.judgements.append(DOWN)
        rig.advance(3)
    assert ["warning"] == rig.told()
    (found,) = rig.book.current()
    assert DATE == found.since
    rig.judgements.clear()
    rig.advance(END_SECONDS + LOOK_SECONDS)
    assert ["ended after 60 s"] == rig.told()


def test_what_is_shown_is_what_is_true_now() -> None:
    """It neither lags behind a second nor shows what is over."""
    rig = Rig()
    rig.book.start()
    rig.clock.advance(0.1)
    rig.judgements.append(DOWN)
    assert 1 == len(rig.book.current())
    rig.clock.advance(0.1)
    rig.judgements.clear()
    assert () == rig.book.current()


def test_newer_words_replace_older_ones() -> None:
    """The last error is the one that counts; its beginning stays."""
    rig = Rig(DOWN)
    rig.book.look()
    rig.clock.advance(7)
    rig.judgements[:] = [replace(DOWN, text="down: timeout", severity=Severity.WRONG)]
    (found,) = rig.book.current()
    assert ("down: timeout", Severity.WRONG, DATE) == (
        found.text,
        found.severity,
        found.since,
    )
    assert ["warning"] == rig.told()


def test_the_worst_is_shown_first() -> None:
    """Guests without an answer before an endpoint that another one stands in for."""
    rig = Rig(DOWN, PORT)
    assert [PORT.kind, DOWN.kind] == [one.kind for one in rig.book.current()]


@pytest.mark.parametrize(("surplus", "left"), [(0, 0), (1, 1)])
def test_a_crowd_costs_bounded_memory(surplus: int, left: int) -> None:
    """What is too much is told when others have ended."""
    subjects = [
        Subject(SubjectKind.PORT, f"p{number}")
        for number in range(MAX_JUDGEMENTS + surplus)
    ]
    rig = Rig(*(replace(PORT, subject=subject) for subject in subjects))
    assert MAX_JUDGEMENTS == len(rig.book.current())
    del rig.judgements[: MAX_JUDGEMENTS // 2]
    rig.told()
    rig.book.start()
    rig.advance(END_SECONDS + LOOK_SECONDS)
    assert left == rig.told().count("wrong")


def test_the_events_name_port_and_remedy() -> None:
    """A port by its UUID, as everywhere; only a beginning is a fault."""
    rig = Rig(PORT, DOWN)
    rig.book.look()
    rig.judgements.clear()
    rig.clock.advance(END_SECONDS)
    rig.book.look()
    first, second, third, _ = rig.events
    assert isinstance(first, JudgementBegan)
    assert isinstance(second, JudgementBegan)
    assert isinstance(third, JudgementEnded)
    assert ("p1", "", "p1") == (first.port_id, second.port_id, third.port_id)
    assert "wrong: port web (p1): down: refused; look there" == first.text()
    assert (True, False) == (first.is_fault(), third.is_fault())
    assert "instance-unknown" == first.label() == third.label()
    assert "warn" == first.level == third.level


def test_stop_looks_no_more() -> None:
    """And is no error before the start, or twice."""
    rig = Rig()
    rig.book.stop()
    rig.book.start()
    rig.book.stop()
    rig.book.stop()
    assert [] == rig.clock.getDelayedCalls()


def test_events_name_what_a_judgement_is_about() -> None:
    """Port, tap, instance and request, or the endpoint: each of its own field."""
    rig = Rig(PORT, DOWN)
    rig.book.look()
    of_port, of_endpoint = (event.facts() for event in rig.events)
    names = ("port_id", "tap", "instance_id", "request", "endpoint")
    assert ["p1", "tap1", "i1", "req-1", ""] == [of_port[name] for name in names]
    assert ["", "", "", "", DOWN.subject.id] == [of_endpoint[name] for name in names]
