"""The calls of Contrail's config API, over the store's verified fake."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import create_autospec
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred

from provision.config_api.contrail import MAX_ATTEMPTS, ConfigApi, ensure_default
from provision.config_api.effect import Effect
from provision.config_api.homepage import RESOURCES
from provision.config_api.reply import (
    NO_AGENT,
    ConfigApiReply,
    ConfigApiRequest,
    RefusedError,
)
from provision.config_api.routes import dispatch
from provision.config_api.vrouter_config import PARENT_UUID
from vagent.linklocal.codec import FQ_NAME, KIND, OBJECT_ID, PROPERTY, wire_entry
from vagent.linklocal.own_servers import LOOPBACK, OwnServer, OwnServers
from vagent.linklocal.table import MAX_SERVICES
from vagent.store.memory import MemoryStore
from vagent.store.store import StoreEntry

ID = "a0000000-0000-4000-8000-000000000001"
ROOT = "http://10.0.0.5:8082"
ENTRY = wire_entry(
    name="metadata",
    address="169.254.169.254",
    port=80,
    fabric_addresses=["10.0.0.5"],
    fabric_port=8775,
)


class Api:
    """Calls without HTTP."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.routes = ConfigApi(self.store, new_uuid=lambda: UUID(ID)).routes()

    def reply(
        self, method: str, path: str, value: Any = None, **more: Any
    ) -> ConfigApiReply:
        body = b"" if value is None else json.dumps(value).encode()
        request = ConfigApiRequest(method, path, root=ROOT, body=body, **more)
        replies: list[ConfigApiReply] = []
        Deferred.fromCoroutine(dispatch(self.routes, request)).addCallback(
            replies.append
        )
        return replies[0]

    def call(self, method: str, path: str, value: Any = None, **more: Any) -> Any:
        reply = self.reply(method, path, value, **more)
        assert reply.status == 200, reply.body
        return json.loads(reply.body or b"null")

    def create(self, **more: Any) -> ConfigApiReply:
        value = {"uuid": None, "fq_name": list(FQ_NAME), **more}
        return self.reply("POST", f"/{KIND}s", {KIND: value})


def services(*entries: Any) -> dict[str, Any]:
    return {"linklocal_service_entry": list(entries)}


@pytest.fixture
def api() -> Api:
    return Api()


def refused(reply: ConfigApiReply) -> tuple[int, str]:
    return reply.status, reply.body.decode()


def test_homepage(api: Api) -> None:
    """Every link that vnc_api needs is there and starts with href."""
    page = api.call("GET", "/")
    links = [link["link"] for link in page["links"]]
    found = {(link["rel"], link["name"]): link["href"] for link in links}
    assert page["href"] == ROOT
    assert all(href.startswith(f"{ROOT}/") for href in found.values())
    for name in RESOURCES:
        assert found["collection", name] == f"{ROOT}/{name}s"
        assert found["resource-base", name] == f"{ROOT}/{name}"
    assert found["action", "name-to-id"] == f"{ROOT}/fqname-to-id"
    assert found["action", "id-to-name"] == f"{ROOT}/id-to-fqname"


def test_create(api: Api) -> None:
    """The reply to a create has Contrail's keys; the object is stored by its name."""
    reply = api.create(
        parent_type="global-system-config", **{PROPERTY: services(ENTRY)}
    )
    assert json.loads(reply.body) == {
        KIND: {
            "name": "default-global-vrouter-config",
            "fq_name": list(FQ_NAME),
            "uuid": ID,
            "href": f"{ROOT}/{KIND}/{ID}",
            "parent_type": "global-system-config",
            "parent_uuid": PARENT_UUID,
            "parent_href": f"{ROOT}/global-system-config/{PARENT_UUID}",
        }
    }
    stored: list[Any] = []
    Deferred.fromCoroutine(api.store.get(KIND, OBJECT_ID)).addCallback(stored.append)
    assert stored[0].value[PROPERTY] == services(ENTRY)


