"""Instances of files and of the store as one source; a file goes before the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vagent.config.model import MetadataServerConfig
from vagent.judgements.judgement import Judgement
from vagent.keystone.own_thread import OwnThread
from vagent.nova.instance import Instance
from vagent.nova.instance_files.follower import FileInstances
from vagent.nova.source import StoredInstances
from vagent.observe.event import Emit
from vagent.store.store import Changed, ConfigStore


class AllInstances:
    """The instances of both. `files` is None where no directory is configured."""

    def __init__(self, stored: StoredInstances, files: FileInstances | None) -> None:
        self._stored = stored
        self._files = files

    def start(self) -> None:
        """Follow the changes of both."""
        self._stored.start()
        if self._files is not None:
            self._files.start()

    def stop(self) -> None:
        """Follow them no longer."""
        self._stored.stop()
        if self._files is not None:
            self._files.stop()

    async def get(self, instance_id: str) -> Instance | None:
        """The instance, or None. Raises StoreError when the store fails, where its file
        is no good, and while the directory was never read: what the store has may be
        out of date.
        """
        if self._files is not None:
            instance = await self._files.get(instance_id)
            if instance is not None:
                return instance
        return await self._stored.get(instance_id)

    async def document(self, instance_id: str) -> Mapping[str, Any] | None:
        """The document of its file, None where it has none. Raises StoreError."""
        return None if self._files is None else await self._files.document(instance_id)

    async def file_of(self, instance_id: str) -> str | None:
        """The path of its file, None where it has none."""
        if self._files is None:
            return None
        path = await self._files.file_of(instance_id)
        return None if path is None else str(path)

    def listing(self) -> list[dict[str, str]]:
        """UUID and path of each file, and its problem if it is no good."""
        return [] if self._files is None else self._files.listing()

    def judgements(self) -> Iterable[Judgement]:
        """What is wrong with the directory and its files now."""
        return () if self._files is None else self._files.judgements()

    def __repr__(self) -> str:
        return f"<AllInstances {self._stored!r}, {self._files!r}>"


def all_instances(
    server: MetadataServerConfig | None,
    store: ConfigStore,
    *,
    emit: Emit,
    reactor: Any,
    changed: Changed = lambda _uuid: None,
) -> AllInstances:
    """The instances that the configuration asks for; files in a thread of their own.
    `changed` is called for each instance whose documents may have changed.
    """
    files = None
    if server is not None and server.instance_directory is not None:
        files = FileInstances(
            server.instance_directory,
            run_in_thread=OwnThread("vagent-instances", reactor=reactor),
            emit=emit,
            changed=changed,
            clock=reactor,
        )
    return AllInstances(StoredInstances(store, emit, changed=changed), files)
