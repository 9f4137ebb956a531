"""MemoryStore beyond the contract: it can be told to fail."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from vagent.errors import StoreError
from vagent.store.memory import MemoryStore


def test_broken() -> None:
    """While `broken` is set every call fails with its text; then all is back."""
    store = MemoryStore()
    Deferred.fromCoroutine(store.put("kind", "id", {}, expected=None))
    store.broken = "disk on fire"
    calls = (
        store.get("kind", "id"),
        store.entries("kind"),
        store.put("kind", "id", {}, expected=None),
        store.delete("kind", "id"),
    )
    for call in calls:
        ended: list[Any] = []
        Deferred.fromCoroutine(call).addBoth(ended.append)
        with pytest.raises(StoreError, match="disk on fire"):
            ended[0].raiseException()
    store.broken = None
    found: list[object] = []
    Deferred.fromCoroutine(store.get("kind", "id")).addCallback(found.append)
    assert found != [None]
