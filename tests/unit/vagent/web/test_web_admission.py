"""Promises of vagent.web.admission."""

from __future__ import annotations

import pytest

from vagent.web.admission import check_admission

NAMES = frozenset({"localhost", "compute-7", "compute-7.example.net"})


def status(
    hosts: tuple[str, ...], *, origins: tuple[str, ...] = (), needs_host: bool = True
) -> int:
    """Of the denial, or 200."""
    denial = check_admission(hosts, origins, names=NAMES, needs_host=needs_host)
    return 200 if denial is None else denial.status


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8085",
        "127.0.0.1:",
        "10.1.2.3:65535",
        "[::1]:8085",
        "[fe80::1]",
        "[::ffff:10.0.0.5]",
        "localhost",
        "LOCALHOST:8085",
        "localhost.:8085",
        "compute-7",
        "Compute-7.Example.Net.",
    ],
)
def test_addresses_and_known_names_are_admitted(host: str) -> None:
    """Any address literal and any name of this host, with or without a port."""
    assert 200 == status((host,))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8085",
        "compute-7.evil.example",
        "0x7f000001",
        "a",
    ],
)
def test_a_name_of_another_server_is_421(host: str) -> None:
    """DNS rebinding shows itself by the name."""
    assert 421 == status((host,))


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8085",
        " localhost",
        "127.0.0.1:8085x",
        "127.0.0.1:65536",
        "127.0.0.1:123456",
        "127.0.0.1:-1",
        "localhost:٣",
        "[evil.example]",
        "[127.0.0.1]",
        "[fe80::1%eth0]",
        "[::1",
        "[::1]x",
        "::1",
        "fe80::1",
        "2130706433",
        "127.1",
        "0x7f.1",
        "127.0.0.01",
        "user@127.0.0.1",
        "127.0.0.1/",
        "local_host",
        "a" * 254,
        "\xe9",
        '"',
        "localhost, evil.example",
    ],
)
def test_what_is_no_host_is_400(host: str) -> None:
    """Malformed, or an address spelled as no URL's Host is."""
    assert 400 == status((host,))


def test_exactly_one_host() -> None:
    """None or two are 400 in HTTP/1.1; HTTP/1.0 may have none, but not a wrong one."""
    assert 400 == status(())
    assert 400 == status(("localhost", "localhost"))
    assert 200 == status((), needs_host=False)
    assert 421 == status(("evil.example",), needs_host=False)
    assert 400 == status(("localhost", "localhost"), needs_host=False)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://localhost"]
)
def test_a_web_page_is_403(origin: str) -> None:
    """Whatever its origin, and however good the Host."""
    for hosts in (("localhost",), ("evil.example",), ()):
        assert 403 == status(hosts, origins=(origin,))


@pytest.mark.parametrize("host", ["evil<script>.example", "evil.example"])
def test_the_text_repeats_nothing(host: str) -> None:
    """What the client sent does not come back to it."""
    denial = check_admission((host,), (), names=NAMES, needs_host=True)
    assert denial is not None
    assert "evil" not in denial.text
    assert "host" == denial.reason
