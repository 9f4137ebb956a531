"""Which fields pass, and how their values are read."""

from __future__ import annotations

import pytest

from vagent.metadata.http.headers import FORWARDED, HOP_BY_HOP, is_host, tokens


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"a",
            b"169.254.169.254",
            b"a.b:80",
            b"a:",
            b"[fd00::1]",
            b"[fe80::1%25e]:80",
        ),
        b"a" * 255,
    ],
)
def test_hosts(value: bytes) -> None:
    """Name or address, with a port or without."""
    assert is_host(value)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" a", b"a b", b"a/b", b"a:b", b"a:123456", b"a@b", b"fd00::1", b"[]"),
        *(b"[fd00::1", b"[fd00::1]x", b"a,b", b"\xe4", b"a" * 256),
    ],
)
def test_no_hosts(value: bytes) -> None:
    """What could be read in two ways, or breaks out of its line."""
    assert not is_host(value)


def test_tokens() -> None:
    """Without case and space around them."""
    assert {b"close", b"x-a"} == tokens(b" Close ,\tX-A")
    assert {b""} == tokens(b"")


def test_nothing_that_names_a_guest_passes() -> None:
    """Identity and route are never the guest's to say, nor is the connection."""
    assert {b"accept", b"content-type", b"user-agent"} == set(FORWARDED)
    assert not HOP_BY_HOP & set(FORWARDED)
