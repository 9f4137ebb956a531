"""The session token: a signed statement of who may use it and until when. Pure.

It is `version, key number, nonce, sealed expiry, code` in URL-safe base64. The code is
an HMAC-SHA256, cut to 192 bits, of all that and of the holder, which the token does not
name: with another holder the token is invalid, and nothing is stored for it. The expiry
counts from the host's boot, so it is sealed by a key stream that the nonce selects: a
guest cannot read how long its host has been up. The nonce makes each token unique. A
guest may hold any number of tokens, as on Amazon.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import Enum

from vagent.ports.port import Registration

_VERSION = 2
NONCE_BYTES = 10
_EXPIRY_BYTES = 6
_FRONT = struct.Struct(f">BB{NONCE_BYTES}s{_EXPIRY_BYTES}s")
_CODE_BYTES = 24
TOKEN_LENGTH = (_FRONT.size + _CODE_BYTES) // 3 * 4
"""Characters. The bytes are a multiple of three, so base64 has one spelling each."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{%d}" % TOKEN_LENGTH)


class TokenVerdict(Enum):
    """The result of verifying a token; the value is the reason that counters show."""

    VALID = "valid"
    MISSING = "no-token"
    MALFORMED = "malformed-token"
    FOREIGN = "foreign-token"
    """Of another guest, an earlier registration, a key long gone, or made up."""
    EXPIRED = "expired-token"


def holder_of(registration: Registration) -> bytes:
    """Whom a token is for: the instance, and this registration of its port."""
    port = registration.port
    parts = (port.instance_id, port.id, port.tenant_id, port.time)
    return "\0".join((*parts, str(registration.index))).encode()


def mint_token(
    key: bytes, number: int, *, nonce: bytes, expires: int, holder: bytes
) -> bytes:
    """A token of TOKEN_LENGTH characters. `number` (0 to 255) names the key, `nonce`
    is NONCE_BYTES of randomness, `expires` is in whole seconds since boot.
    """
    sealed = _sealed(key, nonce, expires.to_bytes(_EXPIRY_BYTES))
    front = _FRONT.pack(_VERSION, number, nonce, sealed)
    return urlsafe_b64encode(front + _code(key, front, holder))


def verify_token(
    token: bytes | None,
    *,
    key_of: Callable[[int], bytes | None],
    holder: bytes,
    now: float,
) -> TokenVerdict:
    """Verify a token that a guest showed (None: it showed none): first its form, then
    its HMAC in constant time.

    `key_of` gives the key of a number, `now` is in the same seconds as `expires`. The
    expiry is looked at only when the HMAC is right, so that nobody but the holder can
    find out that a token was valid once.
    """
    if token is None:
        return TokenVerdict.MISSING
    if len(token) != TOKEN_LENGTH or _TOKEN.fullmatch(token) is None:
        return TokenVerdict.MALFORMED
    data = urlsafe_b64decode(token)
    front, code = data[: _FRONT.size], data[_FRONT.size :]
    version, number, nonce, sealed = _FRONT.unpack(front)
    key = key_of(number)
    if version != _VERSION or key is None:
        return TokenVerdict.FOREIGN
    if not hmac.compare_digest(code, _code(key, front, holder)):
        return TokenVerdict.FOREIGN
    expires = int.from_bytes(_sealed(key, nonce, sealed))
    return TokenVerdict.VALID if now < expires else TokenVerdict.EXPIRED


def _code(key: bytes, front: bytes, holder: bytes) -> bytes:
    return hmac.digest(key, b"code" + front + holder, "sha256")[:_CODE_BYTES]


def _sealed(key: bytes, nonce: bytes, expiry: bytes) -> bytes:
    """Encrypt the expiry with a key stream; the same call decrypts it."""
    stream = hmac.digest(key, b"seal" + nonce, "sha256")
    return bytes(a ^ b for a, b in zip(expiry, stream, strict=False))
