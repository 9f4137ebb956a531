"""The session token: who may use it and until when, under a key. Pure, stateless.

`version, key number, expiry, HMAC-SHA256` in URL-safe base64. The code covers the
holder, which the token does not name: one guest's token says nothing to another, and
nothing is stored for it. There is no limit to how many a guest may hold, as on Amazon.
"""

from __future__ import annotations

import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import Enum

from vagent.ports.port import Registration

_VERSION = 1
_FRONT = struct.Struct(">BBQ")
_CODE_BYTES = 32
TOKEN_LENGTH = (_FRONT.size + _CODE_BYTES) // 3 * 4
"""Characters; the bytes are a multiple of three, so each token has one spelling."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{%d}" % TOKEN_LENGTH)


class TokenVerdict(Enum):
    """What a token is worth; the value is the reason that counters show."""

    VALID = "valid"
    MISSING = "no-token"
    MALFORMED = "malformed-token"
    FOREIGN = "foreign-token"
    """Of another guest, another port generation, a key long gone, or made up."""
    EXPIRED = "expired-token"


def holder_of(registration: Registration) -> bytes:
    """Whom a token is for: instance, port, and which registration of the port it is."""
    port = registration.port
    parts = (port.instance_id, port.id, port.tenant_id, port.time)
    return "\0".join((*parts, str(registration.index))).encode()


def mint_token(key: bytes, number: int, *, expires: int, holder: bytes) -> bytes:
    """A token of TOKEN_LENGTH characters. `number` (0 to 255) names the key."""
    front = _FRONT.pack(_VERSION, number, expires)
    return urlsafe_b64encode(front + _code(key, front, holder))


def verify_token(
    token: bytes, *, key_of: Callable[[int], bytes | None], holder: bytes, now: float
) -> TokenVerdict:
    """Judge a token that a guest showed; cheap bounds first, constant time after.

    The expiry is looked at only when the code is right, so that only the holder learns
    that a token has been one.
    """
    if not token:
        return TokenVerdict.MISSING
    if len(token) != TOKEN_LENGTH or _TOKEN.fullmatch(token) is None:
        return TokenVerdict.MALFORMED
    data = urlsafe_b64decode(token)
    front, code = data[: _FRONT.size], data[_FRONT.size :]
    version, number, expires = _FRONT.unpack(front)
    key = key_of(number)
    if version != _VERSION or key is None:
        return TokenVerdict.FOREIGN
    if not hmac.compare_digest(code, _code(key, front, holder)):
        return TokenVerdict.FOREIGN
    return TokenVerdict.VALID if now < expires else TokenVerdict.EXPIRED


def _code(key: bytes, front: bytes, holder: bytes) -> bytes:
    return hmac.digest(key, front + holder, "sha256")