def test_create_uuid(api: Api) -> None:
    """A client may choose the UUID; nonsense is 400."""
    assert refused(api.create(uuid="x")) == (400, "Invalid uuid 'x'")
    chosen = "B0000000-0000-4000-8000-000000000002"
    assert api.create(uuid=chosen).status == 200
    assert api.call("GET", f"/{KIND}/{chosen}")[KIND]["uuid"] == chosen.lower()


def test_create_twice(api: Api) -> None:
    """The second create is 409 in Contrail's words, whatever UUID it brings."""
    api.create()
    for more in ({}, {"uuid": "b0000000-0000-4000-8000-000000000002"}):
        assert refused(api.create(**more)) == (
            409,
            "['default-global-system-config', 'default-global-vrouter-config'] "
            f"already exists with uuid: {ID}",
        )


def test_create_wrong_name(api: Api) -> None:
    """Only one object can exist; its parent type is fixed."""
    assert api.create(fq_name=["a", "b"]).status == 400
    assert api.create(fq_name=None).status == 400
    assert refused(api.create(parent_type="project")) == (
        400,
        "Parent default-global-system-config type 'project' does not exist",
    )


def test_unknown_key(api: Api) -> None:
    """An unknown key of an entry is 400 in Contrail's words, in create and update."""
    bad = {PROPERTY: services({**ENTRY, "protocol": "tcp"})}
    status, text = refused(api.create(**bad))
    assert status == 400
    assert text.startswith(
        "Bad property in create: Error validating property linklocal_services value {"
    )
    assert text.endswith("does not have field 'protocol'")
    api.create()
    status, text = refused(api.reply("PUT", f"/{KIND}/{ID}", {KIND: bad}))
    assert (status, text[:23]) == (400, "Bad property in update:")


def test_unknown_property(api: Api) -> None:
    """A misspelt property is refused, not dropped."""
    status, text = refused(api.create(linklocal_service=services()))
    assert (status, "'linklocal_service'" in text) == (400, True)


def test_types_convert(api: Api) -> None:
    """Types are converted as Contrail does; ranges and addresses are not checked."""
    entry = {"linklocal_service_name": "x", "linklocal_service_port": "99999"}
    api.create(**{PROPERTY: services({**entry, "linklocal_service_ip": "nonsense"})})
    (stored,) = api.call("GET", f"/{KIND}/{ID}")[KIND][PROPERTY][
        "linklocal_service_entry"
    ]
    assert stored["linklocal_service_port"] == 99999
    assert stored["linklocal_service_ip"] == "nonsense"
    assert stored["ip_fabric_service_ip"] == []


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_ceiling(api: Api, excess: int) -> None:
    """1,024 services are taken, one more is refused whole."""
    reply = api.create(**{PROPERTY: services(*([ENTRY] * (MAX_SERVICES + excess)))})
    assert reply.status == (400 if excess > 0 else 200)


def test_name_to_id(api: Api) -> None:
    """Names are found with dashes or underscores in the type; absent is 404."""
    body = {"type": KIND, "fq_name": list(FQ_NAME)}
    assert refused(api.reply("POST", "/fqname-to-id", body)) == (
        404,
        "Name ['default-global-system-config', 'default-global-vrouter-config'] "
        "not found",
    )
    api.create()
    for kind in (KIND, KIND.replace("-", "_")):
        assert api.call("POST", "/fqname-to-id", {**body, "type": kind}) == {"uuid": ID}
    parent = {"type": "global-system-config", "fq_name": list(FQ_NAME[:1])}
    assert api.call("POST", "/fqname-to-id", parent) == {"uuid": PARENT_UUID}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": KIND},
        {"type": ["x"], "fq_name": list(FQ_NAME)},
        {"type": "virtual-network", "fq_name": list(FQ_NAME)},
        {"type": KIND, "fq_name": ["x"]},
        {"type": "global-system-config", "fq_name": list(FQ_NAME)},
    ],
)
def test_name_unknown(api: Api, body: dict[str, Any]) -> None:
    """What does not exist is 404, never a fault."""
    api.create()
    assert api.reply("POST", "/fqname-to-id", body).status == 404


