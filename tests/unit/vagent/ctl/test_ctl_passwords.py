"""Passwords that guests encrypted, decrypted with keys of each form."""

from __future__ import annotations

import base64
import getpass
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from vagent.ctl.failure import CommandError
from vagent.ctl.passwords import decrypted, private_key


class FakeSession:
    """Reads files."""

    def read_input(self, name: str) -> str:
        return Path(name).read_text()


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    """Made once: it takes a while."""
    return generate_private_key(65537, 2048)


def written(
    folder: Path,
    key: Any,
    form: PrivateFormat,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    file = folder / "key"
    content = key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())
    file.write_bytes(content)
    return str(file)


def posted(key: RSAPrivateKey, text: bytes) -> str:
    return base64.b64encode(key.public_key().encrypt(text, PKCS1v15())).decode()


def read(name: str) -> RSAPrivateKey:
    session: Any = FakeSession()
    return private_key(session, name)


@pytest.mark.parametrize(
    "form",
    [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH],
)
def test_each_form_of_a_key(
    key: RSAPrivateKey, tmp_path: Path, form: PrivateFormat
) -> None:
    """What openssl and ssh-keygen write; lines of the base64 text may be broken."""
    text = posted(key, "pässwörd".encode())
    broken = f"{text[:64]}\r\n{text[64:]}\n"
    assert "pässwörd" == decrypted(broken, read(written(tmp_path, key, form)))


def test_a_passphrase_is_asked_for(
    key: RSAPrivateKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the terminal; a wrong one is an error that names the file."""
    file = written(tmp_path, key, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    asked: list[str] = []

    def passphrase(text: str) -> str:
        asked.append(text)
        return "open" if len(asked) == 1 else "shut"

    monkeypatch.setattr(getpass, "getpass", passphrase)
    assert "x" == decrypted(posted(key, b"x"), read(file))
    assert [f"{file}: passphrase: "] == asked
    with pytest.raises(CommandError, match="key: cannot be read: "):
        read(file)


def test_a_key_that_cannot_decrypt(tmp_path: Path) -> None:
    """Another kind of key, no passphrase, and what is no key at all."""
    other = Ed25519PrivateKey.generate()
    with pytest.raises(CommandError, match="key: not an RSA key"):
        read(written(tmp_path, other, PrivateFormat.OpenSSH))
    (tmp_path / "key").write_text("ssh-rsa AAAA")
    with pytest.raises(CommandError, match="key: cannot be read: "):
        read(str(tmp_path / "key"))


def test_another_key_gives_nothing(key: RSAPrivateKey) -> None:
    """Nor does a text that was not encrypted; each says what is the matter."""
    other = generate_private_key(65537, 2048)
    refused = 0
    for _ in range(5):  # newer OpenSSL gives random bytes, which once may be text
        try:
            decrypted(posted(other, b"secret"), key)
        except CommandError:
            refused += 1
    assert refused
    with pytest.raises(CommandError, match="not encrypted for this key"):
        decrypted(posted(key, b"\x00\x1b"), key)
    with pytest.raises(CommandError, match="not encrypted for this key"):
        decrypted(base64.b64encode(b"short").decode(), key)
    with pytest.raises(CommandError, match="not base64"):
        decrypted("plain text!", key)


def test_as_a_guest_with_openssl_does(key: RSAPrivateKey, tmp_path: Path) -> None:
    """`openssl pkeyutl -encrypt` with the instance's key, as guests' scripts do."""
    public = tmp_path / "public"
    name = written(tmp_path, key, PrivateFormat.PKCS8)
    subprocess.run(
        ["openssl", "pkey", "-in", name, "-pubout", "-out", str(public)], check=True
    )
    made = subprocess.run(
        ["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", str(public)],
        input=b"S3cret",
        capture_output=True,
        check=True,
    )
    assert "S3cret" == decrypted(base64.b64encode(made.stdout).decode(), read(name))
