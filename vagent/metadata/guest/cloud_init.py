"""Which refusals cloud-init takes for final, and boots without what it asked for.

Before 25.1 its OpenStack datasource repeats a request for a document five times if the
connection fails, and never after a status of 400 or more (`should_retry_cb` in
cloudinit/sources/helpers/openstack.py): one 503 for user data, and the guest boots
without. `/openstack` itself is another matter: a first request that fails in any way is
final before 24.4.1, and after that it is repeated on 503 alone.
"""

from __future__ import annotations

import re

from vagent.metadata.http.request_head import RequestHead

REPEATS_ALL = (25, 1)
"""The version from which documents are asked for again after 503."""
_VERSION = re.compile(
    rb"^User-Agent: Cloud-Init/([0-9]{1,4})\.([0-9]{1,4})", re.MULTILINE
)
_DOCUMENTS = b"/openstack/"


def takes_503_for_final(request: RequestHead) -> bool:
    """Would this guest do without the document for good, if it were answered 503?"""
    if len(request.path) <= len(_DOCUMENTS) or not request.path.startswith(_DOCUMENTS):
        return False
    version = _VERSION.search(request.forwarded)
    return version is not None and (int(version[1]), int(version[2])) < REPEATS_ALL
