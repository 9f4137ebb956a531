"""Who a guest is, as Nova wants it: four headers, from the registration alone.

Nothing here depends on what the guest sent. The rendered block is computed once for a
registration and kept, bounded, until the port goes.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from vagent.config.model import Secret
from vagent.errors import UpstreamError
from vagent.metadata.limits import MAX_SIGNED
from vagent.ports.port import Registration


def signature(secret: Secret, instance_id: str) -> str:
    """Lower-case hex HMAC-SHA256 of the dashed instance id, as Nova computes it.

    An empty secret is a valid (empty) key: Contrail signs with it, Nova may ignore it.
    """
    return hmac.new(secret.value, instance_id.encode("ascii"), sha256).hexdigest()


def guest_address(registration: Registration, source: str = "") -> str:
    """The address that the guest asks from; Contrail's `0.0.0.0` where it has none.

    `source` is the identity of the connection, as a socket spells it.
    """
    port = registration.port
    if not _is_main(registration, source):
        behind = registration.address_behind(source)
        if behind is not None:
            return str(behind)
    return str(port.address or port.address6 or "0.0.0.0")  # noqa: S104  not a bind


def variant(registration: Registration, source: str) -> bytes:
    """What distinguishes the upstream's replies to this identity from those to the
    port's main one, which is b"": the upstream is told the address, and may say it.
    """
    return b"" if _is_main(registration, source) else source.encode() + b" "


def _is_main(registration: Registration, source: str) -> bool:
    """Is this surely the port's IPv4 identity, or none?"""
    if not source or (":" not in source and not registration.further):
        return True
    return source == str(registration.identity)


def identity_block(
    secret: Secret, registration: Registration, source: str = ""
) -> bytes:
    """The four lines. Raises UpstreamError if a value could break out of its line."""
    port = registration.port
    block = (
        f"X-Forwarded-For: {guest_address(registration, source)}\r\n"
        f"X-Instance-ID: {port.instance_id}\r\n"
        f"X-Tenant-ID: {port.tenant_id}\r\n"
        f"X-Instance-ID-Signature: {signature(secret, port.instance_id)}\r\n"
    )
    if not block.replace("\r\n", "").isprintable() or block.count("\r\n") != 4:
        raise UpstreamError(f"port {port.id}: identity is not printable", status=500)
    return block.encode("ascii")


class IdentityBlocks:
    """Remembers the identity block of each guest and family, at most MAX_SIGNED."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._blocks: dict[tuple[str, bool], tuple[Registration, str, bytes]] = {}

    def of(self, registration: Registration, source: str = "") -> bytes:
        """The block; computed again when the registration is another object, or the
        guest asks from another of its addresses.
        """
        is_ipv6 = ":" in source
        key = (str(registration.identity), is_ipv6)
        asks_from = "" if _is_main(registration, source) else source
        known = self._blocks.get(key)
        if known is not None and known[0] is registration and known[1] == asks_from:
            return known[2]
        block = identity_block(self._secret, registration, asks_from)
        self._blocks.pop(key, None)
        if len(self._blocks) >= MAX_SIGNED:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[key] = (registration, asks_from, block)
        return block

    def forget(self, identity: str) -> None:
        """Drop the blocks of whoever had this identity address."""
        for is_ipv6 in (False, True):
            self._blocks.pop((identity, is_ipv6), None)

    def __len__(self) -> int:
        return len(self._blocks)
