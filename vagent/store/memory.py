"""A store in memory, for tests: the same contract suite runs against it and
SqliteStore.

Values are kept as JSON text, so nobody can change what is stored by changing a dict.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vagent.errors import ConflictError, StoreError
from vagent.store.store import Changed, StoreEntry, Watch
from vagent.store.value import (
    MAX_ENTRIES,
    check_key,
    conflict,
    from_text,
    refuse_entry,
    to_text,
)
from vagent.store.watches import Watches


class MemoryStore:
    """ConfigStore in memory. While `broken` holds a text, everything fails with it."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self._entries: dict[str, dict[str, tuple[str, int]]] = {}
        self._revision = 0
        self._watches = Watches()

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        self._check()
        check_key(kind, entry_id)
        found = self._entries.get(kind, {}).get(entry_id)
        return None if found is None else _entry(kind, entry_id, found)

    async def entries(self, kind: str) -> tuple[StoreEntry, ...]:
        self._check()
        of_kind = self._entries.get(kind, {})
        return tuple(
            _entry(kind, entry_id, of_kind[entry_id]) for entry_id in sorted(of_kind)
        )

    async def put(
        self, kind: str, entry_id: str, value: dict[str, Any], *, expected: int | None
    ) -> StoreEntry:
        self._check()
        check_key(kind, entry_id)
        text = to_text(kind, entry_id, value)
        of_kind = self._entries.setdefault(kind, {})
        found = of_kind[entry_id][1] if entry_id in of_kind else 0
        if expected is not None and expected != found:
            raise ConflictError(
                conflict(kind, entry_id, expected=expected, found=found)
            )
        if not found and len(of_kind) >= MAX_ENTRIES:
            raise refuse_entry(kind)
        self._revision += 1
        of_kind[entry_id] = (text, self._revision)
        self._watches.tell(kind, entry_id)
        return _entry(kind, entry_id, (text, self._revision))

    async def delete(
        self, kind: str, entry_id: str, *, also: Collection[str] = ()
    ) -> bool:
        self._check()
        for each in (kind, *also):
            check_key(each, entry_id)
        gone = [
            each
            for each in (kind, *also)
            if self._entries.get(each, {}).pop(entry_id, None) is not None
        ]
        if gone:
            self._revision += 1
        for each in gone:
            self._watches.tell(each, entry_id)
        return kind in gone

    def watch(self, kind: str, changed: Changed) -> Watch:
        return self._watches.add(kind, changed)

    def _check(self) -> None:
        if self.broken is not None:
            raise StoreError(self.broken)


def _entry(kind: str, entry_id: str, stored: tuple[str, int]) -> StoreEntry:
    text, revision = stored
    return StoreEntry(kind, entry_id, from_text(kind, entry_id, text), revision)
