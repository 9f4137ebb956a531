"""The signer: which key, what content, and everything in its thread."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed

from tests.unit.vagent.nova.identity.made_keys import NOW, full_ring, made
from vagent.nova.identity.document import TokenRequest
from vagent.nova.identity.keys import KeyRing
from vagent.nova.identity.signatures import (
    certificates,
    key_set,
    signature,
    signed_data,
)
from vagent.nova.identity.signer import IdentitySigner

Result = TypeVar("Result")


class Rig:
    """The signer, a thread that is none, and how often it was used."""

    def __init__(self) -> None:
        self.jobs = self.opened = 0
        self._inside = False
        self.signer = IdentitySigner(
            self.open, issuer="vagent:host", now=lambda: NOW, run_in_thread=self.run
        )

    def run(self, work: Callable[[], Result]) -> Awaitable[Result]:
        self.jobs += 1
        self._inside = True
        result = work()
        self._inside = False
        return succeed(result)

    def open(self) -> Rig:
        assert self._inside, "the keys were opened in the reactor's thread"
        self.opened += 1
        return self

    def ring(self) -> KeyRing:
        assert self._inside, "the keys were read in the reactor's thread"
        return full_ring()


def result(work: Awaitable[bytes]) -> bytes:
    found: list[bytes] = []

    async def waiting() -> None:
        found.append(await work)

    Deferred.fromCoroutine(waiting())
    (only,) = found
    return only


def test_the_key_in_use_signs() -> None:
    """Neither the previous one nor the next."""
    signer = Rig().signer
    assert signature(made(2), b"x") == result(signer.signature(b"x"))
    assert signed_data(made(2), b"x") == result(signer.signed_data(b"x"))


def test_all_keys_are_published() -> None:
    """As a key set and as certificates."""
    rig = Rig()
    assert key_set(full_ring()) == json.loads(result(rig.signer.key_set()))
    assert certificates(full_ring()) == result(rig.signer.certificates())
    assert (2, 1) == (rig.jobs, rig.opened)


def test_a_token_says_who_signed_and_when() -> None:
    """Issuer and date are the signer's."""
    document = b'{"instanceUuid": "u"}'
    text = result(Rig().signer.token(TokenRequest("a", ""), document)).decode()
    claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    assert ("vagent:host", int(NOW), "u") == tuple(
        claims[name] for name in ("iss", "iat", "sub")
    )
