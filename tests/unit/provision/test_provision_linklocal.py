"""What the script does, against the real config API without HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred

from provision.config_api.contrail import ConfigApi
from provision.config_api.reply import NO_AGENT, ConfigApiReply, ConfigApiRequest
from provision.config_api.routes import dispatch
from provision.provision_linklocal import (
    MAX_ATTEMPTS,
    exit_code,
    main,
    run,
    with_entry,
    without_entry,
)
from provision.script.objects import ConfigObjects
from provision.script.options import read_options
from provision.script.refusals import RefusedChangeError
from vagent.errors import VagentError
from vagent.linklocal.codec import FQ_NAME, KIND, PROPERTY, wire_entry
from vagent.store.memory import MemoryStore
from vagent.web.json_client import (
    NEVER_ANSWERED,
    ApiAddress,
    ApiError,
    ApiReply,
    JsonClient,
)

ID = "a0000000-0000-4000-8000-000000000001"
NAME = ("--linklocal_service_name", "metadata")
FULL = (
    *NAME,
    *("--linklocal_service_ip", "169.254.169.254", "--linklocal_service_port", "80"),
    *("--ipfabric_service_ip", "10.0.0.5", "--ipfabric_service_port", "8775"),
)
ENTRY = wire_entry(
    name="metadata",
    address="169.254.169.254",
    port=80,
    fabric_addresses=["10.0.0.5"],
    fabric_port=8775,
)


class DirectClient(JsonClient):
    """A JsonClient wired to the API's routes; notes calls, may act before a PUT."""

    def __init__(self, *, with_etags: bool = True) -> None:
        super().__init__(ApiAddress("10.0.0.5", 8082))
        self.routes = ConfigApi(MemoryStore(), new_uuid=lambda: UUID(ID)).routes()
        self.calls: list[tuple[str, str, Any]] = []
        self.before_put: Callable[[], None] = lambda: None
        self._with_etags = with_etags

    def _ask(self, method: str, path: str, body: bytes, etag: str) -> ApiReply:
        self.calls.append((method, path, json.loads(body or b"null")))
        if method == "PUT":
            self.before_put()
        return self.direct(method, path, body, etag)

    def direct(self, method: str, path: str, body: bytes, etag: str = "") -> ApiReply:
        request = ConfigApiRequest(
            method, path.partition("?")[0], "http://x", body=body, if_match=etag or None
        )
        replies: list[ConfigApiReply] = []
        answered = Deferred.fromCoroutine(dispatch(self.routes, request))
        answered.addCallback(replies.append)
        reply = replies[0]
        has_etag = self._with_etags and reply.revision is not None
        headers = {"etag": f'"{reply.revision}"'} if has_etag else {}
        headers["vagent-in-force"] = reply.in_force
        return ApiReply(reply.status, reply.body, headers)

    def write(self, *entries: dict[str, Any]) -> None:
        """Somebody else's write."""
        value = {KIND: {PROPERTY: {"linklocal_service_entry": list(entries)}}}
        self.direct("PUT", f"/{KIND}/{ID}", json.dumps(value).encode())

    def entries(self) -> Any:
        body = self.direct("GET", f"/{KIND}/{ID}", b"").body
        return json.loads(body)[KIND][PROPERTY]["linklocal_service_entry"]


def do(client: JsonClient, *argv: str) -> list[str]:
    said: list[str] = []
    run(read_options(argv), ConfigObjects(client), said.append)
    return said


def test_created() -> None:
    """On a server without the object one call makes it, with Contrail's body."""
    client = DirectClient()
    assert do(client, *FULL) == [f"Created.UUID is {ID}"]
    assert client.calls == [
        (
            "POST",
            f"/{KIND}s",
            {
                KIND: {
                    "uuid": None,
                    "fq_name": list(FQ_NAME),
                    "parent_type": "global-system-config",
                    PROPERTY: {"linklocal_service_entry": [ENTRY]},
                }
            },
        )
    ]


def test_updated() -> None:
    """On a server that has the object: Contrail's calls and words, no waiting."""
    client = DirectClient()
    do(client, *FULL)
    client.calls.clear()
    said = do(client, *FULL[:1], "ntp", *FULL[2:5], "123", *FULL[6:])
    assert said[0] == "Already created! Updating the object."
    assert said[1].startswith('Updated.{"global-vrouter-config": {"uuid": "')
    query = "?exclude_back_refs=True&exclude_children=True"
    assert [call[:2] for call in client.calls] == [
        ("POST", f"/{KIND}s"),
        ("POST", "/fqname-to-id"),
        ("GET", f"/{KIND}/{ID}{query}"),
        ("PUT", f"/{KIND}/{ID}"),
    ]
    assert client.calls[-1][2][KIND]["uuid"] == ID
    names = [entry["linklocal_service_name"] for entry in client.entries()]
    assert names == ["metadata", "ntp"]


def test_deleted() -> None:
    """Deleting leaves the others; with force, deleting what is not there writes all the
    same, as in Contrail.
    """
    client = DirectClient()
    do(client, *FULL)
    for name, left in (("absent", [ENTRY]), ("metadata", []), ("metadata", [])):
        (said,) = do(client, NAME[0], name, "--oper", "delete", "--force")
        assert said.startswith("Updated.")
        assert client.calls[-1][0] == "PUT"
        assert client.entries() == left


def test_delete_without_object() -> None:
    """No object at all: nothing to delete; with force that is no failure."""
    delete = (*NAME, "--oper", "delete")
    with pytest.raises(RefusedChangeError, match="no service is named 'metadata'"):
        do(DirectClient(), *delete)
    said = do(DirectClient(), *delete, "--force")
    assert said == ["Nothing to delete: no services exist."]


