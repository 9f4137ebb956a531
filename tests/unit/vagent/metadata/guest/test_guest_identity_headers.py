"""Identity headers, targets, answers: the small pure values."""

from __future__ import annotations

import hmac
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from vagent.config.model import Secret
from vagent.errors import UpstreamError
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.guest.identity_headers import (
    IdentityBlocks,
    guest_address,
    identity_block,
    signature,
    variant,
)
from vagent.metadata.http.response_reader import ResponseHead
from vagent.metadata.http.response_writer import (
    local_response,
    relayed_head,
    status_line,
)
from vagent.metadata.upstream.target import HostPort, Target, target_of
from vagent.ports.port import Port, Registration

SECRET = Secret(b"deadbeef2eb84d8d")
INSTANCE = "32d0524b-314d-4594-b3a3-607e3f2354f8"
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
PORT = Port(
    id="p",
    instance_id=INSTANCE,
    tenant_id="7e0000000000400080000000000000aa",
    network_id="",
    display_name="",
    tap="tap",
    mac="02:00:00:00:00:01",
    address=IPv4Address("10.0.0.3"),
    address6=IPv6Address("fd00::3"),
)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


def test_signature_vector() -> None:
    """The vector that Nova's own check accepts."""
    assert SIGNATURE == signature(SECRET, INSTANCE)


def test_empty_secret_signs_with_the_empty_key() -> None:
    """As Contrail: the header is sent, as the HMAC of the empty key."""
    expected = hmac.new(b"", INSTANCE.encode(), "sha256").hexdigest()
    assert expected == signature(Secret(b""), INSTANCE)


def test_block() -> None:
    """Four lines, in Contrail's order and case."""
    assert (
        b"X-Forwarded-For: 10.0.0.3\r\n"
        b"X-Instance-ID: " + INSTANCE.encode() + b"\r\n"
        b"X-Tenant-ID: 7e0000000000400080000000000000aa\r\n"
        b"X-Instance-ID-Signature: " + SIGNATURE.encode() + b"\r\n"
    ) == identity_block(SECRET, REGISTRATION)


@pytest.mark.parametrize("field", ["instance_id", "tenant_id"])
@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00", "a\x7f"])
def test_a_value_never_breaks_out_of_its_line(field: str, value: str) -> None:
    """Refused, whatever the ports room let through; the value is not in the message."""
    changes: dict[str, Any] = {field: value}
    broken = replace(REGISTRATION, port=replace(PORT, **changes))
    with pytest.raises(UpstreamError, match="not printable") as caught:
        identity_block(SECRET, broken)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "10.0.0.3"),
        ({"address": None}, "fd00::3"),
        ({"address": None, "address6": None}, "0.0.0.0"),
    ],
)
def test_guest_address(changes: dict[str, Any], expected: Any) -> None:
    """IPv4 first, then IPv6, then Contrail's zero address."""
    port = replace(PORT, **changes)
    assert expected == guest_address(replace(REGISTRATION, port=port))


def test_blocks_are_remembered_until_forgotten_or_replaced() -> None:
    """One HMAC for a registration; a new registration gets a new block."""
    blocks = IdentityBlocks(SECRET)
    first = blocks.of(REGISTRATION)
    assert first is blocks.of(REGISTRATION)
    moved = replace(REGISTRATION, port=replace(PORT, address=IPv4Address("10.0.0.4")))
    assert b"10.0.0.4" in blocks.of(moved)
    assert 1 == len(blocks)
    blocks.forget("169.254.64.3")
    assert 1 == len(blocks)
    blocks.forget("169.254.64.2")
    assert 0 == len(blocks)


