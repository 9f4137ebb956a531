"""Promises of `vagentctl data-path` before it touches the host."""

from __future__ import annotations

import io
import os

import pytest

from vagent.ctl import command_line as ctl


def test_it_is_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody else is told so, with the exit code for it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    errors = io.StringIO()
    assert 77 == ctl.main(["data-path", "remove"], stderr=errors)
    assert "data-path remove needs root" in errors.getvalue()
