"""The token's codec: only its holder, under a living key, in time, can use it."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vagent.metadata.proxy_rig import REGISTRATION
from vagent.metadata.imds_v2.token import (
    NONCE_BYTES,
    TOKEN_LENGTH,
    TokenVerdict,
    holder_of,
    mint_token,
    verify_token,
)

KEY = bytes(range(32))
HOLDER = holder_of(REGISTRATION)
NONCE = b"0123456789"
TOKEN = mint_token(KEY, 7, nonce=NONCE, expires=100, holder=HOLDER)


def verdict(
    token: bytes | None, *, holder: bytes = HOLDER, now: float = 0.0
) -> TokenVerdict:
    return verify_token(token, key_of={7: KEY}.get, holder=holder, now=now)


@given(
    key=st.binary(min_size=32, max_size=32),
    number=st.integers(0, 255),
    nonce=st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    expires=st.integers(1, 2**48 - 1),
    holder=st.binary(max_size=80),
)
def test_every_token_opens_for_its_holder(
    key: bytes, number: int, nonce: bytes, expires: int, holder: bytes
) -> None:
    """Until its time, and not from then on; it has a fixed length."""
    token = mint_token(key, number, nonce=nonce, expires=expires, holder=holder)
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
    assert verdict(token) in (TokenVerdict.MALFORMED, TokenVerdict.FOREIGN)


def test_no_token_and_an_empty_one_are_different_things() -> None:
    """Whoever shows an empty token means to show one."""
    assert TokenVerdict.MISSING is verdict(None)
    assert TokenVerdict.MALFORMED is verdict(b"")


@given(st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES))
def test_each_token_is_another_one(nonce: bytes) -> None:
    """Also of one guest with one expiry."""
    token = mint_token(KEY, 7, nonce=nonce, expires=100, holder=HOLDER)
    assert (token == TOKEN) is (nonce == NONCE)


def test_the_expiry_does_not_show() -> None:
    """It counts from the host's boot: who reads it knows how long the host is up. The
    same bytes stand for another expiry under each nonce.
    """
    front, back = 2 + NONCE_BYTES, 2 + NONCE_BYTES + 6
    sealed = {
        urlsafe_b64decode(
            mint_token(
                KEY, 7, nonce=n.to_bytes(NONCE_BYTES), expires=100, holder=HOLDER
            )
        )[front:back]
        for n in range(1000)
    }
    assert 1000 == len(sealed)
    assert (100).to_bytes(6) not in sealed


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


def test_tokens_that_guests_hold_stay_good() -> None:
    """Another version of the agent reads them: the same statement is the same token."""
    holder = holder_of(REGISTRATION)
    assert b"i\0p\0t\0\0002" == holder
    token = mint_token(KEY, 7, nonce=NONCE, expires=100, holder=holder)
    assert b"AgcwMTIzNDU2Nzg57NJQt8aUeaAhRVL9F00nsM8lHk-i16K5OWBGOoma" == token
