"""What a configuration store is, whatever it stores."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One stored JSON object. `revision` grows with every change of the store."""

    kind: str
    id: str
    value: dict[str, Any]
    revision: int


Changed = Callable[[str], None]
"""Is given the id of the entry that was changed."""


class Watch(Protocol):
    """A subscription to the changes of one kind."""

    def stop(self) -> None:
        """No call-back after this."""


class ConfigStore(Protocol):
    """Holds JSON objects by (kind, id); survives kill -9; tells of changes.

    Every coroutine raises StoreError when the medium fails.
    """

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        """The entry, or None."""

    async def entries(self, kind: str) -> tuple[StoreEntry, ...]:
        """All entries of a kind, in order of id."""

    async def put(
        self, kind: str, entry_id: str, value: dict[str, Any], *, expected: int | None
    ) -> StoreEntry:
        """Write durably. `expected` is the revision seen, 0 for "must not exist", None
        for "whatever is there". Raises ConflictError when it does not match.
        """

    async def delete(
        self, kind: str, entry_id: str, *, also: Collection[str] = ()
    ) -> bool:
        """Remove durably; False when there was nothing of that kind. What is under the
        same id in the kinds `also` goes with it, all or nothing, whether it was there
        or not.
        """

    def watch(self, kind: str, changed: Changed) -> Watch:
        """Call `changed` after each committed change of the kind, from the reactor, and
        before the call that made it returns.
        """
