"""Where tokens come from: the settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.script.keystone import Credentials, Keystone
from vagent.errors import VagentError
from vagent.web.json_client import ApiAddress


def test_no_file(tmp_path: Path) -> None:
    """Without the file: port 35357 of this host, as vnc_api."""
    keystone = Keystone.of_file(tmp_path / "absent.ini")
    assert keystone == Keystone(ApiAddress("127.0.0.1", 35357), "", "default", True)


def test_file(tmp_path: Path) -> None:
    """The [auth] section says where keystone is."""
    path = tmp_path / "vnc_api_lib.ini"
    path.write_text(
        "[global]\nx = 1\n[auth]\nAUTHN_TYPE = keystone\nAUTHN_PROTOCOL = https\n"
        "AUTHN_SERVER = 10.0.0.7\nAUTHN_PORT = 5000\nAUTHN_URL = /v3/auth/tokens\n"
        "AUTHN_DOMAIN = corp\n"
    )
    assert Keystone.of_file(path) == Keystone(
        ApiAddress("10.0.0.7", 5000, tls=True), "/v3/auth/tokens", "corp", True
    )
    path.write_text("[auth]\nAUTHN_TYPE = noauth\n")
    assert not Keystone.of_file(path).enabled
    path.write_text("[global]\n")
    assert Keystone.of_file(path) == Keystone()


@pytest.mark.parametrize("content", ["nonsense", "[auth]\nAUTHN_PORT = x\n"])
def test_bad_file(tmp_path: Path, content: str) -> None:
    """A file that cannot be used is named."""
    path = tmp_path / "vnc_api_lib.ini"
    path.write_text(content)
    with pytest.raises(VagentError, match=r"vnc_api_lib\.ini"):
        Keystone.of_file(path)


def test_password_hidden() -> None:
    """No repr shows the password."""
    assert "secret" not in repr(Credentials("user", "secret", "project"))
