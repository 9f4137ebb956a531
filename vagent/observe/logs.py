"""twisted.logger events become lines on a stream: one event, one line.

Where the stream leads to journald, it gets the line and its fields by its socket.
Otherwise a line starts with its syslog priority, `<N>` (sd-daemon(3)); on a terminal it
starts with the time. A failure's traceback is folded into its line.
Twisted's own messages are written if they are warnings, or at level debug.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from vagent.observe.event import Event
from vagent.observe.facts import facts_of
from vagent.observe.journald import JournalSocket
from vagent.observe.observer import describe
from vagent.observe.oneline import one_line

MAX_LINE = 4_096
"""Characters; journald splits lines at 48 KiB, terminals scroll long before."""

FIELDS = {
    "port_id": "PORT",
    "instance_id": "INSTANCE",
    "request": "REQUEST_ID",
    "tap": "TAP",
    "endpoint": "ENDPOINT",
    "kind": "KIND",
}
"""Facts that become fields of the journal, and what they are called there. No other
fact does: only these are known to hold nothing secret and nothing that guests chose."""

_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}


_FRAMEWORK = ("twisted", "log_legacy")
"""Namespaces of Twisted's own messages."""


@implementer(ILogObserver)
class LineLog:
    """Writes each log event as one line to `stream` (stderr in the agent).

    `log_level` names the lowest level written, as in the Observer. Attach it with
    `globalLogBeginner.beginLoggingTo([LineLog(sys.stderr, log_level=...)])`.
    `journal` is where the stream leads to, if that is journald.
    """

    def __init__(
        self, stream: TextIO, *, log_level: str, journal: JournalSocket | None = None
    ) -> None:
        self._stream = stream
        self._journal = journal
        self._level = LogLevel.levelWithName(log_level)
        self._tty = stream.isatty()

    def __call__(self, event: LogEvent) -> None:
        """Write one event. A closed stream or a broken pipe is ignored."""
        level = event.get("log_level") or LogLevel.info
        if level < self._level or self._is_chatter(event, level):
            return
        line = one_line(_words(event), MAX_LINE)
        if self._journal is not None and self._journal.send(_entry(event, level, line)):
            return
        try:
            self._stream.write(self._prefix(event, level) + line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    def _is_chatter(self, event: LogEvent, level: LogLevel) -> bool:
        """Is it one of Twisted's messages about each port that it opens or closes?"""
        if level > LogLevel.info or self._level <= LogLevel.debug:
            return False
        return str(event.get("log_namespace", "")).startswith(_FRAMEWORK)

    def _prefix(self, event: LogEvent, level: object) -> str:
        if not self._tty:
            return f"<{_PRIORITIES.get(level, 6)}>"
        when = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
        return f"{when:%H:%M:%S.%f} {getattr(level, 'name', 'info'):8} "


def _entry(event: LogEvent, level: object, line: str) -> dict[str, str]:
    """What journald gets of it."""
    entry = {
        "MESSAGE": line,
        "PRIORITY": str(_PRIORITIES.get(level, 6)),
        "SYSLOG_IDENTIFIER": "vagent",
    }
    told = event.get("told")
    if isinstance(told, Event):
        entry["EVENT"] = type(told).__name__
        facts = facts_of(told)
        for name, field in FIELDS.items():
            if facts.get(name):
                entry[field] = str(facts[name])
    return entry


def _words(event: LogEvent) -> str:
    words = formatEvent(event)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        words = f"{words} {describe(failure.value)}".strip()
    return words
