"""Who a guest is, as Nova wants it: four headers, from the registration alone.

Nothing here depends on what the guest sent. The rendered block is computed once for a
registration and kept, bounded, until the port goes.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address

from vagent.config.model import Secret
from vagent.errors import UpstreamError
from vagent.metadata.limits import MAX_SIGNED
from vagent.ports.port import Registration


def signature(secret: Secret, instance_id: str) -> str:
    """Lower-case hex HMAC-SHA256 of the dashed instance id, as Nova computes it.

    An empty secret is a valid (empty) key: Contrail signs with it, Nova may ignore it.
    """
    return hmac.new(secret.value, instance_id.encode("ascii"), sha256).hexdigest()


def guest_address(registration: Registration) -> str:
    """The guest's registered address; `0.0.0.0`, as in Contrail, where it has none."""
    port = registration.port
    return str(port.address or port.address6 or "0.0.0.0")  # noqa: S104  not a bind


def identity_block(secret: Secret, registration: Registration) -> bytes:
    """The four lines. Raises UpstreamError if a value could break out of its line."""
    port = registration.port
    block = (
        f"X-Forwarded-For: {guest_address(registration)}\r\n"
        f"X-Instance-ID: {port.instance_id}\r\n"
        f"X-Tenant-ID: {port.tenant_id}\r\n"
        f"X-Instance-ID-Signature: {signature(secret, port.instance_id)}\r\n"
    )
    if not block.replace("\r\n", "").isprintable() or block.count("\r\n") != 4:
        raise UpstreamError(f"port {port.id}: identity is not printable", status=500)
    return block.encode("ascii")


class IdentityBlocks:
    """Remembers the identity block of each registration, at most MAX_SIGNED of them."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._blocks: dict[IPv4Address | IPv6Address, tuple[Registration, bytes]] = {}

    def of(self, registration: Registration) -> bytes:
        """The block; computed again when the registration is another object."""
        key = registration.identity
        known = self._blocks.get(key)
        if known is not None and known[0] is registration:
            return known[1]
        block = identity_block(self._secret, registration)
        self._blocks.pop(key, None)
        if len(self._blocks) >= MAX_SIGNED:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[key] = (registration, block)
        return block

    def forget(self, identity: str) -> None:
        """Drop the block of whoever had this identity address."""
        self._blocks.pop(ip_address(identity), None)

    def __len__(self) -> int:
        return len(self._blocks)
