"""Passwords that guests encrypt for their instance's key (cloudbase-init and its like):
RSA with PKCS #1 v1.5 padding, in base64, as `nova get-password` expects them.

`cryptography` is imported by this command alone.
"""

from __future__ import annotations

import base64
import binascii
import getpass
from typing import TYPE_CHECKING

from vagent.ctl.failure import CommandError
from vagent.ctl.session import Session

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


def private_key(session: Session, name: str) -> RSAPrivateKey:
    """The RSA key in a file, PEM or OpenSSH's form. Asks for the passphrase of one that
    has one. Raises CommandError.
    """
    content = session.read_input(name).encode()
    try:
        key = _loaded(content, None)
        if key is None:
            key = _loaded(content, getpass.getpass(f"{name}: passphrase: ").encode())
    except (ValueError, EOFError) as error:
        raise CommandError(f"{name}: cannot be read: {error}") from error
    if key is None:
        raise CommandError(f"{name}: a passphrase is needed")
    return _checked(name, key)


def decrypted(password: str, key: RSAPrivateKey) -> str:
    """The password in the clear. Raises CommandError where this key does not fit."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    try:
        content = base64.b64decode("".join(password.split()), validate=True)
    except binascii.Error as error:
        raise CommandError(
            "the password is not base64, so it was not encrypted: show it without "
            "--decrypt"
        ) from error
    wrong = CommandError("the password was not encrypted for this key")
    try:
        text = key.decrypt(content, PKCS1v15()).decode()
    except ValueError as error:
        raise wrong from error
    # Newer OpenSSL gives random bytes for a key that does not fit.
    if not text or not text.isprintable():
        raise wrong
    return text


def _loaded(content: bytes, passphrase: bytes | None) -> object | None:
    """The key; None where a passphrase is missing. Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_pem_private_key,
        load_ssh_private_key,
    )

    is_ssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = load_ssh_private_key if is_ssh else load_pem_private_key
    try:
        return load(content, passphrase)
    except TypeError:
        return None
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def _checked(name: str, key: object) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if not isinstance(key, RSAPrivateKey):
        raise CommandError(f"{name}: not an RSA key, and only RSA can decrypt")
    return key
