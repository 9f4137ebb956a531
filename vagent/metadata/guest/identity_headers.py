"""Who a guest is, as nova-api is told: four headers, made from the registration alone.

Nothing here depends on what the guest sent. The headers are computed once for each
registration (that costs an HMAC) and remembered, bounded, until the port goes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from vagent.config.model import Secret
from vagent.errors import UpstreamError
from vagent.metadata.events import Caller
from vagent.metadata.limits import MAX_IDENTITIES
from vagent.ports.port import Port, Registration


@dataclass(frozen=True, slots=True)
class GuestIdentity:
    """Who a guest is when it asks from one of its addresses.

    `caller` is for events, `headers` are the four header lines. `cache_prefix` keeps
    responses to this address apart from those to the port's other addresses, because
    the upstream is told the address and may repeat it; b"" for the main one.
    """

    caller: Caller
    headers: bytes
    cache_prefix: bytes


def signature(secret: Secret, instance_id: str) -> str:
    """Lower-case hex HMAC-SHA256 of the dashed instance id, as Nova computes it.

    An empty secret is a valid (empty) key: Contrail signs with it, Nova may ignore it.
    """
    return hmac.new(secret.value, instance_id.encode("ascii"), sha256).hexdigest()


def guest_address(registration: Registration, source: str = "") -> str:
    """The guest's address behind `source`, the identity that a connection comes from.

    Where it is not known, the port's main address, or `0.0.0.0` as in Contrail.
    """
    if not _is_main(registration, source):
        behind = registration.address_behind(source)
        if behind is not None:
            return str(behind)
    port = registration.port
    return str(port.address or port.address6 or "0.0.0.0")  # noqa: S104  not a bind


def caller_of(registration: Registration, source: str) -> Caller:
    """The guest that has this identity address, in the form in which events name
    guests.
    """
    port = registration.port
    return Caller(port.id, port.tap, guest_address(registration, source))


def identity_headers(secret: Secret, port: Port, address: str) -> bytes:
    """The four header lines. Raises UpstreamError (500) if a value has a character
    that could end its line.
    """
    lines = (
        f"X-Forwarded-For: {address}\r\n"
        f"X-Instance-ID: {port.instance_id}\r\n"
        f"X-Tenant-ID: {port.tenant_id}\r\n"
        f"X-Instance-ID-Signature: {signature(secret, port.instance_id)}\r\n"
    )
    if not lines.replace("\r\n", "").isprintable() or lines.count("\r\n") != 4:
        raise UpstreamError(f"port {port.id}: identity is not printable", status=500)
    return lines.encode("ascii")


class GuestIdentities:
    """Remembers one identity for each port and address family, at most MAX_IDENTITIES.

    Not one for each address: a guest can have any number of link-local addresses.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._known: dict[tuple[str, bool], tuple[Registration, str, GuestIdentity]]
        self._known = {}

    def of(self, registration: Registration, source: str = "") -> GuestIdentity:
        """Who asks from this identity address. Raises UpstreamError (500).

        Computed again when the registration is another object than last time, or the
        guest asks from another of its addresses of the same family.
        """
        key = (str(registration.identity), ":" in source)
        asks_from = "" if _is_main(registration, source) else source
        known = self._known.get(key)
        if known is not None and known[0] is registration and known[1] == asks_from:
            return known[2]
        caller = caller_of(registration, asks_from)
        identity = GuestIdentity(
            caller,
            identity_headers(self._secret, registration.port, caller.guest_address),
            asks_from.encode() + b" " if asks_from else b"",
        )
        self._known.pop(key, None)
        if len(self._known) >= MAX_IDENTITIES:
            del self._known[next(iter(self._known))]
        self._known[key] = (registration, asks_from, identity)
        return identity

    def forget(self, identity: str) -> None:
        """Drop what is known of the port with this main identity address."""
        for is_ipv6 in (False, True):
            self._known.pop((identity, is_ipv6), None)

    def __len__(self) -> int:
        return len(self._known)


def _is_main(registration: Registration, source: str) -> bool:
    """Is this the port's main (IPv4) identity, or is none given?

    A port with one IPv4 address has one IPv4 identity: no text need be compared.
    """
    if not source or (":" not in source and not registration.further):
        return True
    return source == str(registration.identity)
