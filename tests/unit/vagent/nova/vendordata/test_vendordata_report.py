"""What operators are told of vendor data."""

from __future__ import annotations

import pytest

from vagent.nova.vendordata.report import rows
from vagent.nova.vendordata.stored import Failure, Known, TargetAnswer


def test_failures_first_and_no_answers() -> None:
    """Since when, why, how much: never what a target said."""
    known = Known(
        {"join": TargetAnswer("q", 1_000_000_000.5, {"ipaotp": "s3cret"})},
        {"mail": Failure(0.0, "status 500")},
    )
    assert [
        {
            "target": "mail",
            "state": "failed",
            "since": "1970-01-01T00:00:00+00:00",
            "detail": "status 500",
        },
        {
            "target": "join",
            "state": "answered",
            "since": "2001-09-09T01:46:40+00:00",
            "detail": "20 bytes",
        },
    ] == rows(known)


@pytest.mark.parametrize("when", [1e300, -1e300, float("nan"), float("inf")])
def test_times_that_are_none(when: float) -> None:
    """Somebody may have changed the store by hand."""
    (row,) = rows(Known({}, {"a": Failure(when, "w")}))
    assert "unknown" == row["since"]
