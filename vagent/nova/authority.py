"""Checks the headers that say for which instance a request is, as Nova does.

Source: nova/api/metadata/handler.py with `service_metadata_proxy` on; order and texts
are Nova's. X-Instance-ID counts because its signature was made with the shared secret;
no other header is signed. Nova's second way (X-Metadata-Provider) is not offered, and
its headers are never read. With an empty secret Nova checks nothing; here the signature
must then be the one made with the empty key, which agents without a secret send.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from vagent.config.model import Secret
from vagent.nova.reply import NovaFault

NO_INSTANCE = NovaFault(
    400, "X-Instance-ID header is missing from request.", "no-instance-id"
)
NO_SIGNATURE = NovaFault(
    400, "X-Instance-ID-Signature header is missing from request.", "no-signature"
)
NO_TENANT = NovaFault(
    400, "X-Tenant-ID header is missing from request.", "no-tenant-id"
)
BAD_SIGNATURE = NovaFault(403, "Invalid proxy request signature.", "bad-signature")


@dataclass(frozen=True, slots=True)
class Claim:
    """The instance and tenant that a signed request is for.

    `address` is the guest's address as the proxy gives it (X-Forwarded-For), "" for
    none. It is not signed, so it is only shown back to the guest.
    """

    instance_id: str
    tenant_id: str
    address: str


class Authority:
    """Checks the headers of requests against the shared secret."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def admit(self, headers: Mapping[str, bytes]) -> Claim | NovaFault:
        """The instance and tenant that a request is for, or why the request is refused.
        `headers` are by name in lower case.
        """
        instance = headers.get("x-instance-id")
        if instance is None:
            return NO_INSTANCE
        signature = headers.get("x-instance-id-signature")
        if signature is None:
            return NO_SIGNATURE
        tenant = headers.get("x-tenant-id")
        if tenant is None:
            return NO_TENANT
        expected = hmac.digest(self._secret.value, instance, "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature):
            return BAD_SIGNATURE
        return Claim(
            instance_id=instance.decode("latin-1"),
            tenant_id=tenant.decode("latin-1"),
            address=headers.get("x-forwarded-for", b"").decode("latin-1"),
        )
