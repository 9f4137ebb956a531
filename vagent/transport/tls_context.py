"""What both sides of TLS have in common before a connection: strict contexts, PEM files
that say which of them is at fault, and how a set of files is known to have changed.
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
"""Makes the error of a file that cannot be used, of its path and why."""


def strict_context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    """Nobody who is not verified gets past the handshake; TLS 1.2 is the oldest."""
    context = ssl.SSLContext(protocol)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def no_password() -> NoReturn:
    """A key's password; without this, OpenSSL would ask at the terminal."""
    raise ValueError("the key needs a password")


def describe(error: ssl.SSLError) -> str:
    """OpenSSL's reason on one line, without its place in OpenSSL's source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    return (error.reason or "TLS failed").replace("_", " ").lower()


@contextmanager
def blaming(path: Path, fault: Fault) -> Iterator[None]:
    """What fails in its body is the fault of this file, and raised as such."""
    try:
        path.open("rb").close()  # OpenSSL would not say what is wrong with it
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
