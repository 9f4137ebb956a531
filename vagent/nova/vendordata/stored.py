"""The vendor data answers of each instance's targets, kept in the store over restarts.

One entry for each instance: answers with the question that they belong to and when it
was asked, and which targets failed since when. Times are those of the wall clock,
because they must mean something after a restart; a time in the future shows that the
clock was set back, and counts as now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vagent.nova.vendordata.events import StoredAnswersUnreadable
from vagent.observe.event import Emit
from vagent.store.store import ConfigStore, StoreEntry

KIND = "vendordata"
"""The store's kind of these entries; ids are the instances' UUIDs."""


@dataclass(frozen=True, slots=True)
class TargetAnswer:
    """The answer of a target. `question` identifies the question, `asked_at` is when it
    was asked (seconds since the epoch).
    """

    question: str
    asked_at: float
    value: Any = field(repr=False)

    def is_fresh(self, question: str, now: float, seconds: float) -> bool:
        """May it be given for this question without asking again?"""
        return self.question == question and now - self.asked_at < seconds


@dataclass(frozen=True, slots=True)
class Failure:
    """A target gives no valid answer since then (seconds since the epoch)."""

    since: float
    why: str


@dataclass(frozen=True, slots=True)
class Known:
    """The answers and failures stored for one instance, by the names of the targets."""

    answers: Mapping[str, TargetAnswer] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)


NOTHING = Known()


class StoredAnswers:
    """Entries of the configuration store."""

    def __init__(self, store: ConfigStore, emit: Emit) -> None:
        self._store = store
        self._emit = emit

    async def load(self, instance_id: str) -> Known:
        """What is stored for the instance. Raises StoreError."""
        entry = await self._store.get(KIND, instance_id)
        return NOTHING if entry is None else self._decoded(entry)

    async def load_all(self) -> dict[str, Known]:
        """What is stored for each instance, by UUID. Raises StoreError."""
        entries = await self._store.entries(KIND)
        return {entry.id: self._decoded(entry) for entry in entries}

    async def save(self, instance_id: str, known: Known) -> None:
        """Store this durably for the instance, in place of what was stored. Raises
        StoreError.
        """
        await self._store.put(KIND, instance_id, encode(known), expected=None)

    async def forget(self, instance_id: str) -> None:
        """Delete what is stored for the instance. Raises StoreError."""
        await self._store.delete(KIND, instance_id)

    def _decoded(self, entry: StoreEntry) -> Known:
        try:
            return decode(entry.value)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._emit(StoredAnswersUnreadable(entry.id))
            return NOTHING


def encode(known: Known) -> dict[str, Any]:
    """The JSON form that is stored."""
    return {
        "answers": {
            name: {
                "question": one.question,
                "asked_at": one.asked_at,
                "value": one.value,
            }
            for name, one in known.answers.items()
        },
        "failures": {
            name: {"since": one.since, "why": one.why}
            for name, one in known.failures.items()
        },
    }


def decode(value: Mapping[str, Any]) -> Known:
    """Reads the JSON form that is stored. Raises what indexing raises if it has another
    form.
    """
    return Known(
        {
            str(name): TargetAnswer(
                str(one["question"]), float(one["asked_at"]), one["value"]
            )
            for name, one in value["answers"].items()
        },
        {
            str(name): Failure(float(one["since"]), str(one["why"]))
            for name, one in value["failures"].items()
        },
    )
