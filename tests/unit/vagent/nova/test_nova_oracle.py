"""What a real Nova 34.0.0 answered, and that this server answers the same.

Each recorded request goes through the whole server, from bytes to bytes. Where the two
differ on purpose the case is named in DEVIATIONS with what is answered here;
docs/compatibility-nova.md gives the reasons.
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

from vagent.config.model import Secret
from vagent.errors import ConflictError, StoreError
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.server import metadata_site

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nova"

DEVIATIONS = {
    # Paths that crash Nova are not found here.
    "/latest/meta-data/hostname/extra": 404,
    "/latest/meta-data/%ff": 404,
    "/latest/user-data/x": 404,
    "/latest/meta-data/security-groups/default": 404,
    "/latest/meta-data/ami-launch-index/0": 404,
    "/latest/meta-data/instance-id/0": 404,
    "/latest/meta-data/ramdisk-id/x": 404,
    "/openstack/latest/content": 404,
    # A signature that is not ASCII is a wrong signature, not a crash.
    "signature non-ascii :: /latest": 403,
    "signature non-ascii :: /openstack": 403,
    "signature non-ascii :: /nope": 403,
    # A password that is not text is the caller's mistake, not a crash.
    "POST invalid utf8": 400,
    # There are no instance mappings, so none can be missing.
    "POST n19 (no instance mapping)": 200,
    # The second password does not replace the first.
    "GET right after POST (cached)": 200,
    "second POST inside cache window": 409,
    "GET after cache expiry": 200,
    # No CORS, so OPTIONS is a method like any other.
    "OPTIONS /openstack/latest/password": 400,
    "OPTIONS /latest/api/token": 404,
    "OPTIONS /nope": 404,
    # The parser in front of Nova refuses lower-case methods; nothing here cares.
    "get ": None,
    # Load-balancer mode is not offered; its headers are never read.
    "X-Metadata-Provider": None,
    # What Nova does not have and Amazon's clients need.
    "/2011-01-01/meta-data/": 200,
    "/2021-03-23/meta-data/": 200,
    "/latest/dynamic/": 200,
    "/latest/dynamic/instance-identity/document": 200,
    "/latest/meta-data/mac": 200,
    "/latest/meta-data/network/interfaces/macs/": 200,
    "/latest/meta-data/placement/region": 200,
    "/latest/meta-data/services/": 200,
    "/latest/meta-data/tags/": 200,
    # The parser answers before the server is asked.
    "n1 /latest/meta-data/ho stname": 400,
}
SAME_STATUS_ONLY = (
    "n1 * ",  # both refuse, each in its own words
    "n1 /latest/meta-data/ho stname",
)


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
        protocol.connectionLost(None)
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


def deviation(case: dict[str, Any]) -> tuple[bool, int | None]:
    for key, status in DEVIATIONS.items():
        if case["name"].startswith(key) or key == case["target"]:
            return True, status
    return False, None


def check(server: Server, case: dict[str, Any], file: dict[str, Any]) -> None:
    status, headers, content = server.ask(raw_request(case, file))
    deviates, expected = deviation(case)
    if deviates:
        assert (expected or status) == status, case["name"]
        assert status != 500, case["name"]
        return
    assert case["status"] == status, case["name"]
    if f"{case['name']} ".startswith(SAME_STATUS_ONLY):
        return
    if "body" in case:
        body = file["bodies"][case["body"]].encode()
    else:
        body = base64.b64decode(case["body_base64"])
    assert body == normal(content), case["name"]
    assert case["content_type"].encode() == headers[b"content-type"], case["name"]
    if case["method"] != "HEAD":
        assert len(content) == int(headers[b"content-length"]), case["name"]


@pytest.mark.parametrize(
    "name", ["headers", "trees", "versions", "accept", "paths", "methods"]
)
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


def test_deviations_are_still_needed() -> None:
    """A deviation that no recorded case needs any more must be deleted."""
    files = ("headers", "trees", "versions", "accept", "paths", "methods", "password")
    cases = [case for file in files for case in recorded(file)["cases"]]
    unused = [
        key
        for key in DEVIATIONS
        if not any(key == c["target"] or c["name"].startswith(key) for c in cases)
    ]
    assert not unused
