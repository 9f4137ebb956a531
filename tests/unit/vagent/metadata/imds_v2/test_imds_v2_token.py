"""The token's codec: only its holder, under a living key, in time, can use it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.metadata.memory_bench import REGISTRATION
from vagent.metadata.imds_v2.token import (
    TOKEN_LENGTH,
    TokenVerdict,
    holder_of,
    mint_token,
    verify_token,
)

KEY = bytes(range(32))
HOLDER = holder_of(REGISTRATION)
TOKEN = mint_token(KEY, 7, expires=100, holder=HOLDER)


def verdict(token: bytes, *, holder: bytes = HOLDER, now: float = 0.0) -> TokenVerdict:
    return verify_token(token, key_of={7: KEY}.get, holder=holder, now=now)


@given(
    key=st.binary(min_size=32, max_size=32),
    number=st.integers(0, 255),
    # Up to where each second is a float of its own: 285 million years after boot.
    expires=st.integers(1, 2**53),
    holder=st.binary(max_size=80),
)
def test_every_token_opens_for_its_holder(
    key: bytes, number: int, expires: int, holder: bytes
) -> None:
    """Until its time, and not from then on; it has a fixed length."""
    token = mint_token(key, number, expires=expires, holder=holder)
    assert TOKEN_LENGTH == len(token)
    keys = {number: key}
    for now, expected in (
        (0.0, TokenVerdict.VALID),
        (float(expires), TokenVerdict.EXPIRED),
    ):
        assert expected is verify_token(token, key_of=keys.get, holder=holder, now=now)
    assert TokenVerdict.FOREIGN is (
        verify_token(token, key_of=keys.get, holder=holder + b"x", now=0.0)
    )
    assert TokenVerdict.FOREIGN is verify_token(
        token, key_of=lambda _number: None, holder=holder, now=0.0
    )


def test_every_changed_character_is_found() -> None:
    """No bit of it can be flipped."""
    for at in range(TOKEN_LENGTH):
        for other in b"AQgw_-z9":
            if TOKEN[at] == other:
                continue
            changed = TOKEN[:at] + bytes((other,)) + TOKEN[at + 1 :]
            assert TokenVerdict.FOREIGN is verdict(changed)


@given(st.binary(max_size=2 * TOKEN_LENGTH))
def test_anything_else_is_refused(token: bytes) -> None:
    """Whatever a guest shows: a verdict, never an exception, never valid."""
    expected = TokenVerdict.MALFORMED if token else TokenVerdict.MISSING
    assert verdict(token) in (expected, TokenVerdict.FOREIGN)


@pytest.mark.parametrize(
    "token",
    [TOKEN[:-1], TOKEN + b"A", TOKEN[:-1] + b"=", TOKEN[:-1] + b"+", b"A" * 10_000],
)
def test_malformed(token: bytes) -> None:
    """Length and alphabet come before any arithmetic."""
    assert TokenVerdict.MALFORMED is verdict(token)


@pytest.mark.parametrize(
    ("now", "expected"), [(99.999, "valid"), (100.0, "expired-token")]
)
def test_its_time(now: float, expected: str) -> None:
    """Valid up to the second it names."""
    assert expected == verdict(TOKEN, now=now).value


@pytest.mark.parametrize(
    "change",
    [{"id": "q"}, {"instance_id": "j"}, {"tenant_id": "u"}, {"time": "later"}],
)
def test_another_generation_of_the_port_is_another_holder(
    change: dict[str, str],
) -> None:
    """A port made again, or given to another instance, does not inherit tokens."""
    other = replace(REGISTRATION, port=replace(REGISTRATION.port, **change))  # type: ignore[arg-type]  # every field named is a str
    assert TokenVerdict.FOREIGN is verdict(TOKEN, holder=holder_of(other))


def test_another_identity_is_another_holder() -> None:
    """The number of the identity is part of it."""
    other = replace(REGISTRATION, index=REGISTRATION.index + 1)
    assert TokenVerdict.FOREIGN is verdict(TOKEN, holder=holder_of(other))
