"""What a target's reply means: a JSON value within bounds, or why there is none. Pure.

As in Nova any JSON value will do, whatever the Content-Type; an empty reply is `{}`,
and bytes that are not UTF-8 are replaced. Unlike Nova a redirect is never followed: it
would carry body and token to whoever the target names.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vagent.errors import VagentError

MAX_ANSWER = 256 * 1024
"""Bytes of one target's answer, as it comes and as ASCII JSON. novajoin's has 130."""
MAX_DEPTH = 32
"""Levels of nesting: whatever reads it in the guest may recurse."""
MAX_VALUES = 16_384
"""Values in one answer, those inside of others included."""

_LOCATION = re.compile(rb"^location:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_CODING = re.compile(rb"^content-encoding:", re.IGNORECASE | re.MULTILINE)


class TargetError(VagentError):
    """A target gave no valid answer. `kind` is a word for counters, of a closed set."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP reply; `fields` are its header lines."""

    status: int
    fields: bytes
    content: bytes = field(repr=False)


def read_answer(response: Response) -> Any:
    """The JSON value of a good reply. Raises TargetError."""
    status = response.status
    if 300 <= status < 400:
        found = _LOCATION.search(response.fields)
        where = ascii(found[1].decode("latin-1"))[:120] if found else "nowhere"
        raise TargetError(
            "redirect", f"status {status}: redirects to {where}, which is not followed"
        )
    if not 200 <= status < 300:
        raise TargetError("status", f"status {status}")
    if _CODING.search(response.fields):
        raise TargetError("malformed", "a content coding that was not asked for")
    return read_json(response.content)


def read_json(content: bytes) -> Any:
    """The value of a JSON text; `{}` for an empty one. Raises TargetError."""
    text = content.decode("utf-8-sig", "replace")
    if not text.strip():
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        size = len(json.dumps(value, allow_nan=False, separators=(",", ":")))
    except RecursionError:
        raise TargetError("too-large", "JSON nested without end") from None
    except ValueError as error:
        raise TargetError("not-json", f"not JSON: {str(error)[:120]}") from None
    check_bounds(value)
    if size > MAX_ANSWER:
        raise TargetError("too-large", f"{size} bytes of JSON (at most {MAX_ANSWER})")
    return value


def check_bounds(value: Any) -> None:
    """Raises TargetError where there are too many values, or too deep ones."""
    level, depth, count = [value], 0, 0
    while level:
        depth += 1
        count += len(level)
        if depth > MAX_DEPTH:
            raise TargetError("too-large", f"JSON nested more than {MAX_DEPTH} levels")
        if count > MAX_VALUES:
            raise TargetError("too-large", f"more than {MAX_VALUES} values")
        level = [inner for one in level for inner in _inner(one)]


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