def test_id_to_name(api: Api) -> None:
    """The way back."""
    assert refused(api.reply("POST", "/id-to-fqname", {"uuid": ID})) == (
        404,
        f"UUID {ID} not found",
    )
    api.create()
    assert api.call("POST", "/id-to-fqname", {"uuid": ID.upper()}) == {
        "type": KIND,
        "fq_name": list(FQ_NAME),
    }
    assert api.call("POST", "/id-to-fqname", {"uuid": PARENT_UUID})["type"] == (
        "global-system-config"
    )
    assert api.reply("POST", "/id-to-fqname", {"uuid": 5}).status == 400


def test_read(api: Api) -> None:
    """A read shows what was written, and an ETag; other UUIDs are 404."""
    api.create(**{PROPERTY: services(ENTRY)}, flow_export_rate=5)
    reply = api.reply("GET", f"/{KIND}/{ID}", query={"exclude_children": "True"})
    found = json.loads(reply.body)[KIND]
    assert found[PROPERTY] == services(ENTRY)
    assert (found["fq_name"], found["flow_export_rate"]) == (list(FQ_NAME), 5)
    assert reply.revision == 1
    other = f"/{KIND}/{PARENT_UUID}"
    for method in ("GET", "DELETE"):
        assert api.reply(method, other).status == 404
    assert api.reply("PUT", other, {KIND: {}}).status == 404
    assert api.reply("GET", f"/{KIND}/x").status == 400


def test_head(api: Api) -> None:
    """HEAD is answered as GET."""
    assert api.reply("HEAD", "/").status == 200


def test_update(api: Api) -> None:
    """A PUT replaces what it names and leaves the rest."""
    api.create(**{PROPERTY: services(ENTRY)}, flow_export_rate=5)
    body = {"uuid": ID, "fq_name": list(FQ_NAME), "parent_type": "global-system-config"}
    empty = {KIND: {**body, PROPERTY: services()}}
    assert api.call("PUT", f"/{KIND}/{ID}", empty) == {
        KIND: {"uuid": ID, "href": f"{ROOT}/{KIND}/{ID}"}
    }
    found = api.call("GET", f"/{KIND}/{ID}")[KIND]
    assert (found[PROPERTY], found["flow_export_rate"]) == (services(), 5)


@pytest.mark.parametrize(
    "wrong", [{"uuid": PARENT_UUID}, {"fq_name": ["x"]}, {"parent_type": "x"}]
)
def test_update_other_identity(api: Api, wrong: dict[str, Any]) -> None:
    """A body that names another object is refused."""
    api.create()
    assert api.reply("PUT", f"/{KIND}/{ID}", {KIND: wrong}).status == 400


def test_if_match(api: Api) -> None:
    """A stale If-Match is 412 and changes nothing; a current one passes once."""
    api.create()
    body = {KIND: {"flow_export_rate": 1}}
    path = f"/{KIND}/{ID}"
    first = api.reply("PUT", path, body, if_match='"1"')
    assert (first.status, first.revision) == (200, 2)
    for stale in ('"1"', "0", "nonsense", 'W/"2"', '"1", "2"'):
        stale_body = {KIND: {"flow_export_rate": 9}}
        assert api.reply("PUT", path, stale_body, if_match=stale).status == 412
    assert api.call("GET", path)[KIND]["flow_export_rate"] == 1
    assert api.reply("PUT", path, body, if_match="*").status == 200


class RacedStore(MemoryStore):
    """Somebody else writes between each read and write, `races` times."""

    races = 0

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        entry = await super().get(kind, entry_id)
        if entry is not None and self.races:
            self.races -= 1
            rate = entry.value.get("flow_export_rate", 0) + 1
            value = {**entry.value, "flow_export_rate": rate}
            await self.put(kind, entry_id, value, expected=None)
        return entry


