"""Promises of introspect.access."""

from __future__ import annotations

import pytest

from introspect.access import (
    BROWSER_MARKS,
    Head,
    change_refusal,
    is_known_host,
    refusal,
    wants_html,
)

NAMES = frozenset({"localhost", "compute-1.example.net"})


def head(
    *hosts: str, method: bytes = b"GET", http11: bool = True, mark: str = ""
) -> Head:
    return Head(method, hosts, http11, frozenset({mark} if mark else ()))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8085",
        "10.1.2.3:8085",
        "[::1]:8085",
        "[fe80::1]",
        "localhost",
        "LOCALHOST:8085",
        "compute-1.example.net.",
        "compute-1.example.net:65535",
    ],
)
def test_addresses_and_known_names_are_served(host: str) -> None:
    """Any address literal and any configured name is right."""
    assert is_known_host(host, NAMES)
    assert refusal(head(host), names=NAMES) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8085",
        "127.0.0.1:8085x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "[evil.example]",
        "[fe80::1%eth0]",
        "::1",
        "2130706433",
        "0x7f.1",
        "user@127.0.0.1",
        "127.0.0.1/",
        "",
        ":8085",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    """A name that is not ours is DNS rebinding: 421."""
    refused = refusal(head(host), names=NAMES)
    assert refused is not None
    assert (refused.status, refused.reason) == (421, "host")


@pytest.mark.parametrize("hosts", [(), ("localhost", "localhost")])
def test_http11_needs_exactly_one_host(hosts: tuple[str, ...]) -> None:
    """No Host or two of them is 400 in HTTP/1.1."""
    refused = refusal(head(*hosts), names=NAMES)
    assert refused is not None
    assert refused.status == 400


def test_http10_may_have_no_host() -> None:
    """HTTP/1.0 without Host is served: no browser speaks it."""
    assert refusal(head(http11=False), names=NAMES) is None
    assert refusal(head("evil.example", http11=False), names=NAMES) is not None


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get"])
def test_other_methods_are_refused(method: bytes) -> None:
    """Only GET and HEAD are served."""
    refused = refusal(head("localhost", method=method), names=NAMES)
    assert refused is not None
    assert refused.status == 405


def test_head_is_served() -> None:
    """HEAD is served where nothing changes, and refused where something would."""
    asked = head("localhost", method=b"HEAD")
    assert refusal(asked, names=NAMES) is None
    refused = change_refusal(asked)
    assert refused is not None
    assert refused.status == 405


@pytest.mark.parametrize("mark", BROWSER_MARKS)
def test_browsers_change_nothing(mark: str) -> None:
    """Any header that gives a browser away makes a change impossible."""
    assert change_refusal(head("localhost")) is None
    refused = change_refusal(head("localhost", mark=mark))
    assert refused is not None
    assert (refused.status, refused.reason) == (403, "browser")


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
