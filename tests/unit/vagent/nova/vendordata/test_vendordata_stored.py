"""What is known of targets survives in the store, and what is no good is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vagent.errors import StoreError
from vagent.nova.vendordata.events import StoredAnswersUnreadable
from vagent.nova.vendordata.stored import (
    KIND,
    NOTHING,
    Failure,
    Known,
    StoredAnswers,
    TargetAnswer,
    decode,
    encode,
)
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

UUID = "1a2b3c00-0000-4000-8000-000000000003"
KNOWN = Known(
    {"a": TargetAnswer("q", 12.5, {"x": [1, None]}), "b": TargetAnswer("r", 0.0, None)},
    {"c": Failure(99.0, "status 500")},
)


def now(coroutine: Any) -> Any:
    return SynchronousTestCase().successResultOf(Deferred.fromCoroutine(coroutine))


def test_saved_is_loaded() -> None:
    """All of it, and nothing where nothing was saved or it was forgotten."""
    stored = StoredAnswers(MemoryStore(), list[Event]().append)
    assert NOTHING == now(stored.load(UUID))
    now(stored.save(UUID, KNOWN))
    assert KNOWN == now(stored.load(UUID))
    now(stored.forget(UUID))
    assert NOTHING == now(stored.load(UUID))


def test_the_form_stays() -> None:
    """What an older version stored is read by a newer one."""
    value = {
        "answers": {"a": {"question": "q", "asked_at": 1, "value": [1]}},
        "failures": {"b": {"since": 2.5, "why": "w"}},
    }
    known = Known({"a": TargetAnswer("q", 1.0, [1])}, {"b": Failure(2.5, "w")})
    assert known == decode(value)
    assert value == encode(known)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"answers": [], "failures": {}},
        {"answers": {}, "failures": {"a": {"since": "x", "why": "w"}}},
        {"answers": {"a": {"question": "q", "asked_at": 1}}, "failures": {}},
        {"answers": {"a": None}, "failures": {}},
    ],
)
def test_what_cannot_be_read_is_nothing(value: dict[str, Any]) -> None:
    """Somebody changed it by hand: it is reported, and targets are asked again."""
    store, events = MemoryStore(), list[Event]()
    now(store.put(KIND, UUID, value, expected=None))
    assert NOTHING == now(StoredAnswers(store, events.append).load(UUID))
    assert [StoredAnswersUnreadable(UUID)] == events


def test_a_store_that_fails_is_not_nothing() -> None:
    """Or a target would be asked again whose answer is there."""
    store = MemoryStore()
    store.broken = "disk is gone"
    failure = SynchronousTestCase().failureResultOf(
        Deferred.fromCoroutine(StoredAnswers(store, list[Event]().append).load(UUID))
    )
    assert StoreError is failure.type


def test_how_long_an_answer_is_fresh() -> None:
    """For its own question, until its time is over."""
    answer = TargetAnswer("q", 100.0, {})
    assert answer.is_fresh("q", 109.9, 10)
    assert not answer.is_fresh("q", 110.0, 10)
    assert not answer.is_fresh("r", 100.0, 10)
    assert not answer.is_fresh("q", 100.0, 0)
