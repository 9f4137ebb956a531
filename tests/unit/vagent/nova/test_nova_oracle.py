"""What a real Nova 34.0.0 answered, and that this server answers the same.

Each recorded request goes through the whole server, from bytes to bytes. Where the two
differ on purpose there is a waiver (tests/nova_waivers.py), and its reason is in
docs/compatibility-nova.md.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.nova_waivers import waiver_for, waivers
from vagent.config.model import Secret
from vagent.errors import ConflictError, StoreError
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.server import metadata_site

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nova"

COMPARED = ("headers", "trees", "versions", "accept", "paths", "methods", "password")
"""The recorded files."""


class Instances:
    """The recorded instances; fails for every id while `broken`."""

    def __init__(self) -> None:
        documents = json.loads((FIXTURES / "instances.json").read_text())
        found = [decode_instance(document) for document in documents]
        self._by_id = {instance.uuid: instance for instance in found}
        self.broken = False

    async def get(self, instance_id: str) -> Instance | None:
        if self.broken:
            raise StoreError("down")
        return self._by_id.get(instance_id)


class Passwords:
    """As recorded: instance 15 has one."""

    def __init__(self) -> None:
        self.kept = {"1a2b3c00-0000-4000-8000-00000000000f": "A" * 255 + "B" * 89}

    async def get(self, instance_id: str) -> str:
        return self.kept.get(instance_id, "")

    async def set(self, instance_id: str, password: str) -> None:
        if instance_id in self.kept:
            raise ConflictError("set")
        self.kept[instance_id] = password


class Server:
    """A site with one connection after the other, in memory."""

    def __init__(self) -> None:
        self.instances = Instances()
        self.site = metadata_site(
            self.instances,
            Passwords(),
            Authority(Secret(b"s3kr1t-shared")),
            entropy=bytes,
            emit=lambda _event: None,
            reactor=Clock(),
            date=HttpDate(float, float),
        )

    def ask(self, request: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        protocol = self.site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(request)
        head, _, content = transport.value().partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines if line)
        protocol.connectionLost()
        lowered = {name.lower(): value for name, value in headers.items()}
        return int(first.split()[1]), lowered, content


def raw_request(case: dict[str, Any], recorded: dict[str, Any]) -> bytes:
    content = case.get("content", "").encode("latin-1")
    headers = json.loads(json.dumps(recorded["header_sets"][case["headers"]]))
    headers += [["Host", "169.254.169.254"], ["Content-Length", str(len(content))]]
    lines = [f"{name}: {value}".encode() for name, value in headers]
    target = case["target"].encode()
    start = case["method"].encode() + b" " + target + b" HTTP/1.1"
    return b"\r\n".join([start, *lines, b"", content])


def normal(content: bytes) -> bytes:
    """The body without the 512 random bytes."""
    return re.sub(rb'"random_seed": "[^"]*"', '"random_seed": "…"'.encode(), content)


@cache
def recorded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return loaded


def check(server: Server, case: dict[str, Any], file: dict[str, Any]) -> None:
    status, headers, content = server.ask(raw_request(case, file))
    waiver = waiver_for(case["name"], case["target"])
    if waiver is not None:
        assert waiver.allows(case["status"], status), case["name"]
        return
    assert case["status"] == status, case["name"]
    if "body" in case:
        body = file["bodies"][case["body"]].encode()
    else:
        body = base64.b64decode(case["body_base64"])
    assert body == normal(content), case["name"]
    assert case["content_type"].encode() == headers[b"content-type"], case["name"]
    if case["method"] != "HEAD":
        assert len(content) == int(headers[b"content-length"]), case["name"]


@pytest.mark.parametrize("name", COMPARED[:-1])
def test_answers_as_nova_did(name: str) -> None:
    """Status, content type and body are those of a real Nova, byte for byte."""
    file = recorded(name)
    for case in file["cases"]:
        check(Server(), case, file)


def test_passwords_as_nova_did() -> None:
    """The recorded conversation about passwords goes the same way."""
    file, server = recorded("password"), Server()
    for case in file["cases"]:
        check(server, case, file)


def test_failures_as_nova_did() -> None:
    """When instances cannot be told, the answer is Nova's 500 and text."""
    file, server = recorded("failures"), Server()
    server.instances.broken = True
    for case in file["cases"]:
        check(server, case, file)


MOST_WAIVERS = 33
"""May only fall."""
LIVE = ("malformed ", "version ", "1ftp:", "f_p:", "/%e9")
"""Requests of the comparison with a running Nova (tests/clients)."""


def test_waivers_become_fewer() -> None:
    """Nothing is waived beyond this number; one that went lowers it."""
    assert MOST_WAIVERS == len(waivers())


def test_waivers_are_still_needed() -> None:
    """A waiver that no request needs any more must be deleted."""
    cases = [case for name in COMPARED for case in recorded(name)["cases"]]
    unused = [
        waiver.pattern
        for waiver in waivers()
        if not any(
            waiver.covers(c["target"]) or waiver.covers(c["name"]) for c in cases
        )
    ]
    assert [] == [one for one in unused if not one.startswith(LIVE)]


def test_waivers_are_explained() -> None:
    """Each under its name in the list of differences, with the reason."""
    page = Path(__file__).parents[4] / "docs" / "compatibility-nova.md"
    rows = [line.split(" | ") for line in page.read_text().splitlines()]
    explained = {
        row[0].strip("| `"): row[-1].strip("| ") for row in rows if len(row) > 4
    }
    missing = {one.name for one in waivers()} - explained.keys()
    assert set() == missing
    assert all(explained[one.name] for one in waivers())
