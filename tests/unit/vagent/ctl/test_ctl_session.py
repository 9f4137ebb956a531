"""Promises of vagent.ctl.session: which server a command calls."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from vagent.config.model import Listen
from vagent.ctl.failure import CommandError
from vagent.ctl.session import parse_url, reachable


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:9091", "http://127.0.0.1:9091"),
        ("http://host:1/", "http://host:1"),
        ("http://[::1]:65535", "http://[::1]:65535"),
    ],
)
def test_urls(text: str, address: str) -> None:
    """Host and port, as given."""
    assert address == str(parse_url(text))


@pytest.mark.parametrize(
    "text",
    ["", "host", "host:1", "127.0.0.1:9091", "https://host:1", "http://host",
     "http://:1", "http://host:1/x", "http://host:1?x", "http://host:1#x",
     "http://u:p@host:1", "http://host:65536", "http://host:x", "http://[::1",
     "http://h\x1bst:1", "http://h\u00f6st:1"],
)  # fmt: skip
def test_urls_that_are_none(text: str) -> None:
    """Usage."""
    with pytest.raises(CommandError) as caught:
        parse_url(text)
    assert 2 == caught.value.code


@pytest.mark.parametrize(
    ("address", "called"), [("0.0.0.0", "127.0.0.1"), ("10.0.0.7", "10.0.0.7")]
)
def test_a_server_on_all_addresses_is_called_on_loopback(
    address: str, called: str
) -> None:
    """0.0.0.0 is nowhere to connect to."""
    listen = Listen(IPv4Address(address), 8082)
    assert f"http://{called}:8082" == str(reachable(listen))