def test_update_merges_after_race() -> None:
    """Without If-Match a lost race is retried, and the winner's property stays."""
    store = RacedStore()
    api = Api(store)
    api.create()
    store.races = MAX_ATTEMPTS - 1
    assert api.reply("PUT", f"/{KIND}/{ID}", {KIND: {PROPERTY: None}}).status == 200
    assert api.call("GET", f"/{KIND}/{ID}")[KIND]["flow_export_rate"] == 7


def test_update_gives_up() -> None:
    """Endless races end in 503."""
    store = RacedStore()
    api = Api(store)
    api.create()
    store.races = MAX_ATTEMPTS
    assert api.reply("PUT", f"/{KIND}/{ID}", {KIND: {PROPERTY: None}}).status == 503


def test_delete(api: Api) -> None:
    """Deleted is gone, and may be created again."""
    api.create()
    reply = api.reply("DELETE", f"/{KIND}/{ID}")
    assert reply == ConfigApiReply(200, in_force=NO_AGENT)
    assert api.reply("GET", f"/{KIND}/{ID}").status == 404
    assert api.create().status == 200


def test_each_change_waits_until_it_is_in_force() -> None:
    """Create, update and delete; the effect hears what they changed."""
    effect = create_autospec(Effect, instance=True)
    effect.of_change.return_value = "yes"
    store = MemoryStore()
    api = Api(store)
    routes = ConfigApi(store, new_uuid=lambda: UUID(ID), effect=effect).routes()
    api.routes = routes
    replies = [
        api.create(**{PROPERTY: services(ENTRY)}),
        api.reply("PUT", f"/{KIND}/{ID}", {KIND: {PROPERTY: services()}}),
        api.reply("DELETE", f"/{KIND}/{ID}"),
    ]
    assert ["yes"] * 3 == [reply.in_force for reply in replies]
    heard = [
        tuple(value.get(PROPERTY) for value in call.args)
        for call in effect.of_change.call_args_list
    ]
    with_entry, without = services(ENTRY), services()
    assert [(None, with_entry), (with_entry, without), (without, None)] == heard


def test_a_change_that_the_kernel_refuses_stays_stored() -> None:
    """The error says so, and a read shows it."""
    effect = create_autospec(Effect, instance=True)
    effect.of_change.side_effect = RefusedError(500, "stored, but not in force")
    api = Api()
    api.routes = ConfigApi(api.store, new_uuid=lambda: UUID(ID), effect=effect).routes()
    assert refused(api.create(**{PROPERTY: services(ENTRY)}))[0] == 500
    assert api.call("GET", f"/{KIND}/{ID}")[KIND][PROPERTY] == services(ENTRY)


OWN = OwnServers([OwnServer("the config API", LOOPBACK, 8082)])
OURS = {**ENTRY, "ip_fabric_service_ip": ["127.0.0.1"], "ip_fabric_service_port": 8082}


def guarded(api: Api) -> Api:
    """The same with an agent's own servers."""
    config_api = ConfigApi(api.store, new_uuid=lambda: UUID(ID), own=OWN)
    api.routes = config_api.routes()
    return api


def test_a_service_that_leads_to_the_agent_itself_is_refused(api: Api) -> None:
    """When it is created and when it is updated; nothing is stored."""
    guarded(api)
    status, why = refused(api.create(**{PROPERTY: services(OURS)}))
    assert (400, True) == (status, "service metadata: fabric address 127.0.0.1" in why)
    assert api.create(**{PROPERTY: services(ENTRY)}).status == 200
    update = {KIND: {PROPERTY: services(ENTRY, OURS)}}
    assert 400 == api.reply("PUT", f"/{KIND}/{ID}", update).status
    assert api.call("GET", f"/{KIND}/{ID}")[KIND][PROPERTY] == services(ENTRY)


