"""Promises of `<access>`: who may use an operator's API over TCP. Where servers may
listen is shown with what else values mean together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vagent.config.listening import token_in
from vagent.config.model import Access, AccessMode, AgentConfig, Secret
from vagent.config.read import read_config
from vagent.errors import ConfigError

TOKEN = b"0123456789abcdefghijklmnopqrstuv"
APIS = ("port-api", "config-api", "introspect")
Read = Callable[[str], AgentConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The configuration of `<agent>` with this content."""

    def read_text(content: str) -> AgentConfig:
        path = tmp_path / "agent.conf"
        path.write_text(f"<agent>{content}</agent>")
        return read_config(path).config

    return read_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a token."""
    path = tmp_path / "token"
    path.write_bytes(TOKEN + b"\n")
    path.chmod(0o600)
    return path


def refusals(read: Read, content: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(content)
    return [f"{each.path}: {each.what}" for each in caught.value.problems]


@pytest.mark.parametrize("mode", ["peer-uid", "open"])
@pytest.mark.parametrize("name", APIS)
def test_on_loopback(read: Read, name: str, mode: str) -> None:
    """Every mode may be there."""
    config = read(f"<{name}><access> {mode} </access></{name}>")
    api = getattr(config, name.replace("-", "_"))
    assert Access(AccessMode(mode)) == api.access


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1"])
@pytest.mark.parametrize("name", APIS)
def test_elsewhere_only_a_token_will_do(read: Read, name: str, address: str) -> None:
    """Where, what, what is allowed and what to do; the default is refused as well."""
    where = f"<address>{address}</address>"
    default = "open" if name == "introspect" else "peer-uid"
    told = refusals(read, f"<{name}>{where}</{name}>")
    assert [
        f"/agent/{name}/address: got {default} (the default) on {address}, which is "
        "not loopback: other machines could use this API; allowed: <access "
        f'file="/etc/vagent/{name}.token">token</access>, with a secret in that file '
        "and mode 0600, or a loopback address"
    ] == told
    for mode in ("peer-uid", "open"):
        content = f"<{name}>{where}<access>{mode}</access></{name}>"
        (one,) = refusals(read, content)
        assert one.startswith(f"/agent/{name}/access: got {mode} on {address}, ")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "192.0.2.1"])
def test_a_token(read: Read, file: Path, address: str) -> None:
    """It is read at start; only the newline at the file's end is not part of it."""
    access = f'<access file="{file}">token</access>'
    config = read(
        f"<config-api><address>{address}</address>{access}</config-api>",
    )
    expected = Access(AccessMode.TOKEN, Secret(TOKEN), file)
    assert expected == config.config_api.access


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_that_others_may_read(read: Read, file: Path, mode: int) -> None:
    """Refused, with the command that mends it."""
    file.chmod(mode)
    (told,) = refusals(
        read, f'<port-api><access file="{file}">token</access></port-api>'
    )
    assert told.startswith("/agent/port-api/access/@file: ")
    assert f"has mode {mode:04o}, so others may read the token; allowed: 0600" in told


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ("<access>token</access>", "got ''; allowed: the absolute path of a file"),
        ('<access file="t">token</access>', "got 't'; allowed: the absolute path"),
        ('<access file="/none">token</access>', "cannot read '/none': No such file"),
        ("<access>basic</access>", "allowed: peer-uid, token or open"),
        ("<access/>", "got ''; allowed: peer-uid, token or open"),
    ],
)
def test_what_is_refused(read: Read, access: str, expected: str) -> None:
    """One error each, and never the token."""
    (told,) = refusals(read, f"<introspect>{access}</introspect>")
    assert told.startswith("/agent/introspect/access")
    assert expected in told


@pytest.mark.parametrize(
    "content",
    [b"", b"xyzzy", b"0123456789abcde", b"with blanks 0123456789", b"a" * 4097],
)
def test_what_is_no_token(read: Read, file: Path, content: bytes) -> None:
    """Too short, too long, or not to be sent in a header; it is not repeated."""
    file.write_bytes(content)
    (told,) = refusals(
        read, f'<port-api><access file="{file}">token</access></port-api>'
    )
    assert "does not hold a token; allowed: one line of 16 to 4096 letters" in told
    assert not content or content.decode() not in told.partition("does not")[2]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_end_of_the_file(end: bytes) -> None:
    """One end of line is no part of the token; two are no token."""
    assert TOKEN == token_in(TOKEN + end)
    assert b"a" * 4096 == token_in(b"a" * 4096 + end)
    assert None is token_in(TOKEN + b"\n\n")


def test_a_file_without_use(tmp_path: Path) -> None:
    """A warning: the operator may think that the API wants the token."""
    path = tmp_path / "agent.conf"
    path.write_text(
        '<agent><port-api><access file="/t">open</access></port-api></agent>'
    )
    path.chmod(0o600)
    warnings = [each.what for each in read_config(path).warnings]
    assert "access is open, so this file is not used" in warnings
