"""Reads one JSON object field by field, strictly, with helpful messages.

Each error is a WireError that says where, what is wrong, what was found and what is
allowed. Long or secret values are described by their length, never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from vagent.config.nearest import similar
from vagent.errors import WireError

T = TypeVar("T")

MAX_SHOWN = 60
"""Characters of a refused value that a message repeats."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MISSING = object()
_JSON_NAMES: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def shown(value: object) -> str:
    """A refused value for a message: a text quoted and cut, else its type's name."""
    if isinstance(value, str):
        cut = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}…"
        return f"{cut!r}"
    if isinstance(value, bool) or not isinstance(value, int):
        return _JSON_NAMES.get(type(value), type(value).__name__)
    return str(value) if abs(value) < 10**MAX_SHOWN else "a huge number"


class Fields:
    """One JSON object while it is read. `finish` checks that every field was read."""

    def __init__(self, where: str, raw: Mapping[str, Any]) -> None:
        self._where = where
        self._raw = raw
        self._known: dict[str, None] = {}

    def wrong(self, name: str, got: str, allowed: str) -> WireError:
        """The error for a field of this object, to be raised."""
        return WireError(f"{self._where}.{name}: got {got}, allowed is {allowed}")

    def has(self, name: str) -> bool:
        """Is the field there? From then on `finish` knows its name."""
        self._known[name] = None
        return name in self._raw

    def is_list(self, name: str) -> bool:
        """Is the field there, and a list? From then on `finish` knows its name."""
        return self.has(name) and isinstance(self._raw[name], list)

    def is_null(self, name: str) -> bool:
        """Is the field there, and null? From then on `finish` knows its name."""
        return self.has(name) and self._raw[name] is None

    def take(self, name: str, kind: type[T], default: object = _MISSING) -> T:
        """The field, of exactly this type, or the default where it is absent.

        Raises WireError when it is absent without default, or of another type.
        """
        if not self.has(name):
            if default is _MISSING:
                raise WireError(f"{self._where}.{name}: is missing, must be given")
            return cast("T", default)
        value = self._raw[name]
        if type(value) is not kind:
            raise self.wrong(name, shown(value), _JSON_NAMES[kind])
        return value

    def text(
        self,
        name: str,
        default: object = _MISSING,
        *,
        most: int = 255,
        pattern: re.Pattern[str] | None = None,
        allowed: str = "",
    ) -> str:
        """One line of text, 1 to `most` characters, matching the whole `pattern`."""
        if default is not _MISSING and not self.has(name):
            return cast("str", default)
        value = self.take(name, str)
        check_line(f"{self._where}.{name}", value, most)
        if pattern is not None and not pattern.fullmatch(value):
            raise self.wrong(name, shown(value), allowed)
        return value

    def optional(
        self,
        name: str,
        default: str | None,
        *,
        pattern: re.Pattern[str] | None = None,
        allowed: str = "",
    ) -> str | None:
        """Like `text`, but null is allowed as well."""
        if self.has(name) and self._raw[name] is None:
            return None
        return self.text(name, default, pattern=pattern, allowed=allowed)

    def items(
        self,
        name: str,
        read: Callable[[str, Any], T],
        *,
        most: int,
        default: tuple[T, ...],
    ) -> tuple[T, ...]:
        """A list of at most `most` items, each read by `read(where, item)`."""
        if not self.has(name):
            return default
        values: list[Any] = self.take(name, list)
        if len(values) > most:
            raise self.wrong(name, f"{len(values)} items", f"at most {most}")
        return tuple(
            read(f"{self._where}.{name}[{index}]", value)
            for index, value in enumerate(values)
        )

    def pairs(
        self, name: str, read: Callable[[str, Any], T], *, most: int
    ) -> tuple[tuple[str, T], ...]:
        """An object of at most `most` members, each value read by `read(where, value)`.
        A member's name may be any text of up to 255 characters.
        """
        values: dict[str, Any] = self.take(name, dict, {})
        if len(values) > most:
            raise self.wrong(name, f"{len(values)} members", f"at most {most}")
        return tuple(
            (
                check_any_text(f"{self._where}.{name}: name {shown(key)}", key, 255),
                read(f"{self._where}.{name}[{shown(key)}]", value),
            )
            for key, value in values.items()
        )

    def finish(self) -> None:
        """Raises WireError when the object has a field that was never read."""
        for name in self._raw:
            if name not in self._known:
                known = sorted(self._known)
                meant = similar(name, known)
                hint = f" nearest known name: {meant};" if meant else ""
                raise WireError(
                    f"{self._where}: unknown field {shown(name)};{hint}"
                    f" allowed are {', '.join(known)}"
                )


def check_any_text(where: str, value: object, most: int) -> str:
    """A text of 0 to `most` characters, whatever they are."""
    if not isinstance(value, str):
        raise WireError(f"{where}: got {shown(value)}, allowed is a text")
    if len(value) > most:
        raise WireError(f"{where}: got {len(value)} characters, allowed are {most}")
    return value


def check_text(where: str, value: object, most: int) -> str:
    """A text of 0 to `most` characters without control characters."""
    text = check_any_text(where, value, most)
    if _CONTROL.search(text):
        raise WireError(f"{where}: got a control character, allowed is one plain line")
    return text


def check_line(where: str, value: object, most: int) -> str:
    """Like `check_text`, but not empty."""
    if value == "":
        raise WireError(f"{where}: got an empty text, allowed are 1 to {most}")
    return check_text(where, value, most)
