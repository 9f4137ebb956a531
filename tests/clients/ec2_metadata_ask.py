"""Runs in a guest: every attribute of PyPI's ec2-metadata. Prints JSON.

`{"error": …}` stands for an attribute that cannot be had.
"""

from __future__ import annotations

import json
from typing import Any

from ec2_metadata import ec2_metadata
from urllib3.exceptions import HTTPError


def attributes(item: Any) -> dict[str, Any]:
    found = {}
    for name in dir(type(item)):
        if name.startswith(("_", "clear")) or callable(getattr(type(item), name)):
            continue
        try:
            found[name] = plain(getattr(item, name))
        except HTTPError as error:
            found[name] = {"error": str(error)}
    return found


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if type(value).__module__ == "ec2_metadata" and hasattr(value, "items"):
        return dict(value.items())
    if type(value).__module__ == "ec2_metadata":
        return attributes(value)
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


print(json.dumps(attributes(ec2_metadata)))
