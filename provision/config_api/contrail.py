"""The calls of Contrail's config API that vnc_api and its tools need, as coroutines
over the store.

There is one object, the global-vrouter-config with the services. Every change is a
compare-and-swap: a client that sends If-Match never overwrites what it has not seen.
Contrail's tools send none, and for them the last writer wins.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from provision.config_api.effect import Effect
from provision.config_api.homepage import RESOURCES, homepage
from provision.config_api.reply import (
    NO_AGENT,
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
    json_object,
    json_reply,
    member,
)
from provision.config_api.routes import ApiRoute, expected_revision
from provision.config_api.vrouter_config import (
    PARENT_FQ_NAME,
    PARENT_TYPE,
    PARENT_UUID,
    created,
    default,
    list_item,
    parent,
    parse_uuid,
    refuse_own_servers,
    shown,
    summary,
    updated,
)
from vagent.errors import ConflictError
from vagent.linklocal.codec import FQ_NAME, KIND, OBJECT_ID
from vagent.linklocal.own_servers import OwnServers
from vagent.store.store import ConfigStore, StoreEntry

MAX_ATTEMPTS = 8
"""Times that an update is tried; each repetition means that another call changed the
object in between."""


async def ensure_default(store: ConfigStore) -> None:
    """Make the global-vrouter-config without services, unless it is there.

    A Contrail API server makes it at each start, and its tools read, list and change it
    without having made it. Raises StoreError.
    """
    with suppress(ConflictError):
        await store.put(KIND, OBJECT_ID, default(), expected=0)


class ConfigApi:
    """The calls of Contrail's API server that concern link-local services. `effect`
    says what a change did to the guests; without it a change is only stored. A service
    that leads to one of the agent's `own` servers is refused, unless it is stored
    already: what is beside it can be changed.
    """

    def __init__(
        self,
        store: ConfigStore,
        *,
        new_uuid: Callable[[], UUID],
        effect: Effect | None = None,
        own: OwnServers | None = None,
    ) -> None:
        self._own = own
        self._store = store
        self._new_uuid = new_uuid
        self._effect = effect

    def routes(self) -> tuple[ApiRoute, ...]:
        """What this API answers."""
        return (
            ApiRoute("GET", "/", self.home),
            ApiRoute("POST", "/fqname-to-id", self.name_to_id),
            ApiRoute("POST", "/id-to-fqname", self.id_to_name),
            ApiRoute("POST", f"/{KIND}s", self.create),
            ApiRoute("GET", f"/{KIND}s", self.list_all),
            ApiRoute("GET", f"/{KIND}/*", self.read),
            ApiRoute("PUT", f"/{KIND}/*", self.update),
            ApiRoute("DELETE", f"/{KIND}/*", self.delete),
            ApiRoute("GET", f"/{PARENT_TYPE}s", self.list_parents),
            ApiRoute("GET", f"/{PARENT_TYPE}/*", self.read_parent),
        )

    async def home(self, request: ConfigApiRequest) -> ConfigApiReply:
        """The homepage, from which vnc_api learns all paths."""
        return json_reply(homepage(request.root))

    async def name_to_id(self, request: ConfigApiRequest) -> ConfigApiReply:
        """UUID of an object, by type and fq_name."""
        body = json_object(request.body)
        kind, fq_name = _kind(body.get("type")), body.get("fq_name")
        if kind == PARENT_TYPE and fq_name == list(PARENT_FQ_NAME):
            return json_reply({"uuid": PARENT_UUID})
        if kind == KIND and fq_name == list(FQ_NAME):
            entry = await self._entry()
            if entry is not None:
                return json_reply({"uuid": entry.value["uuid"]})
        raise RefusedError(404, f"Name {ascii(fq_name)[:256]} not found")

    async def id_to_name(self, request: ConfigApiRequest) -> ConfigApiReply:
        """Type and fq_name of an object, by UUID."""
        uuid = parse_uuid(json_object(request.body).get("uuid"))
        if uuid == PARENT_UUID:
            return json_reply({"type": PARENT_TYPE, "fq_name": list(PARENT_FQ_NAME)})
        entry = await self._entry()
        if entry is None or entry.value["uuid"] != uuid:
            raise RefusedError(404, f"UUID {uuid} not found")
        return json_reply({"type": KIND, "fq_name": list(FQ_NAME)})

    async def create(self, request: ConfigApiRequest) -> ConfigApiReply:
        """Make the object: 200, or 409 if it is there already."""
        value = created(member(json_object(request.body), KIND), self._new_uuid)
        self._check({}, value)
        try:
            entry = await self._store.put(KIND, OBJECT_ID, value, expected=0)
        except ConflictError:
            raise await self._exists_already() from None
        reply = {KIND: summary(value, request.root)}
        in_force = await self._in_force({}, value)
        return json_reply(reply, revision=entry.revision, in_force=in_force)

    async def list_all(self, request: ConfigApiRequest) -> ConfigApiReply:
        """The object, if it exists; with its properties if `detail` is asked."""
        entry = await self._entry()
        items: list[dict[str, Any]] = []
        if entry is not None and request.query.get("detail", "").lower() == "true":
            items = [{KIND: shown(entry.value, request.root)}]
        elif entry is not None:
            items = [list_item(entry.value, request.root)]
        return json_reply({f"{KIND}s": items})

    async def read(self, request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """The object and, as ETag, its revision."""
        entry = await self._entry_of(uuid)
        reply = {KIND: shown(entry.value, request.root)}
        return json_reply(reply, revision=entry.revision)

    async def update(self, request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Replace the given properties; 412 if If-Match is given and not current."""
        body = member(json_object(request.body), KIND)
        demanded = expected_revision(request)
        for _ in range(MAX_ATTEMPTS):
            entry = await self._entry_of(uuid)
            seen = entry.revision if demanded is None else demanded
            value = updated(entry.value, body)
            self._check(entry.value, value)
            try:
                new = await self._store.put(KIND, OBJECT_ID, value, expected=seen)
            except ConflictError as error:
                if demanded is not None:
                    raise RefusedError(412, str(error)) from None
                continue
            item = list_item(value, request.root)
            reply = {KIND: {"uuid": item["uuid"], "href": item["href"]}}
            in_force = await self._in_force(entry.value, value)
            return json_reply(reply, revision=new.revision, in_force=in_force)
        raise RefusedError(503, f"{MAX_ATTEMPTS} changes came between: try again")

    async def delete(self, _request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """Remove the object and, with it, all services."""
        entry = await self._entry_of(uuid)
        await self._store.delete(KIND, OBJECT_ID)
        in_force = await self._in_force(entry.value, {})
        return ConfigApiReply(200, in_force=in_force)

    async def list_parents(self, request: ConfigApiRequest) -> ConfigApiReply:
        """The global-system-config that always exists."""
        item = parent(request.root)
        keys = ("uuid", "fq_name", "href")
        return json_reply({f"{PARENT_TYPE}s": [{key: item[key] for key in keys}]})

    async def read_parent(self, request: ConfigApiRequest, uuid: str) -> ConfigApiReply:
        """The global-system-config that always exists."""
        if parse_uuid(uuid) != PARENT_UUID:
            raise RefusedError(404, f"No {PARENT_TYPE} object found for id {uuid[:64]}")
        return json_reply({PARENT_TYPE: parent(request.root)})

    def _check(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        if self._own is not None:
            refuse_own_servers(old, new, self._own)

    async def _in_force(self, old: dict[str, Any], new: dict[str, Any]) -> str:
        if self._effect is None:
            return NO_AGENT
        return await self._effect.of_change(old, new)

    async def _entry(self) -> StoreEntry | None:
        return await self._store.get(KIND, OBJECT_ID)

    async def _entry_of(self, uuid: str) -> StoreEntry:
        wanted = parse_uuid(uuid)
        entry = await self._entry()
        if entry is None or entry.value["uuid"] != wanted:
            raise RefusedError(404, f"No {KIND} object found for id {wanted}")
        return entry

    async def _exists_already(self) -> RefusedError:
        entry = await self._entry()
        uuid = entry.value["uuid"] if entry else "unknown (it has just been deleted)"
        return RefusedError(409, f"{list(FQ_NAME)} already exists with uuid: {uuid}")


def _kind(text: object) -> str:
    """The type in a body, spelled with dashes; Contrail accepts underscores, too."""
    kind = text.replace("_", "-") if isinstance(text, str) else ""
    return kind if kind in RESOURCES else ""
