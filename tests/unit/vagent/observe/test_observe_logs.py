"""Promises of vagent.observe.logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO

import pytest
from twisted.logger import Logger
from twisted.python.failure import Failure

from tests.unit.vagent.judgements.test_judgements_book import PORT as JUDGEMENT
from vagent.judgements.events import began
from vagent.observe.event import Event
from vagent.observe.journald import JournalSocket
from vagent.observe.logs import MAX_LINE, LineLog
from vagent.observe.observer import Observer


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Gone(StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def logger(stream: StringIO, level: str = "debug") -> Logger:
    return Logger("vagent", observer=LineLog(stream, log_level=level))


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)],
)
def test_lines_carry_syslog_priorities(level: str, priority: int) -> None:
    """For journald each line starts with the priority of its level."""
    stream = StringIO()
    getattr(logger(stream), level)("hello {who}", who="you")
    assert f"<{priority}>hello you\n" == stream.getvalue()


def test_a_terminal_gets_time_and_level() -> None:
    """On a terminal the line starts with time and level instead."""
    stream = Terminal()
    LineLog(stream, log_level="info")({"log_format": "hello", "log_time": 3723.5})
    assert stream.getvalue() == "01:02:03.500000 info     hello\n"


def test_one_event_is_one_line() -> None:
    """Line ends and controls inside an event are escaped."""
    stream = StringIO()
    logger(stream).info("{text}", text="a\n<0>forged\x1b[2J")
    assert stream.getvalue() == "<6>a\\n<0>forged\\x1b[2J\n"


def test_lines_are_bounded() -> None:
    """No event writes more than MAX_LINE characters."""
    stream = StringIO()
    logger(stream).info("{text}", text="x" * 10_000)
    assert len(stream.getvalue()) == len("<6>") + MAX_LINE + 1


def test_failures_fold_into_the_line() -> None:
    """A failure's type, message and place stand behind the words, on the same line."""
    stream = StringIO()
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logger(stream).failure("reading", Failure())
    text = stream.getvalue()
    assert text.startswith(
        "<2>reading ValueError: bad\\nthing at test_observe_logs.py:"
    )
    assert text.count("\n") == 1


def test_levels_below_are_dropped() -> None:
    """What is below the level is not written, whoever says it."""
    stream = StringIO()
    log = logger(stream, "warn")
    log.info("quiet")
    log.warn("loud")
    assert stream.getvalue() == "<4>loud\n"


def test_a_stream_that_is_gone_is_survived() -> None:
    """A broken pipe or a closed stream stops no agent."""
    logger(Gone()).info("hello")
    closed = StringIO()
    log = logger(closed)
    closed.close()
    log.info("hello")


def test_an_unformattable_event_is_survived() -> None:
    """An event whose format does not fit still gives one line."""
    stream = StringIO()
    logger(stream).info("{missing}")
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("level", "said", "written"),
    [
        ("info", "info", False),
        ("info", "warn", True),
        ("debug", "info", True),
    ],
)
def test_what_twisted_says_of_itself(level: str, said: str, *, written: bool) -> None:
    """Factories that start are not news; Twisted's warnings are."""
    stream = StringIO()
    own = Logger("twisted.web", observer=LineLog(stream, log_level=level))
    getattr(own, said)("Starting factory")
    assert written is ("Starting factory" in stream.getvalue())


class Taking(JournalSocket):
    """A journal that keeps what it gets, or takes nothing."""

    def __init__(self, *, takes: bool = True) -> None:
        self.entries: list[dict[str, str]] = []
        self.takes = takes

    def send(self, entry: Mapping[str, str]) -> bool:
        self.entries.append(dict(entry))
        return self.takes


@dataclass(slots=True)
class Told(Event):
    """Something of a guest, with more than may be told by name."""

    level = "warn"
    port_id: str
    tap: str
    path: str

    def text(self) -> str:
        return "a guest was told of"


def entries_of(event: Event, journal: Taking, stream: StringIO) -> list[dict[str, str]]:
    log = Logger("vagent", observer=LineLog(stream, log_level="info", journal=journal))
    Observer(now=lambda: 0.0, log_level="info", log=log).emit(event)
    return journal.entries


def test_the_journal_gets_fields() -> None:
    """The line, its priority, what it is, and whom it is about: those on the list, and
    where there is something. Nothing is written twice.
    """
    stream = StringIO()
    assert [
        {
            "MESSAGE": "a guest was told of",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "vagent",
            "EVENT": "Told",
            "PORT": "p1",
        }
    ] == entries_of(Told("p1", "", "/secret"), Taking(), stream)
    assert "" == stream.getvalue()


def test_a_judgement_names_port_instance_and_request() -> None:
    """So that `journalctl PORT=…` finds when it began and ended."""
    event = began(JUDGEMENT)
    (entry,) = entries_of(event, Taking(), StringIO())
    named = {name: entry[name] for name in ("PORT", "INSTANCE", "REQUEST_ID", "TAP")}
    assert {
        "PORT": "p1",
        "INSTANCE": "i1",
        "REQUEST_ID": "req-1",
        "TAP": "tap1",
    } == named
    assert "instance-unknown" == entry["KIND"]


def test_other_lines_go_there_without_fields() -> None:
    """Of Twisted, or of the start."""
    journal = Taking()
    log = LineLog(StringIO(), log_level="info", journal=journal)
    Logger("vagent", observer=log).error("no {what}", what="room")
    assert [
        {"MESSAGE": "no room", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "vagent"}
    ] == journal.entries


def test_what_the_journal_does_not_take_is_a_line() -> None:
    """On the stream, which leads there as well."""
    stream = StringIO()
    entries_of(Told("p1", "", ""), Taking(takes=False), stream)
    assert "<4>a guest was told of\n" == stream.getvalue()
