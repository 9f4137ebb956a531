"""One turn of a reactor, with Twisted's fake clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock


def one_turn(clock: Clock) -> None:
    """Make the calls that are due, and leave to the next turn what they add, as a
    reactor does. `Clock.advance` goes on until nothing is due.
    """
    now = clock.seconds()
    due: list[Any] = [one for one in clock.getDelayedCalls() if one.getTime() <= now]
    for call in due:
        function, arguments, named = call.func, call.args, call.kw
        call.cancel()
        function(*arguments, **named)
