"""The key of a cached response: which requests of one guest get the same one. Pure.

Of a guest's request the upstream sees method, path with query, and the forwarded
fields; all else that it is sent is the same for every request of that guest. So these
bytes are the key, and no `Vary` can name a field that is not part of it.
"""

from __future__ import annotations

import re

_NEVER = re.compile(rb"%|vendor_data2|password|meta_data\.json", re.IGNORECASE)
"""Paths whose responses are neither cached nor shared by concurrent requests.

`vendor_data2.json` is made anew for each request (novajoin resets a one-time password),
the password changes, and `meta_data.json` holds a `random_seed`, which must not be
given out twice: two requests of one guest would credit the same entropy twice. A path
that still has an escape in it could be one of these in disguise.
"""


def key_of(method: bytes, path: bytes, target: bytes, forwarded: bytes) -> bytes:
    """The key; b"" for a request whose response is never cached.

    HEAD has the key of GET, because one cached response serves both. `path` is
    canonical.
    """
    if method not in (b"GET", b"HEAD") or _NEVER.search(path):
        return b""
    return target + b"\r\n" + forwarded
