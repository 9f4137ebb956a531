"""The identity document, and what is asked of a token."""

from __future__ import annotations

import json

import pytest

from tests.unit.vagent.nova.additions.test_additions_interfaces import (
    TENANT,
    UUID,
    instance,
    port,
)
from vagent.errors import WireError
from vagent.nova.additions.interfaces import interfaces_of
from vagent.nova.identity.document import (
    MAX_WORD,
    TOKEN_SECONDS,
    TokenRequest,
    identity_document,
    token_claims,
    token_request,
)


def test_the_document() -> None:
    """Amazon's members, null where nobody knows, and two of our own."""
    known = instance(
        hostname="web",
        region="eu-west-1",
        fixed_addresses=["10.0.0.5"],
        instance_type="m1.tiny",
        ec2_instance_id="i-1",
        image_id="debian",
        ami_id="ami-1",
    )
    assert json.loads(identity_document(known, "192.0.2.1", ())) == {
        "accountId": TENANT,
        "architecture": None,
        "availabilityZone": "eu-west-1a",
        "billingProducts": None,
        "devpayProductCodes": None,
        "hostname": "web.novalocal",
        "imageId": "ami-1",
        "instanceId": "i-1",
        "instanceType": "m1.tiny",
        "instanceUuid": UUID,
        "kernelId": None,
        "marketplaceProductCodes": None,
        "pendingTime": None,
        "privateIp": "10.0.0.5",
        "ramdiskId": None,
        "region": "eu-west-1",
        "version": "2017-09-30",
    }


def test_its_address() -> None:
    """The fixed one, else the port's, else the one that the guest asks from."""
    known = instance()
    interfaces = interfaces_of(known, [port()])
    texts = [
        identity_document(known, "192.0.2.1", interfaces),
        identity_document(known, "192.0.2.1", ()),
        identity_document(known, "", ()),
    ]
    addresses = [json.loads(text)["privateIp"] for text in texts]
    assert ["10.0.0.5", "192.0.2.1", None] == addresses


def test_it_stays_the_same() -> None:
    """A signature that was fetched later fits."""
    one = identity_document(instance(), "", ())
    assert one == identity_document(instance(), "", ())


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("audience=a", TokenRequest("a", "")),
        (
            "nonce=n%2B1&audience=https%3A//a.test",
            TokenRequest("https://a.test", "n+1"),
        ),
        ("audience=" + "a" * MAX_WORD, TokenRequest("a" * MAX_WORD, "")),
    ],
)
def test_what_is_asked_of_a_token(query: str, wanted: TokenRequest) -> None:
    """Audience and nonce, percent-encoded."""
    assert wanted == token_request(query)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "audience: is missing"),
        ("nonce=1", "audience: is missing"),
        ("audience=", "audience: allowed are 1 to 255"),
        ("audience=" + "a" * (MAX_WORD + 1), "audience: allowed are 1 to 255"),
        ("audience=a&nonce=%0a", "nonce: allowed are 1 to 255 printable"),
        ("audience=a&audience=b", "each once"),
        ("audience=a&format=full", "allowed are audience and nonce"),
        ("audience=%ff", "no UTF-8"),
    ],
)
def test_what_no_token_is_made_for(query: str, words: str) -> None:
    """The message says which of them, and what is allowed."""
    with pytest.raises(WireError, match=words):
        token_request(query)


def test_claims() -> None:
    """For whom, of whom, by whom, until when; the nonce only if there was one."""
    document = identity_document(instance(), "", ())
    wanted = TokenRequest("a", "n")
    claims = dict(token_claims(wanted, document, issuer="vagent:host", now=1000.9))
    assert json.loads(document) == claims.pop("instance")
    assert claims == {
        "iss": "vagent:host",
        "sub": UUID,
        "aud": "a",
        "nonce": "n",
        "iat": 1000,
        "nbf": 1000,
        "exp": 1000 + TOKEN_SECONDS,
    }
    without = token_claims(TokenRequest("a", ""), document, issuer="", now=0)
    assert "nonce" not in without
