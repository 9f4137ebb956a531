"""Imports parts of Twisted without pyOpenSSL, which saves 12 MiB of memory.

Twisted's TCP and endpoints import pyOpenSSL where it is installed, and with it the
OpenSSL inside `cryptography`, for a startTLS that nothing here uses. The agent's own
TLS is Python's `ssl`; only the doctor, a process of its own, uses pyOpenSSL.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_NAME = "OpenSSL"


@contextmanager
def without_pyopenssl() -> Iterator[None]:
    """In the `with` block, importing pyOpenSSL fails unless it was imported before."""
    if _NAME in sys.modules:
        yield
        return
    modules = cast("dict[str, Any]", sys.modules)
    modules[_NAME] = None  # then an import raises ModuleNotFoundError, says the manual
    try:
        yield
    finally:
        del modules[_NAME]
