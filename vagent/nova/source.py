"""Reads instances and their passwords from the configuration store.

A document is decoded once, and kept until the store reports a change of the instance.
An invalid document is reported once and then treated as absent. Errors of the store are
raised, so that a caller cannot take them for an absent instance.
"""

from __future__ import annotations

import json
import re
from typing import Protocol

from vagent.errors import WireError
from vagent.nova.codec import decode_instance
from vagent.nova.events import InstanceSkipped
from vagent.nova.instance import Instance
from vagent.observe.event import Emit
from vagent.store.store import Changed, ConfigStore, StoreEntry, Watch

KIND = "instance"
"""The store's kind of instance documents; entry ids are the instances' UUIDs."""
PASSWORD_KIND = "instance-password"  # noqa: S105 - the name of a kind
"""The store's kind of passwords: `{"password": text}` under the instance's UUID."""
MAX_DECODED = 16 * 1024 * 1024
"""Bytes of the documents, as JSON, whose decoded instances are kept: 10,000 of usual
ones, which take five times that in memory. The oldest makes room."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InstanceSource(Protocol):
    """Gives instances by UUID."""

    async def get(self, instance_id: str) -> Instance | None:
        """The instance, or None. Raises StoreError when the store fails."""


class PasswordStore(Protocol):
    """Stores one password for each instance, as the guest posted it."""

    async def get(self, instance_id: str) -> str:
        """The password, "" when none is set. Raises StoreError."""

    async def set(self, instance_id: str, password: str) -> None:
        """Store it. Raises ConflictError when one is set already, else StoreError."""


class StoredInstances:
    """Instances of the configuration store. Keeps decoded ones once it is started.

    `changed` is then called for each instance whose documents may have changed.
    """

    def __init__(
        self,
        store: ConfigStore,
        emit: Emit,
        *,
        changed: Changed = lambda _uuid: None,
    ) -> None:
        self._store = store
        self._emit = emit
        self._tell = changed
        self._decoded: dict[str, Instance | None] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._changes = 0
        self._watches: list[Watch] = []

    def start(self) -> None:
        """Watch the store, so that decoded instances can be kept until it changes."""
        if not self._watches:
            watch = self._store.watch
            self._watches = [
                watch(KIND, self._changed),
                watch(PASSWORD_KIND, self._tell),
            ]

    def stop(self) -> None:
        """Forget decoded instances, and watch no longer."""
        for watch in self._watches:
            watch.stop()
        self._watches.clear()
        self._changes += 1
        self._decoded.clear()
        self._sizes.clear()
        self._size = 0

    async def get(self, instance_id: str) -> Instance | None:
        """The instance, or None. Raises StoreError when the store fails."""
        if not _UUID.fullmatch(instance_id):
            return None
        if instance_id in self._decoded:
            return self._decoded[instance_id]
        changes = self._changes
        entry = await self._store.get(KIND, instance_id)
        if entry is None:
            return None
        instance = self._decode(entry)
        # What was read before a change must not be kept after it.
        if self._watches and changes == self._changes:
            self._keep(instance_id, instance, len(json.dumps(entry.value)))
        return instance

    def _keep(self, instance_id: str, instance: Instance | None, size: int) -> None:
        self._drop(instance_id)
        while self._decoded and self._size + size > MAX_DECODED:
            self._drop(next(iter(self._decoded)))
        self._decoded[instance_id] = instance
        self._sizes[instance_id] = size
        self._size += size

    def _drop(self, instance_id: str) -> None:
        self._decoded.pop(instance_id, None)
        self._size -= self._sizes.pop(instance_id, 0)

    def _decode(self, entry: StoreEntry) -> Instance | None:
        try:
            instance = decode_instance(entry.value)
        except WireError as error:
            self._emit(InstanceSkipped(entry.id, str(error)))
            return None
        if instance.uuid != entry.id:
            self._emit(InstanceSkipped(entry.id, f"it says uuid {instance.uuid}"))
            return None
        return instance

    def _changed(self, instance_id: str) -> None:
        self._changes += 1
        self._drop(instance_id)
        self._tell(instance_id)

    def __repr__(self) -> str:
        state = "following" if self._watches else "stopped"
        return f"<StoredInstances {state}, {len(self._decoded)} decoded>"


class StoredPasswords:
    """Passwords of the configuration store."""

    def __init__(self, store: ConfigStore) -> None:
        self._store = store

    async def get(self, instance_id: str) -> str:
        """The password, "" when none is set. Raises StoreError."""
        entry = await self._store.get(PASSWORD_KIND, instance_id)
        return "" if entry is None else str(entry.value.get("password", ""))

    async def set(self, instance_id: str, password: str) -> None:
        """Store it. Raises ConflictError when one is set already."""
        await self._store.put(
            PASSWORD_KIND, instance_id, {"password": password}, expected=0
        )

    async def clear(self, instance_id: str) -> bool:
        """Delete it, so that the guest may set another; False: none was set. Raises
        StoreError.
        """
        return await self._store.delete(PASSWORD_KIND, instance_id)
