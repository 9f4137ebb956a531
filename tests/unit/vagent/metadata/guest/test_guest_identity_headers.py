"""Who a guest is to the upstream: its headers, its address, and what is remembered."""

from __future__ import annotations

import hmac
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from vagent.config.model import Secret
from vagent.errors import UpstreamError
from vagent.metadata.events import Caller
from vagent.metadata.guest.identity_headers import (
    GuestIdentities,
    guest_address,
    identity_headers,
    signature,
)
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


def test_headers() -> None:
    """Four lines, in Contrail's order and case."""
    assert (
        b"X-Forwarded-For: 10.0.0.3\r\n"
        b"X-Instance-ID: " + INSTANCE.encode() + b"\r\n"
        b"X-Tenant-ID: 7e0000000000400080000000000000aa\r\n"
        b"X-Instance-ID-Signature: " + SIGNATURE.encode() + b"\r\n"
    ) == identity_headers(SECRET, PORT, "10.0.0.3")


@pytest.mark.parametrize("field", ["instance_id", "tenant_id"])
@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00", "a\x7f"])
def test_a_value_never_breaks_out_of_its_line(field: str, value: str) -> None:
    """Refused, whatever the ports room let through; the value is not in the message."""
    changes: dict[str, Any] = {field: value}
    with pytest.raises(UpstreamError, match="not printable") as caught:
        identity_headers(SECRET, replace(PORT, **changes), "10.0.0.3")
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


def test_identities_are_remembered_until_forgotten_or_replaced() -> None:
    """One HMAC for a registration; a new registration is another guest."""
    identities = GuestIdentities(SECRET)
    first = identities.of(REGISTRATION)
    assert first is identities.of(REGISTRATION)
    moved = replace(REGISTRATION, port=replace(PORT, address=IPv4Address("10.0.0.4")))
    assert b"10.0.0.4" in identities.of(moved).headers
    assert 1 == len(identities)
    identities.forget("169.254.64.3")
    assert 1 == len(identities)
    identities.forget("169.254.64.2")
    assert 0 == len(identities)


def test_identities_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes when the ceiling is reached."""
    monkeypatch.setattr("vagent.metadata.guest.identity_headers.MAX_IDENTITIES", 2)
    identities = GuestIdentities(SECRET)
    for number in range(3):
        identities.of(replace(REGISTRATION, identity=IPv4Address(number)))
    assert 2 == len(identities)


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
    identity = GuestIdentities(SECRET).of(registration, source)
    assert f"X-Forwarded-For: {expected}\r\n".encode() in identity.headers
    assert Caller(PORT.id, PORT.tap, expected) == identity.caller


def test_identities_are_remembered_for_each_family() -> None:
    """One for IPv4, one for IPv6, however many link-local addresses a guest has."""
    identities = GuestIdentities(SECRET)
    sources = (
        "169.254.64.2",
        "fd40:140:2::1",
        *(f"fd40:140:2:fffd::{n}" for n in "12"),
    )
    found = [identities.of(REGISTRATION, source) for source in sources]
    assert 4 == len(set(found))
    assert 2 == len(identities)
    assert found[3] is identities.of(REGISTRATION, sources[3])
    identities.forget("169.254.64.2")
    assert 0 == len(identities)


def test_a_further_address_is_the_one_that_asks() -> None:
    """Each identity of a port stands for one of the guest's addresses."""
    port = replace(PORT, further=(IPv4Address("10.0.0.9"), IPv6Address("fd00::9")))
    registration = replace(REGISTRATION, port=port, further=(5, 9))
    identities = GuestIdentities(SECRET)
    for source, address in (
        ("169.254.64.2", "10.0.0.3"),
        ("169.254.64.5", "10.0.0.9"),
        ("fd40:140:9::1", "fd00::9"),
        ("169.254.64.5", "10.0.0.9"),
    ):
        assert address == guest_address(registration, source)
        line = f"X-Forwarded-For: {address}\r\n".encode()
        assert identities.of(registration, source).headers.startswith(line)
    sources = ("169.254.64.2", "169.254.64.5", "fd40:140:2::1", "fd40:140:9::1")
    prefixes = [identities.of(registration, one).cache_prefix for one in sources]
    assert [
        b"",
        b"169.254.64.5 ",
        b"fd40:140:2::1 ",
        b"fd40:140:9::1 ",
    ] == prefixes
    assert identities.of(registration) == identities.of(registration, sources[0])


def test_the_main_identity_needs_no_prefix() -> None:
    """Said or not: what is cached for it is under the path alone."""
    identities = GuestIdentities(SECRET)
    main = identities.of(REGISTRATION, "169.254.64.2")
    assert b"" == main.cache_prefix
    assert main == identities.of(REGISTRATION)
