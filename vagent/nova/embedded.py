"""The embedded metadata server as the config API sees it.

Everything about instances that is not the store's is asked here, so that the server can
be another one, or a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vagent.nova.boot_roles import with_boot_roles
from vagent.nova.codec import check_instance
from vagent.nova.source import PASSWORD_KIND
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import KIND as VENDOR_DATA_KIND


class EmbeddedServer:
    """Answers the config API's questions about instances."""

    companions = (PASSWORD_KIND, VENDOR_DATA_KIND)

    def __init__(self, report: VendorDataReport) -> None:
        self._report = report

    def admitted(
        self, new: dict[str, Any], stored: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The document with what an older one of its UUID leaves to it. Raises
        WireError.
        """
        check_instance(new)
        return with_boot_roles(new, stored)

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        """Vendor data targets without a valid answer, by UUID. Raises StoreError."""
        return await self._report.failed_targets()

    async def vendor_data(self, uuid: str) -> list[dict[str, Any]]:
        """What is known of each target for this instance. Raises StoreError."""
        return await self._report.targets(uuid)

    async def forget_vendor_data(self, uuid: str) -> None:
        """Its targets are asked again by the next request. Raises StoreError."""
        await self._report.forget(uuid)
