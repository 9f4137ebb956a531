"""Promises of introspect.access."""

from __future__ import annotations

import pytest

from introspect.access import BROWSER_MARKS, change_denial, method_denial, wants_html


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", ""])
def test_other_methods_are_refused(method: str) -> None:
    """Only GET and HEAD are served, and only in capitals."""
    denial = method_denial(method)
    assert denial is not None
    assert (405, "method") == (denial.status, denial.reason)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_is_served(method: str) -> None:
    """GET and HEAD pass."""
    assert method_denial(method) is None


def test_head_changes_nothing() -> None:
    """HEAD is refused where something would change."""
    denial = change_denial("HEAD", ())
    assert denial is not None
    assert (405, "method") == (denial.status, denial.reason)


@pytest.mark.parametrize("mark", BROWSER_MARKS)
def test_browsers_change_nothing(mark: str) -> None:
    """Any header that gives a browser away makes a change impossible."""
    assert change_denial("GET", ()) is None
    denial = change_denial("GET", {mark})
    assert denial is not None
    assert (403, "browser") == (denial.status, denial.reason)


@pytest.mark.parametrize(
    ("accept", "wanted", "expected"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", True),
        ("Text/HTML ; q=0.9", "", True),
        ("*/*", "", False),
        ("", "", False),
        ("application/xml", "", False),
        ("*/*", "html", True),
        ("text/html", "xml", False),
    ],
)
def test_the_form_follows_accept(accept: str, wanted: str, expected: bool) -> None:
    """Browsers get HTML, tools XML; `format` overrides both."""
    assert expected is wants_html(accept, wanted)
