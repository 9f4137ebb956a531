"""Finds frames of which the programs make something else than the reference does."""

from __future__ import annotations

import time
from typing import NamedTuple

from tests.fuzz.taps.grammar import HOST_MAC, Grammar
from tests.fuzz.taps.kernel import LOOPBACK, MARK, Done, Taps
from tests.fuzz.taps.reference_down import down
from tests.fuzz.taps.reference_up import up
from tests.fuzz.taps.world import Outcome, Tag, Verdict

FRAMES = 500
"""Frames of one world."""


class Difference(NamedTuple):
    """One frame of a seed, and what became of it."""

    seed: int
    way: str
    frame: bytes
    tag: Tag | None
    expected: Outcome
    done: Done

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, {self.way}, tag {self.tag}, {self.frame.hex()}:\n"
            f"  reference {_told(self.expected)}\n"
            f"  kernel    {_told(self.done.outcome)}, mark {self.done.mark:#x},"
            f" packets {self.done.packets}, counted {self.done.counted}"
        )


def _told(outcome: Outcome) -> str:
    reason = "" if outcome.reason is None else outcome.reason.word
    announced = outcome.announced or ""
    said = f"{outcome.verdict.name} {reason} {announced}"
    return f"{said} {outcome.tag} {outcome.frame.hex()}"


def look(seed: int, frames: int = FRAMES) -> list[Difference]:
    """The differences among the frames of one seed, half of them each way."""
    grammar = Grammar(seed)
    taps = Taps(grammar.world)
    try:
        found = [_one(seed, grammar, taps, number % 2) for number in range(frames)]
    finally:
        taps.close()
    return [each for each in found if each is not None]


def look_for(seconds: float, seed: int) -> tuple[list[Difference], int]:
    """From this seed on, until there is a difference or the time is over; how many
    seeds were looked at.
    """
    ends = time.monotonic() + seconds
    looked = 0
    found: list[Difference] = []
    while not found and (not looked or time.monotonic() < ends):
        found = look(seed + looked)
        looked += 1
    return found, looked


def _one(seed: int, grammar: Grammar, taps: Taps, way: int) -> Difference | None:
    if way:
        frame, tag, segment = grammar.from_host()
        expected = down(grammar.world, frame, tag, cut_later=segment > 0)
        done = taps.down(frame, tag, segment)
    else:
        frame, tag, sender = grammar.from_guest()
        expected = up(grammar.world, LOOPBACK, frame, tag)
        done = taps.up(frame, tag, sender)
    if done.outcome == expected and _is_counted(done, is_down=way > 0):
        return None
    return Difference(seed, ("up", "down")[way], frame, tag, expected, done)


def _is_counted(done: Done, *, is_down: bool) -> bool:
    """A drop once, by its reason; a packet that goes to the host once, for its guest.
    What passes keeps its mark; of what goes on, only an answer to a guest may have one.
    """
    outcome = done.outcome
    if outcome.verdict == Verdict.DROP:
        wanted = {outcome.reason: 1} if outcome.reason else {}
        return done.counted == wanted and done.packets == 0
    passes = outcome.verdict == Verdict.PASS
    goes_up = outcome.frame.startswith(HOST_MAC) and not (passes or is_down)
    is_answer = not (passes or goes_up or is_down)
    mark = MARK if passes else 0
    return (
        not done.counted
        and done.packets == int(goes_up)
        and (is_answer or done.mark == mark)
    )
