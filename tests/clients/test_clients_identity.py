"""Who a guest is, signed: checked as others would, with openssl and PyJWT."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.real_nova import HERE, INSTALLED

pytestmark = pytest.mark.system

IDENTITY = "/latest/dynamic/instance-identity"
DAYS = 24 * 3600.0


@pytest.fixture(autouse=True)
def embedded(town: Any) -> None:
    """It signs; Nova cannot."""
    town.provision("embedded")


@pytest.fixture
def certificates(town: Any, tmp_path: Path) -> Path:
    """What the operator gives to verifiers."""
    file = tmp_path / "certificates.pem"
    file.write_text(town.agent.tool("vagent.ctl", "instance", "identity-keys"))
    return file


def openssl(*argv: str | Path) -> bytes | None:
    """What it wrote; None if it refused."""
    done = subprocess.run(["openssl", *map(str, argv)], capture_output=True)
    return done.stdout if done.returncode == 0 else None


def smime(signed: Path, certificates: Path, *more: str | Path) -> bytes | None:
    """The content of signed data whose signature fits."""
    text = f"-----BEGIN PKCS7-----\n{signed.read_text()}\n-----END PKCS7-----\n"
    signed.with_suffix(".pem").write_text(text)
    return openssl(
        *("smime", "-verify", "-inform", "PEM", "-in", signed.with_suffix(".pem")),
        *("-certfile", certificates, "-noverify", *more),
    )


@pytest.mark.parametrize("name", ["pkcs7", "rsa2048"])
def test_signed_data_with_openssl(
    clients: Any, certificates: Path, tmp_path: Path, name: str
) -> None:
    """As Amazon's documentation says; another document or certificate is refused."""
    document = clients.save("alice", f"{IDENTITY}/document", tmp_path / "document")
    signed = clients.save("alice", f"{IDENTITY}/{name}", tmp_path / name)
    content = document.read_bytes()
    assert content == smime(signed, certificates)
    assert content == smime(signed, certificates, "-content", document)
    assert content == openssl(
        *("cms", "-verify", "-inform", "PEM", "-in", signed.with_suffix(".pem")),
        *("-certfile", certificates, "-noverify", "-binary"),
    )
    text = signed.read_text()
    signed.write_text(text.replace(text[80], "A" if text[80] != "A" else "B"))
    assert smime(signed, certificates) is None
    signed.write_text(text)
    stranger = tmp_path / "stranger.pem"
    made = ("-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1")
    openssl("req", *made, "-keyout", tmp_path / "key.pem", "-out", stranger)
    assert smime(signed, stranger) is None


def test_the_bare_signature_with_openssl(
    clients: Any, certificates: Path, tmp_path: Path
) -> None:
    """It fits the document of its guest, and nobody else's."""
    signature = clients.save("alice", f"{IDENTITY}/signature", tmp_path / "base64")
    key, binary = tmp_path / "key.pem", tmp_path / "signature"
    openssl("base64", "-d", "-in", signature, "-out", binary)
    found = openssl("x509", "-in", certificates, "-pubkey", "-noout")
    assert found is not None
    key.write_bytes(found)
    for name, expected in (("alice", b"Verified OK\n"), ("bob", None)):
        document = clients.save(name, f"{IDENTITY}/document", tmp_path / name)
        assert expected == openssl(
            *("dgst", "-sha256", "-verify", key, "-signature", binary, document)
        )


def test_who_is_who(town: Any, clients: Any) -> None:
    """Each guest's document is about itself, whatever it sends."""
    for name, guest in town.guests.items():
        forged = f"X-Instance-ID: {town.guests['bob'].instance_id}"
        status, body = clients.curl(name, f"{IDENTITY}/document", "-H", forged)
        document = json.loads(body)
        assert (200, guest.instance_id) == (status, document["instanceUuid"])
        assert guest.tenant_id == document["accountId"]


def check(token: Path, keys: Path, audience: str, nonce: str) -> Any:
    """The claims, or what is wrong."""
    python = INSTALLED / "guest" / "bin" / "python"
    argv = map(str, (python, HERE / "jwt_check.py", token, keys, audience, nonce))
    done = subprocess.run([*argv], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def key_set(town: Any, tmp_path: Path) -> Path:
    """The published key set."""
    file = tmp_path / "keys.json"
    command = ("-o", "json", "instance", "identity-keys")
    file.write_text(town.agent.tool("vagent.ctl", *command))
    return file


def test_a_token_with_pyjwt(
    town: Any, clients: Any, key_set: Path, tmp_path: Path
) -> None:
    """For this audience, with this nonce, of this guest; for others it is of no use."""
    path = f"{IDENTITY}/token?audience=https%3A//vault.test&nonce=n0nce"
    token = clients.save("alice", path, tmp_path / "token")
    claims = check(token, key_set, "https://vault.test", "n0nce")
    assert town.guests["alice"].instance_id == claims["sub"]
    _, document = clients.curl("alice", f"{IDENTITY}/document")
    assert json.loads(document) == claims["instance"]
    assert "InvalidAudienceError" == check(token, key_set, "other", "n0nce")
    assert "other nonce" == check(token, key_set, "https://vault.test", "n1")
    head, body, signature = token.read_text().split(".")
    token.write_text(f"{head}.{body[:-4]}AAAA.{signature}")
    assert "InvalidSignatureError" == check(
        token, key_set, "https://vault.test", "n0nce"
    )
    status, body = clients.curl("alice", f"{IDENTITY}/token")
    assert (400, True) == (status, "audience: is missing" in body)


def test_guests_see_the_same_keys(
    clients: Any, key_set: Path, certificates: Path
) -> None:
    """As operators do; the private ones are in a file that root alone can read."""
    status, body = clients.curl("carol", f"{IDENTITY}/keys")
    assert (200, json.loads(key_set.read_text())) == (status, json.loads(body))
    _, pem = clients.curl("carol", f"{IDENTITY}/certificates")
    assert certificates.read_text() == pem


def test_rotation(town: Any, clients: Any, key_set: Path, tmp_path: Path) -> None:
    """After 90 days the next key signs, which verifiers have already; what was signed
    before can still be checked.
    """
    path = f"{IDENTITY}/token?audience=a"
    before = clients.save("alice", path, tmp_path / "before")
    (file,) = town.folder.rglob("identity-keys")
    assert 0o600 == file.stat().st_mode & 0o777
    with town.restarted("<use-ssl>true</use-ssl>", "<use-ssl>true</use-ssl>"):
        town.provision("embedded")
        same = clients.save("alice", path, tmp_path / "same")
        assert header(before) == header(same)
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "since": stored["since"] - 91 * DAYS}))
    with town.restarted("<use-ssl>true</use-ssl>", "<use-ssl>true</use-ssl>"):
        town.provision("embedded")
        after = clients.save("alice", path, tmp_path / "after")
        assert header(before) != header(after)
        assert "a" == check(after, key_set, "a", "")["aud"]
        new = tmp_path / "new.json"
        new.write_text(clients.curl("alice", f"{IDENTITY}/keys")[1])
        assert "a" == check(before, new, "a", "")["aud"]
        assert 3 == len(json.loads(new.read_text())["keys"])


def header(token: Path) -> str:
    return token.read_text().split(".")[0]
