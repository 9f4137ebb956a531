"""Whom the config API listens to."""

from __future__ import annotations

import pytest

from provision.config_api.admission import check_host, check_origin
from provision.config_api.reply import RefusedError


def host(*values: str) -> str:
    return check_host(values, names={"api.example.com"}, default="127.0.0.1:8082")


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.1:8082",
        "127.0.0.1",
        "10.0.0.5:8082",
        "[::1]:8082",
        "[fd00::1]",
        "localhost:8082",
        "LocalHost",
        "api.example.com",
        "API.example.com:80",
    ],
)
def test_known(value: str) -> None:
    """IP addresses, localhost and configured names are ours; the spelling is kept."""
    assert host(value) == value


def test_without_host() -> None:
    """HTTP/1.0 may do without."""
    assert host() == "127.0.0.1:8082"


@pytest.mark.parametrize(
    "value",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f000001"],
)
def test_foreign(value: str) -> None:
    """A name that somebody else may have pointed at us is refused."""
    with pytest.raises(RefusedError) as caught:
        host(value)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        "a@127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1:999999",
        "::1",
        "[::1",
        '"',
        "a/",
    ],
)
def test_malformed(value: str) -> None:
    """What is no host is refused; so are two of them."""
    for values in ((value,), ("127.0.0.1", "127.0.0.1")):
        with pytest.raises(RefusedError) as caught:
            host(*values)
        assert caught.value.status == 400


def test_bad_bracket() -> None:
    """What stands in brackets must be an address."""
    with pytest.raises(RefusedError):
        host("[dead.beef]")


@pytest.mark.parametrize(
    "value", ["http://evil.example", "null", "http://127.0.0.1:8082"]
)
def test_origin(value: str) -> None:
    """A web page, even one that claims to be ours, is refused."""
    check_origin([])
    with pytest.raises(RefusedError) as caught:
        check_origin([value])
    assert caught.value.status == 403