def test_what_is_stored_already_does_not_refuse_the_rest(api: Api) -> None:
    """An earlier version took it; others beside it can be changed, and it can go. What
    is no service at all is no reason either.
    """
    assert api.create(**{PROPERTY: services(OURS)}).status == 200
    guarded(api)
    for entries in (services(OURS, ENTRY), services(ENTRY, wire_entry(name="x"))):
        update = {KIND: {PROPERTY: entries}}
        assert 200 == api.reply("PUT", f"/{KIND}/{ID}", update).status


def test_lists(api: Api) -> None:
    """Lists hold what exists; with detail, whole objects."""
    assert api.call("GET", f"/{KIND}s") == {f"{KIND}s": []}
    assert api.call("GET", f"/{KIND}s", query={"detail": "True"}) == {f"{KIND}s": []}
    api.create(**{PROPERTY: services(ENTRY)})
    item = {"uuid": ID, "fq_name": list(FQ_NAME), "href": f"{ROOT}/{KIND}/{ID}"}
    assert api.call("GET", f"/{KIND}s") == {f"{KIND}s": [item]}
    (detailed,) = api.call("GET", f"/{KIND}s", query={"detail": "True"})[f"{KIND}s"]
    assert detailed[KIND][PROPERTY] == services(ENTRY)


def test_parent(api: Api) -> None:
    """The parent exists from the start and cannot be changed."""
    (item,) = api.call("GET", "/global-system-configs")["global-system-configs"]
    assert item["uuid"] == PARENT_UUID
    path = f"/global-system-config/{PARENT_UUID}"
    found = api.call("GET", path)["global-system-config"]
    assert found["fq_name"] == ["default-global-system-config"]
    assert api.reply("GET", f"/global-system-config/{ID}").status == 404
    reply = api.reply("DELETE", path)
    assert (reply.status, reply.allow) == (405, ("GET",))


def test_unknown_path(api: Api) -> None:
    """Unknown paths are 404, known ones with another method 405."""
    for path in ("/x", f"/{KIND}", f"/{KIND}/a/b", "//", "/\ud800" * 3):
        assert api.reply("GET", path).status in (404, 200 if path == "//" else 404)
    reply = api.reply("PATCH", f"/{KIND}/{ID}")
    assert (reply.status, reply.allow) == (405, ("GET", "PUT", "DELETE"))


def test_store_fails(api: Api) -> None:
    """A failing store is 503 and says why; nothing is a traceback."""
    api.create()
    api.store.broken = "disk on fire"
    for method, path, body in (
        ("GET", f"/{KIND}/{ID}", None),
        ("PUT", f"/{KIND}/{ID}", {KIND: {}}),
        ("GET", f"/{KIND}s", None),
        ("POST", f"/{KIND}s", {KIND: {"fq_name": list(FQ_NAME)}}),
    ):
        reply = api.reply(method, path, body)
        assert refused(reply) == (503, "The store failed: disk on fire")


def test_the_default_object_is_there_from_the_start() -> None:
    """Tools read, list and change it without having made it."""
    api = Api()
    Deferred.fromCoroutine(ensure_default(api.store))
    name = {"type": KIND, "fq_name": list(FQ_NAME)}
    uuid = api.call("POST", "/fqname-to-id", name)["uuid"]
    listed = api.call("GET", f"/{KIND}s")[f"{KIND}s"]
    assert [uuid] == [item["uuid"] for item in listed]
    assert uuid == api.call("GET", f"/{KIND}/{uuid}")[KIND]["uuid"]
    assert 409 == api.create().status
    api.call("PUT", f"/{KIND}/{uuid}", {KIND: {PROPERTY: None}})
    assert PROPERTY not in api.call("GET", f"/{KIND}/{uuid}")[KIND]


def test_what_was_provisioned_outlives_the_next_start() -> None:
    """The default is made only where there is nothing."""
    api = Api()
    uuid = json.loads(api.create(**{PROPERTY: services(ENTRY)}).body)[KIND]["uuid"]
    Deferred.fromCoroutine(ensure_default(api.store))
    read = api.call("GET", f"/{KIND}/{uuid}")[KIND]
    assert services(ENTRY) == read[PROPERTY]
