"""From a request to its reply: Nova's checks in Nova's order, then the two trees, then
what Nova does not have.

The root needs no headers. For all else the headers are checked, then the instance, its
tenant, and the path. The method makes no difference but for the password.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.errors import ConflictError
from vagent.nova import ec2, openstack
from vagent.nova.additions.added_paths import AddedPaths
from vagent.nova.authority import Authority, Claim
from vagent.nova.events import NovaAnswered, NovaRefused
from vagent.nova.instance import Instance
from vagent.nova.openstack import Elsewhere, Entropy
from vagent.nova.reply import (
    BAD_METHOD,
    BAD_TARGET,
    CONFLICT,
    HTML,
    NOT_FOUND,
    NOT_TEXT,
    TOO_LARGE,
    UNKNOWN_INSTANCE,
    VENDOR_DATA_FAILED,
    WRONG_TENANT,
    NovaFault,
    NovaReply,
    json_reply,
    refuse,
)
from vagent.nova.request import NovaRequest, tree_path
from vagent.nova.source import InstanceSource, PasswordStore
from vagent.nova.vendordata.vendor_data import VendorData, VendorDataError
from vagent.observe.event import Emit

MAX_PASSWORD = 1020
"""Bytes of a password: Nova keeps it in four system_metadata values of 255."""


class Responder:
    """Answers requests."""

    def __init__(
        self,
        *,
        instances: InstanceSource,
        passwords: PasswordStore,
        authority: Authority,
        vendor_data: VendorData,
        additions: AddedPaths,
        entropy: Entropy,
        emit: Emit,
    ) -> None:
        self._instances = instances
        self._passwords = passwords
        self._authority = authority
        self._vendor_data = vendor_data
        self._additions = additions
        self._entropy = entropy
        self._emit = emit

    async def respond(self, request: NovaRequest) -> NovaReply:
        """The answer. Raises StoreError."""
        path = tree_path(request.target) if request.has_method else None
        if path is None:
            return self._reply(request, BAD_TARGET, "")
        if not path:
            return self._reply(request, ec2.version_list(), "")
        claim = self._authority.admit(request.headers)
        if isinstance(claim, NovaFault):
            return self._reply(request, claim, "")
        instance = await self._instances.get(claim.instance_id)
        if instance is None:
            return self._reply(request, UNKNOWN_INSTANCE, claim.instance_id)
        if instance.tenant_id != claim.tenant_id:
            return self._reply(request, WRONG_TENANT, claim.instance_id)
        answer = await self._document(request, path, instance, claim)
        return self._reply(request, answer, claim.instance_id)

    async def _document(
        self,
        request: NovaRequest,
        path: tuple[str, ...],
        instance: Instance,
        claim: Claim,
    ) -> NovaReply | NovaFault:
        found: NovaReply | Elsewhere | None
        match path:
            case ("openstack", *names):
                found = openstack.lookup(
                    instance,
                    tuple(names),
                    entropy=self._entropy,
                    vendor_data=self._vendor_data.static,
                )
            case ("ec2", *names):
                found = ec2.lookup(instance, tuple(names), claim.address)
            case _:
                found = ec2.lookup(instance, path, claim.address)
        match found:
            case Elsewhere.PASSWORD:
                return await self._password(request, instance)
            case Elsewhere.VENDOR_DATA2:
                return await self._vendor_data2(instance)
            case None:
                return await self._addition(request, path, instance, claim)
            case _:
                return found

    async def _addition(
        self,
        request: NovaRequest,
        path: tuple[str, ...],
        instance: Instance,
        claim: Claim,
    ) -> NovaReply | NovaFault:
        """Where Nova has nothing."""
        found = await self._additions.find(
            request,
            path,
            instance,
            address=claim.address,
            vendor_data=self._vendor_data.static,
        )
        return NOT_FOUND if found is None else found

    async def _vendor_data2(self, instance: Instance) -> NovaReply | NovaFault:
        try:
            dynamic = await self._vendor_data.dynamic(instance)
        except VendorDataError:
            return VENDOR_DATA_FAILED
        static = {"static": dict(self._vendor_data.static(instance))}
        return json_reply(static | dict(dynamic) | static)

    async def _password(
        self, request: NovaRequest, instance: Instance
    ) -> NovaReply | NovaFault:
        if request.method == "GET":
            password = await self._passwords.get(instance.uuid)
            return NovaReply(200, HTML, password.encode())
        if request.method != "POST":
            return BAD_METHOD
        if await self._passwords.get(instance.uuid):
            return CONFLICT
        if len(request.content) > MAX_PASSWORD:
            return TOO_LARGE
        try:
            password = request.content.decode()
        except UnicodeDecodeError:
            return NOT_TEXT
        try:
            # As in Nova, an empty password is accepted and not stored.
            if password:
                await self._passwords.set(instance.uuid, password)
        except ConflictError:
            return CONFLICT
        return NovaReply(200, HTML, b"")

    def _reply(
        self, request: NovaRequest, answer: NovaReply | NovaFault, instance_id: str
    ) -> NovaReply:
        reason = ""
        if isinstance(answer, NovaFault):
            reason = answer.reason
            self._emit(NovaRefused(reason))
            is_known = answer is not UNKNOWN_INSTANCE
            answer = refuse(answer, request.accept)
            if not is_known:
                answer = replace(answer, is_instance_known=False)
        self._emit(
            NovaAnswered(
                request.method, request.target, answer.status, instance_id, reason
            )
        )
        return answer
