"""Our own calls about instances of the embedded metadata server, under /vagent/.

What makes a good instance, what remains of an older one and what is known of its vendor
data is asked of the server's own modules, by `Embedded`.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from provision.config_api.reply import (
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
    json_object,
    json_reply,
)
from provision.config_api.routes import ApiRoute, expected_revision
from provision.config_api.vrouter_config import parse_uuid
from vagent.errors import ConflictError, WireError
from vagent.store.store import ConfigStore, StoreEntry

INSTANCE = "instance"
"""Kind in the store; the id is the instance's UUID, lower case with dashes."""
MAX_ATTEMPTS = 8
"""Rounds of read, merge and swap: each lost round means that another call won it."""


class Embedded(Protocol):
    """What the embedded metadata server knows of instances."""

    @property
    def companions(self) -> Collection[str]:
        """Kinds of entries that go when an instance is deleted."""

    def admitted(
        self, new: dict[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """What is stored for a document that comes in the place of `stored`. Raises
        WireError for one that could not be served.
        """

    async def file_of(self, uuid: str) -> str | None:
        """The file that describes this instance; None: these calls do."""

    async def document(self, uuid: str) -> Mapping[str, Any] | None:
        """What its file says; None without one. Raises StoreError."""

    def files(self) -> list[dict[str, str]]:
        """All files: `uuid`, `file`, and `problem` for one that is no good."""

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        """Vendor data targets that gave no valid answer, by UUID. Raises StoreError."""

    async def vendor_data(self, uuid: str) -> list[dict[str, Any]]:
        """What is known of each target for this instance. Raises StoreError."""

    async def forget_vendor_data(self, uuid: str) -> None:
        """Forget the stored answers: the guest's next request asks the targets again.
        Raises StoreError.
        """

    async def password(self, uuid: str) -> str | None:
        """What its guest posted as its password, "" for nothing; None if there is no
        such instance. Raises StoreError.
        """

    async def clear_password(self, uuid: str) -> bool:
        """Its guest may post another; False: there was none. Raises StoreError."""

    async def identity_keys(self) -> Mapping[str, Any]:
        """The public keys that check who a guest is: a JSON Web Key Set, with a member
        `certificates` (PEM).
        """

    async def drive(self, uuid: str) -> Mapping[str, bytes]:
        """The files of its config drive, none if it cannot be served. Raises
        StoreError, and WireError where its vendor data are an error.
        """


class AnyInstance:
    """For a store without a server: every object is an instance, and nothing else is
    known.
    """

    companions = ()

    def admitted(
        self, new: dict[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        del stored
        return new

    async def file_of(self, uuid: str) -> str | None:
        del uuid
        return None

    async def document(self, uuid: str) -> Mapping[str, Any] | None:
        del uuid
        return None

    def files(self) -> list[dict[str, str]]:
        return []

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        return {}

    async def vendor_data(self, uuid: str) -> list[dict[str, Any]]:
        del uuid
        return []

    async def forget_vendor_data(self, uuid: str) -> None:
        del uuid

    async def password(self, uuid: str) -> str | None:
        del uuid
        return None

    async def clear_password(self, uuid: str) -> bool:
        del uuid
        return False

    async def identity_keys(self) -> Mapping[str, Any]:
        return {"keys": [], "certificates": ""}

    async def drive(self, uuid: str) -> Mapping[str, bytes]:
        del uuid
        return {}


class InstanceCalls:
    """`/vagent/instances`, `/vagent/instance/<uuid>` and what is below it, and
    `/vagent/identity-keys`.
    """

    def __init__(self, store: ConfigStore, embedded: Embedded) -> None:
        self._store = store
        self._embedded = embedded

    def routes(self) -> tuple[ApiRoute, ...]:
        """The routes of these calls."""
        one = "/vagent/instance/*"
        return (
            ApiRoute("GET", "/vagent/instances", self.list_instances),
            ApiRoute("GET", one, self.read),
            ApiRoute("PUT", one, self.write),
            ApiRoute("DELETE", one, self.delete),
            ApiRoute("GET", f"{one}/vendordata", self.read_vendor_data),
            ApiRoute("DELETE", f"{one}/vendordata", self.forget_vendor_data),
            ApiRoute("GET", f"{one}/password", self.read_password),
            ApiRoute("DELETE", f"{one}/password", self.clear_password),
            ApiRoute("GET", f"{one}/drive", self.read_drive),
            ApiRoute("GET", "/vagent/identity-keys", self.read_identity_keys),
        )

    async def list_instances(self, _request: ConfigApiRequest) -> ConfigApiReply:
        """All instances, each with its UUID, in order of UUID; with those vendor data
        targets, if any, that gave no valid answer for it. One of a file has the file's
        name in place of its document, and what is wrong with it.
        """
        failed = await self._embedded.failed_targets()
        files: list[dict[str, Any]] = [*self._embedded.files()]
        described = {item["uuid"] for item in files}
        stored: list[dict[str, Any]] = [
            {"uuid": entry.id, "instance": entry.value}
            for entry in await self._store.entries(INSTANCE)
            if entry.id not in described
        ]
        items = sorted(stored + files, key=lambda item: str(item["uuid"]))
        for item in items:
            if item["uuid"] in failed:
                item["failed_targets"] = list(failed[item["uuid"]])
        return json_reply({"instances": items})

    async def read(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """One instance and, as ETag, its revision."""
        entry = await self._entry(uuid)
        return json_reply(entry.value, revision=entry.revision)

    async def write(self, request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Create or replace; If-Match and If-None-Match are honoured (412). 409 where a
        file describes the instance.
        """
        wanted = parse_uuid(uuid)
        await self._refuse_if_file(wanted)
        demanded = expected_revision(request)
        value = json_object(request.body)
        for _ in range(MAX_ATTEMPTS):
            stored = await self._store.get(INSTANCE, wanted)
            admitted = self._admitted(wanted, value, stored)
            if request.if_match is not None and demanded is None and stored is None:
                raise _missing(wanted)
            seen = 0 if stored is None else stored.revision
            try:
                entry = await self._store.put(
                    INSTANCE,
                    wanted,
                    admitted,
                    expected=seen if demanded is None else demanded,
                )
            except ConflictError:
                if demanded is not None:
                    raise
                continue
            return json_reply({"uuid": wanted}, revision=entry.revision)
        raise RefusedError(503, f"{MAX_ATTEMPTS} changes came between: try again")

    async def delete(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Delete an instance and what is kept for its guest under its UUID (password,
        vendor data); 404 if there is no such instance, 409 if it is one of a file.
        """
        wanted = parse_uuid(uuid)
        await self._refuse_if_file(wanted)
        also = self._embedded.companions
        if not await self._store.delete(INSTANCE, wanted, also=also):
            raise _missing(wanted)
        return json_reply({"uuid": wanted})

    async def read_vendor_data(
        self, _request: ConfigApiRequest, uuid: str
    ) -> ConfigApiReply:
        """Each vendor data target: answered or failed, since when; never an answer."""
        entry = await self._entry(uuid)
        targets = await self._embedded.vendor_data(entry.id)
        return json_reply({"uuid": entry.id, "targets": targets})

    async def forget_vendor_data(
        self, _request: ConfigApiRequest, uuid: str
    ) -> ConfigApiReply:
        """The next request of the guest asks its targets again."""
        entry = await self._entry(uuid)
        await self._embedded.forget_vendor_data(entry.id)
        return json_reply({"uuid": entry.id})

    async def read_password(
        self, _request: ConfigApiRequest, uuid: str
    ) -> ConfigApiReply:
        """The password that the guest posted, as it posted it (Windows' are encrypted
        for the instance's key); "" while there is none.
        """
        wanted = parse_uuid(uuid)
        password = await self._embedded.password(wanted)
        if password is None:
            raise _missing(wanted)
        return json_reply({"uuid": wanted, "password": password})

    async def clear_password(
        self, _request: ConfigApiRequest, uuid: str
    ) -> ConfigApiReply:
        """Delete the password: the guest may post another. `cleared` says whether there
        was one.
        """
        wanted = parse_uuid(uuid)
        cleared = await self._embedded.clear_password(wanted)
        if not cleared and await self._embedded.password(wanted) is None:
            raise _missing(wanted)
        return json_reply({"uuid": wanted, "cleared": cleared})

    async def read_drive(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """The files of a config drive of the instance, in base64 by their paths."""
        entry = await self._entry(uuid)
        try:
            files = await self._embedded.drive(entry.id)
        except WireError as error:
            raise RefusedError(503, f"instance {entry.id}: {error}") from None
        if not files:
            raise RefusedError(409, f"instance {entry.id}: it cannot be served")
        content = {
            path: base64.b64encode(content).decode() for path, content in files.items()
        }
        return json_reply({"uuid": entry.id, "files": content})

    async def read_identity_keys(self, _request: ConfigApiRequest) -> ConfigApiReply:
        """The public keys of this host's identity documents."""
        return json_reply(dict(await self._embedded.identity_keys()))

    async def _entry(self, uuid: str) -> StoreEntry:
        wanted = parse_uuid(uuid)
        document = await self._embedded.document(wanted)
        if document is not None:
            return StoreEntry(INSTANCE, wanted, dict(document), revision=0)
        entry = await self._store.get(INSTANCE, wanted)
        if entry is None:
            raise _missing(wanted)
        return entry

    async def _refuse_if_file(self, uuid: str) -> None:
        file = await self._embedded.file_of(uuid)
        if file is not None:
            raise RefusedError(
                409, f"instance {uuid}: {file} describes it; change or remove that file"
            )

    def _admitted(
        self, wanted: str, value: dict[str, Any], stored: StoreEntry | None
    ) -> dict[str, Any]:
        try:
            admitted = self._embedded.admitted(
                value, None if stored is None else stored.value
            )
        except WireError as error:
            raise RefusedError(400, f"instance {wanted}: {error}") from None
        _check_name(value, wanted)
        return admitted


def _check_name(value: dict[str, Any], wanted: str) -> None:
    """Refuse a document that names another UUID: no guest would ever find it."""
    named = value.get("uuid", wanted)
    if not isinstance(named, str) or parse_uuid(named) != wanted:
        raise RefusedError(
            400, f"instance {wanted}: uuid: the document is for another instance"
        )


def _missing(uuid: str) -> RefusedError:
    return RefusedError(404, f"No {INSTANCE} object found for id {uuid}")
