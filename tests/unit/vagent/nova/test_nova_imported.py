"""Instances of a real Nova, imported, are answered as that Nova answered for them.

43 instances were made in Nova 34.0.0 with its own objects, half of them unusual; its
rows were read with our statements, and its answers recorded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.unit.vagent.nova.test_nova_oracle import Server, normal
from vagent.config.model import Secret
from vagent.ctl.nova_import.document import document_of
from vagent.ctl.nova_import.rows import read_rows
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.server import metadata_site

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nova"
SECRET = b"s3kr1t-shared"
INJECTED = "1a2b3c00-0000-4000-8000-00000000000c"
"""Nova renders its network configuration from a template of its host."""
RECORDED = [
    json.loads(line) for line in (FIXTURES / "imported.jsonl").read_text().splitlines()
]


@cache
def documents() -> dict[str, dict[str, Any]]:
    """As `vagentctl instance import` makes them."""
    rows = read_rows((FIXTURES / "rows.jsonl").read_text().split("\n"), "rows")
    found = {uuid: document_of(each)[0] for uuid, each in rows.items()}
    (injected,) = [one for one in RECORDED if one["instance_id"] == INJECTED]
    found[INJECTED]["network_config"] = injected["answers"]["/openstack/content/0000"][
        2
    ]
    return found


class Imported:
    """Each is sent to the store as JSON, and decoded there."""

    async def get(self, instance_id: str) -> Instance | None:
        document = documents().get(instance_id)
        if document is None:
            return None
        return decode_instance(json.loads(json.dumps(document)))


class NoPasswords:
    async def get(self, instance_id: str) -> str:
        return ""

    async def set(self, instance_id: str, password: str) -> None:
        raise AssertionError


def server() -> Server:
    made = Server()
    made.site = metadata_site(
        Imported(),
        NoPasswords(),
        Authority(Secret(SECRET)),
        entropy=bytes,
        emit=lambda _event: None,
        reactor=Clock(),
        date=HttpDate(float, float),
    )
    return made


def request(one: dict[str, Any], path: str) -> bytes:
    uuid = one["instance_id"]
    signature = hmac.new(SECRET, uuid.encode(), hashlib.sha256).hexdigest()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nAccept: */*\r\n"
        f"X-Instance-ID: {uuid}\r\nX-Tenant-ID: {one['tenant_id']}\r\n"
        f"X-Instance-ID-Signature: {signature}\r\n"
        "X-Forwarded-For: 10.0.0.9\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("one", RECORDED, ids=[one["what"] for one in RECORDED])
def test_answers_as_nova_did(one: dict[str, Any]) -> None:
    """Status, content type and body, byte for byte."""
    site = server()
    for path, (status, kind, body) in one["answers"].items():
        got, headers, content = site.ask(request(one, path))
        content = normal(content)
        shown = (
            content.decode("utf-8", "replace")
            if isinstance(body, str)
            else {"sha256": hashlib.sha256(content).hexdigest()}
        )
        expected = (status, kind.encode(), body)
        assert expected == (got, headers[b"content-type"], shown), path


@pytest.mark.parametrize("change", [str.lower, lambda text: text.replace("-", "")])
def test_a_project_is_compared_letter_for_letter(change: Any) -> None:
    """In another form it is another project, and Nova's 404."""
    (one,) = [one for one in RECORDED if "dashes and capitals" in one["what"]]
    asked = request({**one, "tenant_id": change(one["tenant_id"])}, "/latest")
    assert 404 == server().ask(asked)[0]
