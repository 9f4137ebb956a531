"""Who asks, when the proxy alone is measured: source addresses of loopback.

Each contestant is given the same list. Needs nothing but Python: contestants that run
in an environment of their own read it too.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

FIRST = IPv4Address("127.1.0.1")
"""Of a crowd; every address of 127.0.0.0/8 is this host's own."""
_NAMES = uuid.UUID("b0075701-0000-4000-8000-000000000000")


class Member(NamedTuple):
    """One guest, known by the address that its connections come from."""

    address: str
    instance_id: str
    tenant_id: str


def crowd(count: int) -> list[Member]:
    """So many guests, always the same."""
    return [
        Member(
            str(FIRST + number),
            str(uuid.uuid5(_NAMES, f"instance {number}")),
            uuid.uuid5(_NAMES, f"tenant {number}").hex,
        )
        for number in range(count)
    ]


def save(path: Path, members: Iterable[Member]) -> Path:
    """Write them down; the path."""
    path.write_text(json.dumps(list(members)))
    return path


def load(path: Path) -> list[Member]:
    """What `save` wrote."""
    return [Member(*row) for row in json.loads(path.read_text())]
