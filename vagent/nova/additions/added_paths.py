"""Answers the paths that Nova does not have; asked only where Nova would say 404."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vagent.errors import WireError
from vagent.nova.additions import amazon, nocloud
from vagent.nova.additions.amazon import Identity
from vagent.nova.additions.interfaces import PortsOf, interfaces_of
from vagent.nova.identity.document import identity_document, token_request
from vagent.nova.identity.signer import IdentitySigner
from vagent.nova.instance import Instance
from vagent.nova.reply import JSON, NovaFault, NovaReply, text_reply
from vagent.nova.request import NovaRequest


class AddedPaths:
    """Amazon's tree, signed identity documents, and cloud-init's NoCloud.

    `signer` None means that nothing is signed here (404).
    """

    def __init__(self, *, ports_of: PortsOf, signer: IdentitySigner | None) -> None:
        self._ports_of = ports_of
        self._signer = signer

    async def find(
        self,
        request: NovaRequest,
        path: tuple[str, ...],
        instance: Instance,
        *,
        address: str,
        vendor_data: Callable[[Instance], Mapping[str, Any]],
    ) -> NovaReply | NovaFault | None:
        """The document at `path`; None when there is none. `address` is the guest's as
        the proxy gives it, `vendor_data` gives the static vendor data of an instance.
        """
        if path[0] == "nocloud":
            return nocloud.lookup(instance, path[1:], vendor_data)
        if path[0] == "openstack":
            return None
        path = path[1:] if path[0] == "ec2" else path
        if not amazon.has_version(path):
            return None
        interfaces = interfaces_of(instance, self._ports_of(instance.uuid))
        found = amazon.lookup(instance, path, address, interfaces)
        if not isinstance(found, Identity):
            return found
        document = identity_document(instance, address, interfaces)
        if found is Identity.DOCUMENT:
            return text_reply(document)
        if self._signer is None:
            return None
        return await self._signed(self._signer, found, document, request.query)

    async def _signed(
        self, signer: IdentitySigner, wanted: Identity, document: bytes, query: str
    ) -> NovaReply | NovaFault | None:
        match wanted:
            case Identity.SIGNATURE:
                return text_reply(await signer.signature(document))
            case Identity.PKCS7 | Identity.RSA2048:
                return text_reply(await signer.signed_data(document))
            case Identity.KEYS:
                return NovaReply(200, JSON, await signer.key_set())
            case Identity.CERTIFICATES:
                return text_reply(await signer.certificates())
            case _:
                return await _token(signer, document, query)


async def _token(
    signer: IdentitySigner, document: bytes, query: str
) -> NovaReply | NovaFault:
    try:
        wanted = token_request(query)
    except WireError as error:
        return NovaFault(400, str(error), "token-query")
    return text_reply(await signer.token(wanted, document))
