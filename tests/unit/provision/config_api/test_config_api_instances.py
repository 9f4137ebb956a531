"""Our own calls about instances, under /vagent/."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from provision.config_api.instances import (
    INSTANCE,
    MAX_ATTEMPTS,
    AnyInstance,
    InstanceCalls,
)
from provision.config_api.reply import ConfigApiReply, ConfigApiRequest
from provision.config_api.routes import dispatch
from vagent.errors import WireError
from vagent.store.memory import MemoryStore

ID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
PATH = f"/vagent/instance/{ID}"


class FakeServer:
    """Refuses what has `bad`; `keeps` stays for good."""

    companions = ("left-behind",)

    def __init__(self) -> None:
        self.failed: dict[str, Sequence[str]] = {}
        self.forgotten: list[str] = []
        self.passwords: dict[str, str] = {}
        self.files_of_drive = {"openstack/latest/user_data": bytes(range(256))}
        self.described: dict[str, dict[str, Any]] = {}

    def admitted(
        self, new: dict[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if "bad" in new:
            raise WireError("bad: is not allowed")
        kept = (stored or {}).get("keeps")
        return new if kept is None else {**new, "keeps": kept}

    async def file_of(self, uuid: str) -> str | None:
        return "/i/a.json" if uuid in self.described else None

    async def document(self, uuid: str) -> Mapping[str, Any] | None:
        return self.described.get(uuid)

    def files(self) -> list[dict[str, str]]:
        broken = {"uuid": "", "file": "/i/b.json", "problem": "line 1, column 1: bad"}
        found = [{"uuid": uuid, "file": "/i/a.json"} for uuid in self.described]
        return [*found, broken] if found else []

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        return self.failed

    async def vendor_data(self, uuid: str) -> list[dict[str, Any]]:
        return [{"target": "join"}]

    async def forget_vendor_data(self, uuid: str) -> None:
        self.forgotten.append(uuid)

    async def password(self, uuid: str) -> str | None:
        return self.passwords.get(uuid)

    async def clear_password(self, uuid: str) -> bool:
        return (
            bool(self.passwords.get(uuid)) and self.passwords.update({uuid: ""}) is None
        )

    async def identity_keys(self) -> Mapping[str, Any]:
        return {"keys": [{"kid": "k"}], "certificates": "PEM"}

    async def drive(self, uuid: str) -> Mapping[str, bytes]:
        if self.failed:
            raise WireError("vendor data: join: late")
        return self.files_of_drive


class Calls:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.embedded = FakeServer()
        self.routes = InstanceCalls(self.store, self.embedded).routes()

    def __call__(
        self, method: str, path: str, value: Any = None, **more: Any
    ) -> ConfigApiReply:
        body = b"" if value is None else json.dumps(value).encode()
        replies: list[ConfigApiReply] = []
        request = ConfigApiRequest(method, path, body=body, **more)
        Deferred.fromCoroutine(dispatch(self.routes, request)).addCallback(
            replies.append
        )
        return replies[0]


@pytest.fixture
def call() -> Calls:
    return Calls()


def test_write_and_read(call: Calls) -> None:
    """What was PUT is what GET gives, under one spelling of the UUID."""
    upper = f"/vagent/instance/{ID.upper().replace('-', '')}"
    assert json.loads(call("PUT", upper, {"hostname": "a"}).body) == {"uuid": ID}
    reply = call("GET", PATH)
    assert (json.loads(reply.body), reply.revision) == ({"hostname": "a"}, 1)
    stored: list[Any] = []
    Deferred.fromCoroutine(call.store.entries(INSTANCE)).addCallback(stored.append)
    assert [entry.id for entry in stored[0]] == [ID]


def test_list(call: Calls) -> None:
    """The list has all instances with their UUIDs."""
    assert json.loads(call("GET", "/vagent/instances").body) == {"instances": []}
    call("PUT", PATH, {"hostname": "a"})
    assert json.loads(call("GET", "/vagent/instances").body) == {
        "instances": [{"uuid": ID, "instance": {"hostname": "a"}}]
    }


def test_an_instance_of_a_file(call: Calls) -> None:
    """It goes before the stored one: read, listed, and not changed by these calls."""
    call("PUT", PATH, {"hostname": "stored"})
    call.embedded.described = {ID: {"hostname": "file"}}
    assert {"hostname": "file"} == json.loads(call("GET", PATH).body)
    assert json.loads(call("GET", "/vagent/instances").body)["instances"] == [
        {"uuid": "", "file": "/i/b.json", "problem": "line 1, column 1: bad"},
        {"uuid": ID, "file": "/i/a.json"},
    ]
    for method, value in (("PUT", {"hostname": "b"}), ("DELETE", None)):
        reply = call(method, PATH, value)
        assert 409 == reply.status
        assert b"/i/a.json describes it; change or remove that file" in reply.body
    call.embedded.described = {}
    assert {"hostname": "stored"} == json.loads(call("GET", PATH).body)


def test_the_list_names_targets_that_failed(call: Calls) -> None:
    """So that a guest without its vendor data is seen."""
    call("PUT", PATH, {})
    call.embedded.failed = {ID: ("join",)}
    (item,) = json.loads(call("GET", "/vagent/instances").body)["instances"]
    assert ["join"] == item["failed_targets"]


def test_what_an_older_document_leaves(call: Calls) -> None:
    """The server says what is stored in the place of what there was."""
    call("PUT", PATH, {"keeps": 1})
    call("PUT", PATH, {"n": 2})
    assert {"n": 2, "keeps": 1} == json.loads(call("GET", PATH).body)


def test_a_change_that_comes_between(call: Calls) -> None:
    """The document is admitted again beside what is there by then."""
    call("PUT", PATH, {"n": 0})
    put, changes = call.store.put, [{"keeps": 1}, {"keeps": 2}]

    async def racing(*args: Any, **more: Any) -> Any:
        if changes:
            await put(INSTANCE, ID, changes.pop(0), expected=None)
        return await put(*args, **more)

    call.store.put = racing  # type: ignore[method-assign]
    assert 200 == call("PUT", PATH, {"n": 3}).status
    assert {"n": 3, "keeps": 2} == json.loads(call("GET", PATH).body)
    changes[:] = [{"n": number} for number in range(MAX_ATTEMPTS)]
    assert 503 == call("PUT", PATH, {"n": 4}).status


def test_vendor_data(call: Calls) -> None:
    """Which targets answered, and forgetting it; for instances that there are."""
    below = f"{PATH}/vendordata"
    assert 404 == call("GET", below).status == call("DELETE", below).status
    call("PUT", PATH, {})
    expected = {"uuid": ID, "targets": [{"target": "join"}]}
    assert expected == json.loads(call("GET", below).body)
    assert {"uuid": ID} == json.loads(call("DELETE", below).body)
    assert [ID] == call.embedded.forgotten
    assert 405 == call("PUT", below, {}).status


def test_a_config_drive(call: Calls) -> None:
    """Its files, whatever bytes they are; or why there is none."""
    below = f"{PATH}/drive"
    assert 404 == call("GET", below).status
    call("PUT", PATH, {})
    reply = json.loads(call("GET", below).body)
    assert ID == reply["uuid"]
    assert call.embedded.files_of_drive == {
        path: base64.b64decode(text) for path, text in reply["files"].items()
    }
    call.embedded.failed = {ID: ("join",)}
    failed = call("GET", below)
    expected = f"instance {ID}: vendor data: join: late".encode()
    assert (503, expected) == (failed.status, failed.body)
    call.embedded.failed, call.embedded.files_of_drive = {}, {}
    assert 409 == call("GET", below).status


def test_without_a_server(call: Calls) -> None:
    """Any object is an instance, and nothing is known of vendor data."""
    call.routes = InstanceCalls(call.store, AnyInstance()).routes()
    assert 200 == call("PUT", PATH, {"bad": 1}).status
    expected = {"instances": [{"uuid": ID, "instance": {"bad": 1}}]}
    assert expected == json.loads(call("GET", "/vagent/instances").body)
    below = f"{PATH}/vendordata"
    assert {"uuid": ID, "targets": []} == json.loads(call("GET", below).body)
    assert 409 == call("GET", f"{PATH}/drive").status
    assert 200 == call("DELETE", below).status == call("DELETE", PATH).status


def test_identity_keys(call: Calls) -> None:
    """What verifiers need, of this host."""
    reply = call("GET", "/vagent/identity-keys")
    expected = {"keys": [{"kid": "k"}], "certificates": "PEM"}
    assert (200, expected) == (reply.status, json.loads(reply.body))


def test_refused(call: Calls) -> None:
    """What the metadata server could not use is 400 with its reason, and not stored."""
    reply = call("PUT", PATH, {"bad": 1})
    assert (reply.status, reply.body) == (
        400,
        f"instance {ID}: bad: is not allowed".encode(),
    )
    assert call("PUT", PATH, []).status == 400
    assert call("PUT", "/vagent/instance/x", {}).status == 400
    assert call("GET", PATH).status == 404


def test_delete(call: Calls) -> None:
    """Deleting what is not there is 404."""
    call("PUT", PATH, {})
    assert call("DELETE", PATH).status == 200
    assert call("DELETE", PATH).status == 404


def test_preconditions(call: Calls) -> None:
    """If-Match and If-None-Match are honoured."""
    assert call("PUT", PATH, {}, if_match="*").status == 404
    assert call("PUT", PATH, {}, if_match='"1"').status == 412
    assert call("PUT", PATH, {}, if_none_match="*").status == 200
    assert call("PUT", PATH, {}, if_none_match="*").status == 412
    assert call("PUT", PATH, {}, if_none_match='"1"').status == 400
    assert call("PUT", PATH, {"n": 2}, if_match='"1"').status == 200
    assert call("PUT", PATH, {"n": 3}, if_match='"1"').status == 412
    assert call("PUT", PATH, {"n": 4}, if_match="*").status == 200
    assert json.loads(call("GET", PATH).body) == {"n": 4}


@pytest.mark.parametrize("name", ["00000000-0000-0000-0000-000000000001", "", 7])
def test_a_document_for_another_instance_is_refused(call: Calls, name: object) -> None:
    """It would never be found under its own UUID."""
    reply = call("PUT", PATH, {"uuid": name})
    assert reply.status == 400
    assert call("GET", PATH).status == 404


def test_a_document_may_name_its_own_instance(call: Calls) -> None:
    """In any spelling of the UUID."""
    assert call("PUT", PATH, {"uuid": ID.upper()}).status == 200


def test_delete_takes_what_the_guest_left(call: Calls) -> None:
    """A new instance of the same UUID must not find it."""
    call("PUT", PATH, {})
    left = call.store.put("left-behind", ID, {}, expected=0)
    Deferred.fromCoroutine(left)
    call("DELETE", PATH)
    found: list[object] = []
    Deferred.fromCoroutine(call.store.entries("left-behind")).addCallback(found.append)
    assert found == [()]


def test_a_password_is_read_and_cleared(call: Calls) -> None:
    """As it was posted; cleared once. 404 for an instance that nobody knows."""
    path = f"{PATH}/password"
    for method in ("GET", "DELETE"):
        assert 404 == call(method, path).status
        assert 400 == call(method, "/vagent/instance/odd/password").status
    call.embedded.passwords[ID] = "posted"

    def said(method: str) -> Any:
        reply = call(method, path)
        assert 200 == reply.status
        return json.loads(reply.body)

    assert {"uuid": ID, "password": "posted"} == said("GET")
    assert {"uuid": ID, "cleared": True} == said("DELETE")
    assert {"uuid": ID, "password": ""} == said("GET")
    assert {"uuid": ID, "cleared": False} == said("DELETE")


def test_without_a_server_there_are_no_passwords() -> None:
    """Nobody could have posted one."""
    routes = InstanceCalls(MemoryStore(), AnyInstance()).routes()
    for method in ("GET", "DELETE"):
        replies: list[ConfigApiReply] = []
        request = ConfigApiRequest(method, f"{PATH}/password")
        Deferred.fromCoroutine(dispatch(routes, request)).addCallback(replies.append)
        assert [404] == [reply.status for reply in replies]
