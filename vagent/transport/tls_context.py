"""What a TLS client and server share before a connection: strict contexts, errors that
name the PEM file at fault, and how a change of the files is noticed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from vagent.errors import VagentError

State = tuple[tuple[int, int, int], ...]
Fault = Callable[[Path, str], VagentError]
"""Makes the error for a file that cannot be used, of its path and the reason."""


def strict_context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    """A context that demands a verified peer and at least TLS 1.2."""
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def no_password() -> NoReturn:
    """Called for a key's password; without it OpenSSL would ask at the terminal."""
    raise ValueError("the key needs a password")


def describe(error: ssl.SSLError) -> str:
    """OpenSSL's reason in a few words, without the place in OpenSSL's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or "TLS failed").replace("_", " ").lower()


@contextmanager
def blaming(path: Path, fault: Fault) -> Iterator[None]:
    """Errors in the `with` block are raised as those of this file."""
    try:
        path.open("rb").close()  # OpenSSL does not say why it cannot open a file
        yield
    except ssl.SSLError as error:
        raise fault(path, f"OpenSSL cannot use it: {describe(error)}") from error
    except OSError as error:
        raise fault(path, error.strerror or "cannot be read") from error
    except ValueError as error:
        raise fault(path, f"cannot be used: {type(error).__name__}") from error


def state_of(paths: Iterable[Path]) -> State:
    """Changes when any of the files does. Raises OSError."""
    found = [path.stat() for path in paths]
    return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
