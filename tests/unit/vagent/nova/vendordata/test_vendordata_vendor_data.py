"""A server that was given no vendor data."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from vagent.nova.codec import decode_instance
from vagent.nova.vendordata.vendor_data import NoVendorData

GUEST = decode_instance(
    {
        "uuid": "1a2b3c00-0000-4000-8000-000000000003",
        "tenant_id": "7e000000000040008000000000000001",
        "vendor_data": {"own": 1},
    }
)


def test_without_a_configuration() -> None:
    """What a document says of itself is served all the same, and no target is there."""
    assert {"own": 1} == NoVendorData().static(GUEST)
    results: list[Any] = []
    Deferred.fromCoroutine(NoVendorData().dynamic(GUEST)).addBoth(results.append)
    assert [{}] == results