def test_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes when the ceiling is reached."""
    monkeypatch.setattr("vagent.metadata.guest.identity_headers.MAX_SIGNED", 2)
    blocks = IdentityBlocks(SECRET)
    for number in range(3):
        blocks.of(replace(REGISTRATION, identity=IPv4Address(number)))
    assert 2 == len(blocks)


def service(*addresses: str, name: str = "") -> LinkLocalService:
    return LinkLocalService(
        name="metadata",
        address=IPv4Address("169.254.169.254"),
        port=80,
        fabric_addresses=tuple(IPv4Address(one) for one in addresses),
        fabric_port=8775,
        fabric_dns_name=name,
    )


@pytest.mark.parametrize(
    ("given_service", "expected"),
    [
        (
            service("10.0.0.1", "10.0.0.2", "10.0.0.1"),
            Target((HostPort("10.0.0.1", 8775), HostPort("10.0.0.2", 8775)), ""),
        ),
        (
            service("10.0.0.1", name="nova"),
            Target((HostPort("10.0.0.1", 8775),), "nova"),
        ),
        (service(name="nova"), Target((HostPort("nova", 8775),), "nova")),
        (service(), Target((), "")),
    ],
)
def test_target_of(given_service: LinkLocalService, expected: Any) -> None:
    """Addresses first; a name alone is resolved later; neither is no endpoint."""
    assert expected == target_of(given_service)


def test_host_and_port() -> None:
    """How endpoints look, and what their certificate is for."""
    assert "[fd00::1]:80" == str(HostPort("fd00::1", 80))
    assert "nova:80" == str(HostPort("nova", 80))
    assert "10.0.0.1" == Target((), "").name_of(HostPort("10.0.0.1", 80))
    assert "nova" == Target((), "nova").name_of(HostPort("10.0.0.1", 80))
    assert (True, True, False) == tuple(
        HostPort(host, 1).is_address for host in ("10.0.0.1", "fd00::1", "nova")
    )


def test_own_answers() -> None:
    """Empty, with a length; 503 asks to come back."""
    busy = b"HTTP/1.1 503 Service Unavailable\r\n"
    tail = b"Content-Length: 0\r\nRetry-After: 1\r\n\r\n"
    assert busy + tail == local_response(503, close=False)
    assert (
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        == (local_response(400, close=True))
    )
    assert b"HTTP/1.1 299 Unknown\r\n" == status_line(299)


@pytest.mark.parametrize(
    ("length", "chunked", "framing"),
    [
        (5, False, b"Content-Length: 5\r\n"),
        (None, True, b"Transfer-Encoding: chunked\r\n"),
        (None, False, b""),
    ],
)
def test_relayed_heads(length: int | None, chunked: bool, framing: bytes) -> None:
    """One framing, or none where the end is the end of the connection."""
    head = ResponseHead(200, b"Server: a\r\n", None, chunked=False, persistent=True)
    assert b"HTTP/1.1 200 OK\r\nServer: a\r\n" + framing + b"\r\n" == relayed_head(
        head, length=length, chunked=chunked, close=False
    )


@pytest.mark.parametrize(
    ("source", "changes", "expected"),
    [
        ("169.254.64.2", {}, "10.0.0.3"),
        ("fd40:140:2::1", {}, "fd00::3"),
        ("fd40:140:2:fffd::aa", {}, "fe80::aa"),
        ("fd40:140:2:fffd::aa", {"address6": None}, "fe80::aa"),
        ("fd40:140:2::1", {"address6": None}, "10.0.0.3"),
    ],
)
def test_guest_address_is_the_one_it_asks_from(
    source: str, changes: dict[str, Any], expected: str
) -> None:
    """Over IPv6 the registered IPv6 address, or the link-local one in the identity."""
    registration = replace(REGISTRATION, port=replace(PORT, **changes))
    assert expected == guest_address(registration, source)
    block = identity_block(SECRET, registration, source)
    assert f"X-Forwarded-For: {expected}\r\n".encode() in block


def test_blocks_are_remembered_for_each_family() -> None:
    """One for IPv4, one for IPv6, however many link-local addresses a guest has."""
    blocks = IdentityBlocks(SECRET)
    sources = (
        "169.254.64.2",
        "fd40:140:2::1",
        *(f"fd40:140:2:fffd::{n}" for n in "12"),
    )
    found = [blocks.of(REGISTRATION, source) for source in sources]
    assert 4 == len(set(found))
    assert 2 == len(blocks)
    assert found[3] is blocks.of(REGISTRATION, sources[3])
    blocks.forget("169.254.64.2")
    assert 0 == len(blocks)


def test_a_further_address_is_the_one_that_asks() -> None:
    """Each identity of a port stands for one of the guest's addresses."""
    port = replace(PORT, further=(IPv4Address("10.0.0.9"), IPv6Address("fd00::9")))
    registration = replace(REGISTRATION, port=port, further=(5, 9))
    blocks = IdentityBlocks(SECRET)
    for source, address in (
        ("169.254.64.2", "10.0.0.3"),
        ("169.254.64.5", "10.0.0.9"),
        ("fd40:140:9::1", "fd00::9"),
        ("169.254.64.5", "10.0.0.9"),
    ):
        assert address == guest_address(registration, source)
        line = f"X-Forwarded-For: {address}\r\n".encode()
        assert blocks.of(registration, source).startswith(line)
    sources = ("169.254.64.2", "169.254.64.5", "fd40:140:2::1", "fd40:140:9::1")
    assert 4 == len({variant(registration, source) for source in sources})
    assert b"" == variant(registration, sources[0])
