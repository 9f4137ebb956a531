"""A call of the config API and its reply, as values, and bounded JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vagent.errors import VagentError

MAX_BODY = 1024 * 1024
"""Bytes: what the store takes for one value (`store.value.MAX_VALUE_BYTES`)."""
MAX_DEPTH = 32
"""Levels of nesting in JSON. Contrail's deepest object has 6; Python's parser is
recursive, so depth must be bounded."""

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
NO_AGENT = "no: stored, but this server has no agent that serves guests"
"""What `in_force` says where nobody follows the store."""


@dataclass(frozen=True, slots=True)
class ConfigApiRequest:
    """One call. `root` is this server's URL as the client spells it:
    `http://host:port`.
    """

    method: str
    path: str
    root: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigApiReply:
    """One reply. `revision` becomes the ETag, `allow` the Allow header of a 405, and
    `in_force` the header that says whether a change is in force.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = TEXT
    revision: int | None = None
    in_force: str = ""
    allow: tuple[str, ...] = ()


def json_reply(
    value: object, *, revision: int | None = None, in_force: str = ""
) -> ConfigApiReply:
    """200 with a JSON document."""
    return ConfigApiReply(200, json.dumps(value).encode(), JSON, revision, in_force)


def text_reply(
    status: int, text: str, *, allow: tuple[str, ...] = ()
) -> ConfigApiReply:
    """An error as Contrail gives it: the text is the whole body."""
    return ConfigApiReply(status, text.encode("utf-8", "replace"), allow=allow)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises RefusedError (400, 413) if there is none."""
    if len(body) > MAX_BODY:
        raise RefusedError(413, f"body: {len(body)} bytes (at most {MAX_BODY})")
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else str(error)
        raise RefusedError(400, f"body: not JSON: {why}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, f"body: a JSON {_kind(value)}, an object is allowed")
    if _is_deep(value):
        raise RefusedError(400, f"body: JSON nested more than {MAX_DEPTH} levels")
    return value


def member(body: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, where Contrail wraps every resource in its type."""
    value = body.get(key)
    if not isinstance(value, dict):
        raise RefusedError(400, f'body: no JSON object under "{key}"')
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {list: "array", str: "string", bool: "boolean"}
    return kinds.get(type(value), "number")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


class RefusedError(VagentError):
    """The call is refused. `status` and the text are the reply, as in Contrail."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def reply(self) -> ConfigApiReply:
        """The answer to the client."""
        return text_reply(self.status, str(self))
