"""Promises of vagent.observe.logs."""

from __future__ import annotations

from io import StringIO

import pytest
from twisted.logger import Logger
from twisted.python.failure import Failure

from vagent.observe.logs import MAX_LINE, LineLog


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
