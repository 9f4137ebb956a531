"""What is answered where Nova has nothing: which tree, and which signature."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.unit.vagent.nova.additions.test_additions_interfaces import (
    ONE,
    UUID,
    instance,
    port,
)
from vagent.nova.additions.added_paths import AddedPaths
from vagent.nova.identity.document import TokenRequest, identity_document
from vagent.nova.reply import NovaFault, NovaReply
from vagent.nova.request import NovaRequest

IDENTITY = "latest/dynamic/instance-identity"


class Signer:
    """Says what was to be signed."""

    async def signature(self, document: bytes) -> bytes:
        return b"signature of " + document

    async def signed_data(self, document: bytes) -> bytes:
        return b"data with " + document

    async def token(self, wanted: TokenRequest, document: bytes) -> bytes:
        return f"token {wanted} of ".encode() + document

    async def key_set(self) -> bytes:
        return b"key set"

    async def certificates(self) -> bytes:
        return b"certificates"


def find(target: str, *, signer: Any = None, ports: Any = ()) -> Any:
    """The text; a fault; None."""
    asked: list[str] = []

    def ports_of(uuid: str) -> Any:
        asked.append(uuid)
        return ports

    additions = AddedPaths(ports_of=ports_of, signer=signer)
    request = NovaRequest("GET", f"/{target}".encode(), {})
    path = tuple(target.partition("?")[0].split("/"))
    found: list[Any] = []

    async def ask() -> None:
        found.append(
            await additions.find(
                request,
                path,
                instance(),
                address="192.0.2.1",
                vendor_data=lambda _: {"cloud-init": "vendor"},
            )
        )

    Deferred.fromCoroutine(ask())
    assert asked in ([], [UUID])
    (reply,) = found
    return reply.content.decode() if isinstance(reply, NovaReply) else reply


def test_both_trees() -> None:
    """Amazon's with and without `ec2` before it, and NoCloud's."""
    for before in ("", "ec2/"):
        assert ONE == find(f"{before}latest/meta-data/mac", ports=[port()])
    assert "vendor" == find("nocloud/vendor-data")


@pytest.mark.parametrize(
    "target",
    ["openstack/latest/meta-data/mac", "ec2", "nope", "nocloud/nope", "2009-04-04/mac"],
)
def test_the_rest_is_not_there(target: str) -> None:
    """Nova's openstack tree has no additions."""
    assert find(target, ports=[port()], signer=Signer()) is None


def test_documents_and_signatures_go_together() -> None:
    """All of them are of the same document."""
    document = identity_document(instance(), "192.0.2.1", ()).decode()
    expected = {
        "document": document,
        "signature": f"signature of {document}",
        "pkcs7": f"data with {document}",
        "rsa2048": f"data with {document}",
        "keys": "key set",
        "certificates": "certificates",
        "token?audience=a&nonce=n": f"token {TokenRequest('a', 'n')} of {document}",
    }
    for name, text in expected.items():
        assert text == find(f"{IDENTITY}/{name}", signer=Signer())


def test_a_token_for_nobody_is_refused() -> None:
    """The guest is told what to give."""
    fault = find(f"{IDENTITY}/token", signer=Signer())
    assert isinstance(fault, NovaFault)
    assert (400, "token-query") == (fault.status, fault.reason)
    assert "audience: is missing" in fault.text


def test_without_a_signer_there_are_no_signatures() -> None:
    """The document alone, which cloud-init needs."""
    assert UUID == json.loads(find(f"{IDENTITY}/document"))["instanceUuid"]
    for name in ("signature", "pkcs7", "token?audience=a", "keys"):
        assert find(f"{IDENTITY}/{name}") is None
