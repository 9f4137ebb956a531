"""Makes signed identity documents, away from the reactor.

A signature takes about a millisecond and the first one makes the keys, so all of it is
done in a thread: one guest that asks for many holds up nobody else. What it takes is
loaded there as well, because most hosts never need it (cryptography is 10 MiB).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from vagent.nova.identity.document import TokenRequest, token_claims
from vagent.store.worker import RunInThread

if TYPE_CHECKING:
    from vagent.nova.identity.keys import KeyRing


class KeySource(Protocol):
    """Gives the keys; the file, or what a test puts in its place."""

    def ring(self) -> KeyRing:
        """The keys now. Called in the signer's thread only."""


class IdentitySigner:
    """Signs with the key in use. `open_keys` is called once, in the thread. `issuer`
    names this host in tokens, `now` is the date in seconds.
    """

    def __init__(
        self,
        open_keys: Callable[[], KeySource],
        *,
        issuer: str,
        now: Callable[[], float],
        run_in_thread: RunInThread,
    ) -> None:
        self._open_keys = open_keys
        self._keys: KeySource | None = None
        self._issuer = issuer
        self._now = now
        self._run_in_thread = run_in_thread

    async def signature(self, document: bytes) -> bytes:
        """The bare RSA signature of a document, in base64."""
        return await self._make(lambda by, ring: by.signature(ring.current, document))

    async def signed_data(self, document: bytes) -> bytes:
        """The document as CMS signed data, in base64."""
        return await self._make(lambda by, ring: by.signed_data(ring.current, document))

    async def token(self, wanted: TokenRequest, document: bytes) -> bytes:
        """A JSON Web Token of the instance that the document describes."""
        claims = token_claims(wanted, document, issuer=self._issuer, now=self._now())
        return await self._make(lambda by, ring: by.token(ring.current, claims))

    async def key_set(self) -> bytes:
        """The public keys, as a JSON Web Key Set."""
        return await self._make(lambda by, ring: json.dumps(by.key_set(ring)).encode())

    async def certificates(self) -> bytes:
        """The public keys, as certificates in PEM."""
        return await self._make(lambda by, ring: by.certificates(ring))

    async def _make(self, work: Callable[[ModuleType, KeyRing], bytes]) -> bytes:
        """What `work` makes with the functions of `signatures` and the keys."""

        def job() -> bytes:
            from vagent.nova.identity import signatures

            if self._keys is None:
                self._keys = self._open_keys()
            return work(signatures, self._keys.ring())

        return await self._run_in_thread(job)
