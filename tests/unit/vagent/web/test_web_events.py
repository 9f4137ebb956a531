"""Promises of what operators' sites report of their callers."""

from __future__ import annotations

import pytest

from vagent.web.events import CallerRefused, OperatorChange, SocketNotShared


def test_a_change_is_one_line() -> None:
    """What, with which result, and who; what the client sent is escaped and short."""
    change = OperatorChange("port API", "POST", "/port", 200, "uid 0 over socket")
    assert "port API: POST /port : 200 for uid 0 over socket" == change.text()
    assert ("info", False) == (change.level, change.is_fault())
    hostile = OperatorChange("x", "A" * 99, "/\x1b\n" + "b" * 500, 404, "y")
    assert f"x: {'A' * 16} /\\x1b\\n{'b' * 117} : 404 for y" == hostile.text()
    assert hostile.is_fault()


@pytest.mark.parametrize("reason", ["user", "token"])
def test_a_refusal_is_not_logged(reason: str) -> None:
    """Counted by reason, and traced."""
    refused = CallerRefused("config API", reason, "uid 5 over TCP from 127.0.0.1")
    assert (None, reason, True) == (refused.level, refused.label(), refused.is_fault())
    expected = f"config API: refused, wrong {reason} : uid 5 over TCP from 127.0.0.1"
    assert expected == refused.text()


def test_a_socket_for_root_alone() -> None:
    """A warning, with why."""
    event = SocketNotShared("/run/vagent/x.sock", "vagent", "Operation not permitted")
    assert "warn" == event.level
    assert (
        "/run/vagent/x.sock is for root alone, not for the group vagent: "
        "Operation not permitted"
    ) == event.text()
