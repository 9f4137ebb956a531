"""What may be stored: the limits of keys and values, and values as JSON text.

Every store uses this module, so that they refuse the same things in the same words.
"""

from __future__ import annotations

import json
from typing import Any

from vagent.errors import StoreError

MAX_VALUE_BYTES = 1024 * 1024
"""Bytes of a value as JSON in ASCII. 1,024 services of 1 KiB fit, or an instance with
Nova's largest user data (64 KiB) and personality; etcd refuses requests above 1.5 MiB.
"""
MAX_KEY = 255
"""Characters of a kind or an id; a UUID has 36, Contrail's fq_names stay below."""
MAX_ENTRIES = 16_384
"""Entries of one kind: three times the guests that one host carries."""


def check_key(kind: str, entry_id: str) -> None:
    """Raise StoreError unless both are 1–255 printable characters."""
    for what, text in (("kind", kind), ("id", entry_id)):
        if not 1 <= len(text) <= MAX_KEY:
            raise StoreError(f"store {what}: {len(text)} characters (1–{MAX_KEY})")
        if not text.isprintable():
            raise StoreError(f"store {what} {text!a} is not printable")


def to_text(kind: str, entry_id: str, value: dict[str, Any]) -> str:
    """A value as compact JSON. Raises StoreError if it is not JSON or too large."""
    where = f"store {kind}/{entry_id}"
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{where}: the value is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StoreError(f"{where}: the value is no JSON object")
    if len(text) > MAX_VALUE_BYTES:
        raise StoreError(
            f"{where}: the value has {len(text)} bytes (at most {MAX_VALUE_BYTES})"
        )
    return text


def from_text(kind: str, entry_id: str, text: object) -> dict[str, Any]:
    """The value that the text stands for. Raises StoreError if the medium changed the
    text.
    """
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StoreError(f"store {kind}/{entry_id}: what is stored is no JSON object")
    return value


def refuse_entry(kind: str) -> StoreError:
    """The error for one entry too many of a kind."""
    return StoreError(f"store {kind}: {MAX_ENTRIES} entries, no more are allowed")


def conflict(kind: str, entry_id: str, *, expected: int, found: int) -> str:
    """The message of a ConflictError; revision 0 means absent."""
    return (
        f"store {kind}/{entry_id}: expected {_revision(expected)}, "
        f"found {_revision(found)}"
    )


def _revision(number: int) -> str:
    return f"revision {number}" if number else "no entry"
