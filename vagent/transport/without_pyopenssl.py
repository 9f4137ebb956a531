"""Imports of Twisted that shall not bring pyOpenSSL with them.

Its TCP and its endpoints load pyOpenSSL, with the copy of OpenSSL that is inside
`cryptography`, for a startTLS that nobody here calls: 12 MiB. They do without where
there is none. Our own TLS is Python's `ssl`; of this project only the doctor, a process
of its own, uses pyOpenSSL.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

_NAME = "OpenSSL"


@contextmanager
def without_pyopenssl() -> Iterator[None]:
    """In its body importing pyOpenSSL fails, unless it is there already."""
    if _NAME in sys.modules:
        yield
        return
    modules = cast("dict[str, Any]", sys.modules)
    modules[_NAME] = None  # then an import raises ModuleNotFoundError, says the manual
    try:
        yield
    finally:
        del modules[_NAME]
