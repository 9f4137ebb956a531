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
    """In the `with` block, importing pyOpenSSL fails even where it was imported before.
    Twisted would ask for `service-identity` beside it, which is not installed.
    """
    modules = cast("dict[str, Any]", sys.modules)
    loaded = {
        name: module
        for name, module in modules.items()
        if name == _NAME or name.startswith(f"{_NAME}.")
    }
    # Importing what is None here raises ModuleNotFoundError, says the manual.
    modules.update(dict.fromkeys((_NAME, *loaded)))
    try:
        yield
    finally:
        del modules[_NAME]
        modules.update(loaded)
