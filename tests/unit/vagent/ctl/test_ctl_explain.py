"""Promises of `vagentctl explain` and `doctor` before they touch the host."""

from __future__ import annotations

import os

import pytest

from vagent.ctl import doctor as ctl_doctor
from vagent.ctl.explain import DEFAULT_PATH, question
from vagent.ctl.explaining.observed import ProbeRequest
from vagent.ctl.failure import NO_PERMISSION, USAGE, CommandError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ProbeRequest("GET", DEFAULT_PATH)),
        (["/openstack"], ProbeRequest("GET", "/openstack")),
        (["head"], ProbeRequest("HEAD", DEFAULT_PATH)),
        (["GET", "/a?b=c"], ProbeRequest("GET", "/a?b=c")),
    ],
)
def test_method_and_path_may_be_left_out(
    words: list[str], expected: ProbeRequest
) -> None:
    """A word with a slash is the path."""
    assert expected == question(words)


@pytest.mark.parametrize(
    "words",
    [
        ["POST", "/openstack/latest/password"],
        ["DELETE"],
        ["GET", "latest"],
        ["GET", "/a b"],
        ["GET", "/a\r\nX-Instance-ID: 1"],
        ["GET", "/é"],
        ["GET", "/openstack/latest/vendor_data2.json"],
        ["GET", "/a", "/b"],
    ],
)
def test_a_probe_that_could_change_something_is_refused(words: list[str]) -> None:
    """Only GET and HEAD of a plain path, and nothing that answers once only."""
    with pytest.raises(CommandError) as refusal:
        question(words)
    assert USAGE == refusal.value.code


def test_both_need_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 77 for others."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError) as refusal:
        ctl_doctor.needs_root("doctor")
    assert NO_PERMISSION == refusal.value.code
