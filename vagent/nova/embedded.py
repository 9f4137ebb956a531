"""The embedded metadata server as the config API sees it.

Everything about instances that is not the store's is asked here, so that the server can
be another one, or a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vagent.errors import WireError
from vagent.nova.boot_roles import with_boot_roles
from vagent.nova.codec import check_instance
from vagent.nova.drive import drive_files
from vagent.nova.identity.signer import IdentitySigner
from vagent.nova.openstack import Entropy
from vagent.nova.source import PASSWORD_KIND, InstanceSource
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import KIND as VENDOR_DATA_KIND
from vagent.nova.vendordata.vendor_data import VendorData, VendorDataError


class PostedPasswords(Protocol):
    """Passwords that guests posted, for operators."""

    async def get(self, instance_id: str) -> str:
        """The password, "" when none is set. Raises StoreError."""

    async def clear(self, instance_id: str) -> bool:
        """Delete it; False: none was set. Raises StoreError."""


class KnownInstances(InstanceSource, Protocol):
    """Instances of whatever source, of which files are one."""

    async def document(self, instance_id: str) -> Mapping[str, Any] | None:
        """The document of its file, None where it has none. Raises StoreError."""

    async def file_of(self, instance_id: str) -> str | None:
        """The path of its file, None where it has none."""

    def listing(self) -> list[dict[str, str]]:
        """UUID and path of each file, and its problem if it is no good."""


class EmbeddedServer:
    """Answers the config API's questions about instances."""

    companions = (PASSWORD_KIND, VENDOR_DATA_KIND)

    def __init__(
        self,
        report: VendorDataReport,
        *,
        instances: KnownInstances,
        passwords: PostedPasswords,
        vendor_data: VendorData,
        signer: IdentitySigner,
        entropy: Entropy,
    ) -> None:
        self._report = report
        self._instances = instances
        self._passwords = passwords
        self._vendor_data = vendor_data
        self._signer = signer
        self._entropy = entropy

    def admitted(
        self, new: dict[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The document with what an older one of its UUID leaves to it. Raises
        WireError.
        """
        check_instance(new)
        return with_boot_roles(new, stored)

    async def file_of(self, uuid: str) -> str | None:
        """The file that describes this instance; None: the config API does."""
        return await self._instances.file_of(uuid)

    async def document(self, uuid: str) -> Mapping[str, Any] | None:
        """What its file says; None without one. Raises StoreError."""
        return await self._instances.document(uuid)

    def files(self) -> list[dict[str, str]]:
        """All files: `uuid`, `file`, and `problem` for one that is no good."""
        return self._instances.listing()

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        """Vendor data targets without a valid answer, by UUID. Raises StoreError."""
        return await self._report.failed_targets()

    async def vendor_data(self, uuid: str) -> list[dict[str, Any]]:
        """What is known of each target for this instance. Raises StoreError."""
        return await self._report.targets(uuid)

    async def forget_vendor_data(self, uuid: str) -> None:
        """Its targets are asked again by the next request. Raises StoreError."""
        await self._report.forget(uuid)

    async def password(self, uuid: str) -> str | None:
        """What the guest posted, "" for nothing; None if there is no such instance.
        Raises StoreError.
        """
        password = await self._passwords.get(uuid)
        if not password and await self._instances.get(uuid) is None:
            return None
        return password

    async def clear_password(self, uuid: str) -> bool:
        """The guest may post another; False: there was none. Raises StoreError."""
        return await self._passwords.clear(uuid)

    async def identity_keys(self) -> dict[str, Any]:
        """The public keys of identity documents: a JSON Web Key Set, with a member
        `certificates`, the same keys as PEM.
        """
        key_set: dict[str, Any] = json.loads(await self._signer.key_set())
        certificates = await self._signer.certificates()
        return {**key_set, "certificates": certificates.decode()}

    async def drive(self, uuid: str) -> dict[str, bytes]:
        """The files of a config drive; {} for an instance that cannot be served.

        Targets are asked unless their answers are kept. Raises StoreError, and
        WireError in the hard failure mode if one does not answer.
        """
        instance = await self._instances.get(uuid)
        if instance is None:
            return {}
        try:
            dynamic = await self._vendor_data.dynamic(instance)
        except VendorDataError as error:
            raise WireError(f"vendor data: {error}") from error
        static = {"static": dict(self._vendor_data.static(instance))}
        return drive_files(
            instance,
            vendor_data2=static | dict(dynamic) | static,
            entropy=self._entropy,
        )
