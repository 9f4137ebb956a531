"""What the metadata server asks for vendor data, and the answer where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vagent.errors import VagentError
from vagent.nova.instance import Instance


class VendorDataError(VagentError):
    """A target gave no valid answer, and without one the document is an error."""


class VendorData(Protocol):
    """Gives vendor_data.json, and the members that vendor_data2.json has besides."""

    def static(self, instance: Instance) -> Mapping[str, Any]:
        """vendor_data.json, and `static` in vendor_data2.json."""

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        """Name of a target → what it said of this guest, in the order of agent.conf.

        Raises VendorDataError in the hard failure mode, StoreError when nobody can
        tell which answers are there already.
        """


class NoVendorData:
    """Only the vendor data of the instance's own document: no file of the host, no
    targets.
    """

    def static(self, instance: Instance) -> Mapping[str, Any]:
        """The document's own `vendor_data`."""
        return instance.vendor_data

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        """Nothing, for any guest."""
        del instance
        return {}
