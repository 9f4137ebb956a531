"""Which requests of one guest are the same question, and which are never kept. Pure.

Everything of a guest's request that can change the upstream's reply is what we send
of it: method, path with query, and the forwarded headers. The rest that the upstream
sees is the same for all requests of a guest. So the key is those bytes, and no `Vary`
can name something that it leaves out.
"""

from __future__ import annotations

import re

_NEVER = re.compile(rb"%|vendor_data2|password|meta_data\.json", re.IGNORECASE)
"""Paths whose replies are not kept, and whose requests are not joined.

`vendor_data2.json` is made for each request (novajoin resets a one-time password), the
password changes, and `meta_data.json` holds a `random_seed` that must not be handed
out twice: two concurrent requests of one guest would credit the same entropy twice. A
path with an escape left in it may be spelled to hide one of these.
"""


def key_of(method: bytes, path: bytes, target: bytes, forwarded: bytes) -> bytes:
    """The key of a reply that may be kept; b"" for a request that must go upstream.

    HEAD has the key of GET: a kept reply answers both. `path` is canonical.
    """
    if method not in (b"GET", b"HEAD") or _NEVER.search(path):
        return b""
    return target + b"\r\n" + forwarded
