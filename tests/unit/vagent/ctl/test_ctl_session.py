"""Promises of vagent.ctl.session: which server a command calls."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from vagent.config.model import Listen
from vagent.ctl import session as ctl_session
from vagent.ctl.failure import CommandError
from vagent.ctl.session import Session, parse_url, reachable
from vagent.web.token import VARIABLE


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


TOKEN, OTHER = "0123456789abcdef", "fedcba9876543210"
CONF = """<agent><runtime-directory>{folder}/run</runtime-directory>
<metadata-proxy><shared-secret>x</shared-secret></metadata-proxy>
<port-api><access file="{folder}/token">token</access></port-api></agent>"""


class Host:
    """A folder with an agent.conf, a token, and a socket of the port API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "agent.conf"
        self.conf.write_text(CONF.format(folder=folder))
        for name, token in (("token", TOKEN), ("other", OTHER)):
            path = folder / name
            path.write_text(token)
            path.chmod(0o600)
        (folder / "run").mkdir()
        self.socket = folder / "run" / "port-api.sock"

    def session(self, **changes: Any) -> Session:
        options: dict[str, Any] = {
            "config_path": self.conf,
            "urls": {},
            "token_file": None,
            **changes,
        }
        text = io.StringIO()
        return Session("table", stdin=text, stdout=text, stderr=text, **options)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host, and no token in the environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    return Host(tmp_path)


@pytest.fixture
def listening(host: Host) -> Iterator[Host]:
    """The same, with a socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(host.socket))
        yield host


def called(session: Session) -> tuple[str, str]:
    """Where the port API is called, and with which credentials."""
    client = session.port_api
    return str(client.address), client._headers.get("Authorization", "")


TCP = "http://127.0.0.1:9091"


def test_a_socket_comes_first(listening: Host) -> None:
    """If this user may use it: no token, no TCP."""
    assert (f"unix:{listening.socket}", "") == called(listening.session())
    named = listening.session(urls={"port_api": "http://h:1"})
    assert ("http://h:1", "") == called(named)


def test_without_a_socket(host: Host) -> None:
    """Over TCP, with the token of agent.conf."""
    assert (TCP, f"Bearer {TOKEN}") == called(host.session())


def test_a_token_that_is_given(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts instead of agent.conf's: the option's before the environment's."""
    monkeypatch.setenv(VARIABLE, str(host.folder / "other"))
    assert (TCP, f"Bearer {OTHER}") == called(host.session())
    option = host.session(token_file=str(host.folder / "token"))
    assert (TCP, f"Bearer {TOKEN}") == called(option)
    with pytest.raises(CommandError, match="cannot read it"):
        called(host.session(token_file="/none"))


def test_the_doctor_calls_over_tcp(listening: Host) -> None:
    """It looks whether that way is open."""
    client = listening.session().client("port API", "port_api", timeout=1.0)
    assert TCP == str(client.address)


def test_an_agent_conf_that_this_user_may_not_read(
    listening: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Holds secrets; a member of the group needs it not to find the sockets."""
    monkeypatch.setattr(ctl_session, "DEFAULT_CONFIG", listening.conf)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != listening.conf)
    monkeypatch.setattr(ctl_session, "found_at", lambda _path: True)
    session = listening.session(config_path=None)
    assert "unix:/run/vagent/port-api.sock" == str(session.port_api.address)
