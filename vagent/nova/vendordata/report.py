"""What operators are told of vendor data: which targets answered, and which did not.

Never an answer itself: it may be a password.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vagent.nova.vendordata.stored import Known, StoredAnswers


class VendorDataReport:
    """Reads what is stored; asks nobody."""

    def __init__(self, stored: StoredAnswers) -> None:
        self._stored = stored

    async def failed_targets(self) -> Mapping[str, Sequence[str]]:
        """Targets that gave no valid answer, by instance. Raises StoreError."""
        known = await self._stored.load_all()
        return {
            uuid: tuple(one.failures) for uuid, one in known.items() if one.failures
        }

    async def targets(self, instance_id: str) -> list[dict[str, Any]]:
        """Each target of one instance. Raises StoreError."""
        return rows(await self._stored.load(instance_id))

    async def forget(self, instance_id: str) -> None:
        """The targets are asked again by the next request. Raises StoreError."""
        await self._stored.forget(instance_id)


def rows(known: Known) -> list[dict[str, Any]]:
    """One for each target, failures first."""
    failed = [
        {
            "target": name,
            "state": "failed",
            "since": _date(one.since),
            "detail": one.why,
        }
        for name, one in known.failures.items()
    ]
    answered = [
        {
            "target": name,
            "state": "answered",
            "since": _date(one.asked_at),
            "detail": f"{len(json.dumps(one.value))} bytes",
        }
        for name, one in known.answers.items()
    ]
    return failed + answered


def _date(seconds: float) -> str:
    """ISO 8601, UTC; what is stored may be any number."""
    try:
        when = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    except (OverflowError, ValueError, OSError):
        return "unknown"
    return when.isoformat(timespec="seconds")
