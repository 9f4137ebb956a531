"""What events of vendor data say, and that they say nothing secret."""

from __future__ import annotations

import pytest

from vagent.nova.vendordata.events import (
    AnswersNotStored,
    AnswersReused,
    InstanceMarkedFailed,
    InstanceRecovered,
    StaticFileReloaded,
    StoredAnswersUnreadable,
    TargetAnswered,
    TargetFailed,
)
from vagent.observe.event import Event

UUID = "1a2b3c00-0000-4000-8000-000000000003"


@pytest.mark.parametrize(
    ("event", "label", "text"),
    [
        (
            TargetAnswered("join", UUID, 0.25),
            "join",
            f"target join answered for {UUID} in 0.250 s",
        ),
        (
            TargetFailed("join", UUID, "status", "status 500"),
            "status",
            f"target join failed for {UUID}: status 500",
        ),
        (
            InstanceMarkedFailed(UUID, "join: status 500"),
            "",
            f"instance {UUID} is marked as failed: join: status 500",
        ),
        (InstanceRecovered(UUID), "", f"instance {UUID} is not failed any more"),
        (
            AnswersNotStored(UUID, "disk is full"),
            "",
            f"answers for {UUID} are in memory only: disk is full",
        ),
        (
            StoredAnswersUnreadable(UUID),
            "",
            f"stored vendor data of {UUID} cannot be read",
        ),
        (StaticFileReloaded(), "done", "static vendor data were read again"),
        (
            StaticFileReloaded("x: no"),
            "failed",
            "static vendor data stay as they were: x: no",
        ),
        (AnswersReused(), "", ""),
    ],
)
def test_what_they_say(event: Event, label: str, text: str) -> None:
    """Label of the counter, and the line for trace and log."""
    assert (label, text) == (event.label(), event.text())
    assert event.counter is not None