@pytest.mark.parametrize("races", [1, MAX_ATTEMPTS - 1])
def test_lost_race(races: int) -> None:
    """Somebody else writes in between: both changes are there in the end."""
    client = DirectClient()
    do(client, *FULL)
    others = [wire_entry(name=f"other{n}") for n in range(races)]

    def race() -> None:
        if others:
            client.write(*client.entries(), others.pop())

    client.before_put = race
    do(client, *FULL[:1], "ntp", *FULL[2:5], "123", *FULL[6:])
    names = {entry["linklocal_service_name"] for entry in client.entries()}
    assert names == {"metadata", "ntp", *(f"other{n}" for n in range(races))}


def test_races_without_end() -> None:
    """After eight lost races it gives up and says so."""
    client = DirectClient()
    do(client, *FULL)
    client.before_put = lambda: client.write(*client.entries())
    with pytest.raises(ApiError, match="8 changes came between"):
        do(client, *FULL)


def test_without_etags() -> None:
    """A server without ETags (Contrail's) is written to unconditionally."""
    client = DirectClient(with_etags=False)
    do(client, *FULL)
    client.before_put = lambda: client.write(ENTRY, ENTRY)
    assert len(do(client, *FULL)) == 2
    assert client.entries() == [ENTRY]


def test_object_vanished() -> None:
    """Deleted between create and read: an error, not a silent success."""

    class Vanishing(DirectClient):
        def direct(
            self, method: str, path: str, body: bytes, etag: str = ""
        ) -> ApiReply:
            if path == "/fqname-to-id":
                return ApiReply(404, b"")
            return super().direct(method, path, body, etag)

    client = Vanishing()
    do(client, *FULL)
    with pytest.raises(ApiError, match="vanished"):
        do(client, *FULL)


def test_with_entry() -> None:
    """Every entry of that exact name is replaced in place; otherwise it is appended."""
    other, new = {"linklocal_service_name": "Metadata"}, {**ENTRY, "x": 1}
    assert with_entry([], new) == [new]
    assert with_entry([other], new) == [other, new]
    assert with_entry([ENTRY, other, ENTRY], new) == [new, other, new]
    assert with_entry([None, "text"], new) == [None, "text", new]


def test_without_entry() -> None:
    """Every entry of that exact name goes; case counts, as in Contrail."""
    other = {"linklocal_service_name": "Metadata"}
    assert without_entry([ENTRY, other, ENTRY, None], "metadata") == [other, None]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((status, 69) for status in (NEVER_ANSWERED, 502, 503, 504)),
        *((status, 77) for status in (401, 403)),
        *((status, 1) for status in (400, 404, 412, 500)),
    ],
)
def test_exit_codes(status: int, code: int) -> None:
    """The exit code says who has to do something."""
    assert exit_code(ApiError("x", status=status)) == code


def test_exit_code_of_other_errors() -> None:
    """An unusable settings file is a plain failure."""
    assert exit_code(VagentError("x")) == 1


def test_main_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """main returns argparse's codes instead of raising."""
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "is required" in capsys.readouterr().err


@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_not_in_force_is_known(*, is_new: bool) -> None:
    """As the API says it of the last change, the first or a later one."""
    objects = ConfigObjects(DirectClient())
    for argv in [FULL] if is_new else [FULL, FULL]:
        objects.not_in_force = ""
        run(read_options(argv), objects, lambda _line: None)
    assert f"no: {objects.not_in_force}" == NO_AGENT


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (NAME, "all guests would be cut off from metadata, which leads to 10.0.0.5"),
        ((*NAME[:1], "metadat", "--oper", "delete"), "did you mean metadata?"),
        ((*FULL[:1], "ntp", *FULL[2:]), "169.254.169.254 port 80 belongs to metadata"),
        ((*FULL[:1], "metadat", *FULL[2:5], "81", *FULL[6:]), "looks like metadata"),
    ],
    ids=["incomplete", "delete unknown", "second at one place", "mistyped"],
)
def test_refused(argv: tuple[str, ...], why: str) -> None:
    """With what would happen, and nothing is written; with --force it is done."""
    client = DirectClient()
    do(client, *FULL)
    before = client.entries()
    client.calls.clear()
    with pytest.raises(RefusedChangeError, match=re.escape(why)) as caught:
        do(client, *argv)
    assert "nothing was changed (--force does it)" in str(caught.value)
    assert before == client.entries()
    assert "PUT" not in [call[0] for call in client.calls]
    assert do(client, *argv, "--force")[-1].startswith("Updated.")


def test_what_is_refused_is_looked_at_in_the_list_that_is_replaced() -> None:
    """A service that comes between reading and writing counts."""
    client = DirectClient()
    do(client, *FULL)
    taken = {**ENTRY, "linklocal_service_name": "time", "linklocal_service_port": 123}

    def race() -> None:
        client.before_put = lambda: None
        client.write(ENTRY, taken)

    client.before_put = race
    with pytest.raises(RefusedChangeError, match="port 123 belongs to time"):
        do(client, *FULL[:1], "ntp", *FULL[2:5], "123", *FULL[6:])
    assert [ENTRY, taken] == client.entries()


def test_an_odd_name_that_is_there_may_change() -> None:
    """It was a name once, by --force or from Contrail."""
    client = DirectClient()
    do(client, *FULL)
    odd = (*FULL[:1], "metadat", *FULL[2:5], "81", *FULL[6:])
    do(client, *odd, "--force")
    assert do(client, *odd)[-1].startswith("Updated.")


def test_main_says_why_and_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, with exit code 1."""
    client = DirectClient()
    monkeypatch.setattr("provision.provision_linklocal._client", lambda _: client)
    assert main([*NAME]) == 1
    assert "guests could not use metadata without" in capsys.readouterr().err
