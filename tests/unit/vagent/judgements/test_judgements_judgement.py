"""Judgements as values: which are the same, and in what order they are shown."""

from __future__ import annotations

from dataclasses import replace

from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
    by_weight,
)
from vagent.metadata.upstream.refusal import RefusalKind

DOWN = Judgement(
    JudgementKind.ENDPOINT_DOWN,
    Severity.WARNING,
    Subject(SubjectKind.ENDPOINT, "192.0.2.1:8775"),
    "down: refused",
    "look there",
    100.0,
)


def test_what_makes_two_the_same() -> None:
    """Kind and subject; words, severity and name may change while it goes on."""
    same = replace(
        DOWN,
        severity=Severity.WRONG,
        text="down: timeout",
        subject=replace(DOWN.subject, name="nova"),
    )
    assert DOWN.key == same.key
    port = Subject(SubjectKind.PORT, "192.0.2.1:8775")
    assert DOWN.key != replace(DOWN, subject=port).key
    assert DOWN.key != replace(DOWN, kind=JudgementKind.CERTIFICATE_REFUSED).key


def test_the_worst_comes_first_then_the_oldest() -> None:
    """So the cause stands above what followed from it."""
    wrong = replace(DOWN, severity=Severity.WRONG, since=300.0)
    older = replace(DOWN, since=50.0)
    note = replace(DOWN, severity=Severity.NOTE, since=1.0)
    assert [wrong, older, DOWN, note] == sorted(
        (note, DOWN, older, wrong), key=by_weight
    )


def test_a_subject_in_words() -> None:
    """With the name that people gave it, if it has one."""
    assert "endpoint 192.0.2.1:8775" == str(DOWN.subject)
    assert "port web (p1)" == str(Subject(SubjectKind.PORT, "p1", "web"))


def test_each_fault_of_the_setup_has_a_kind() -> None:
    """Of the same word, so what is read from a reply can always be told."""
    answers = {RefusalKind.NO_SUCH_PATH, RefusalKind.OTHER}
    for kind in set(RefusalKind) - answers:
        assert kind.value == JudgementKind(kind.value)
