"""A store that forgets: the verified fake of SqliteStore (one contract suite for both).

Values are kept as JSON text, so nobody can change what is stored by changing a dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vagent.errors import ConflictError, StoreError
from vagent.store.store import Entry, Watch
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

    async def get(self, kind: str, entry_id: str) -> Entry | None:
        self._check()
        check_key(kind, entry_id)
        found = self._entries.get(kind, {}).get(entry_id)
        return None if found is None else _entry(kind, entry_id, found)

    async def entries(self, kind: str) -> tuple[Entry, ...]:
        self._check()
        of_kind = self._entries.get(kind, {})
        return tuple(
            _entry(kind, entry_id, of_kind[entry_id]) for entry_id in sorted(of_kind)
        )

    async def put(
        self, kind: str, entry_id: str, value: dict[str, Any], *, expected: int | None
    ) -> Entry:
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
        self._watches.tell(kind)
        return _entry(kind, entry_id, (text, self._revision))

    async def delete(self, kind: str, entry_id: str) -> bool:
        self._check()
        check_key(kind, entry_id)
        if self._entries.get(kind, {}).pop(entry_id, None) is None:
            return False
        self._revision += 1
        self._watches.tell(kind)
        return True

    def watch(self, kind: str, changed: Callable[[], None]) -> Watch:
        return self._watches.add(kind, changed)

    def _check(self) -> None:
        if self.broken is not None:
            raise StoreError(self.broken)


def _entry(kind: str, entry_id: str, stored: tuple[str, int]) -> Entry:
    text, revision = stored
    return Entry(kind, entry_id, from_text(kind, entry_id, text), revision)
