"""Vendor data: what the cloud adds to every guest's metadata.

A seam: today there is none. Nova's StaticJSON would answer `static`, its DynamicJSON
(one HTTP request to each target on each GET of vendor_data2.json) would answer
`dynamic`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from vagent.nova.instance import Instance


class VendorData(Protocol):
    """Gives vendor_data.json, and the members that vendor_data2.json has besides."""

    def static(self) -> Mapping[str, Any]:
        """The same for every guest: vendor_data.json, and `static` in the second."""

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        """Target name → what that target said of this guest. Asked on every GET."""


class NoVendorData:
    """`{}` and `{"static": {}}`, as a Nova without vendor data answers."""

    def static(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        """Nothing, for any guest."""
        del instance
        return {}
