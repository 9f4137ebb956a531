"""Sandesh types as frozen dataclasses: each field carries its Sandesh attributes.

A class has the name of its Sandesh type, and its fields stand in the order that they
have on the wire. Identifiers may jump, as they do in Contrail's .sandesh files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

MORE = "more"
"""Name of the field that ends every response; true in all parts but the last."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One field. `name` is the wire's; `title` and `note` are for people.

    `kind` is the Sandesh type (`i32`, `string`, `list`, …), `item` the type of a
    list's elements (`struct` or a primitive), `link` the request that an operator
    would go to from here.
    """

    name: str
    kind: str
    identifier: int
    item: str = ""
    link: str = ""
    title: str = ""
    note: str = ""

    @property
    def is_number(self) -> bool:
        """Is the value a number?"""
        return self.kind in {"byte", "i16", "i32", "i64", "u16", "u32", "u64", "double"}


def attribute(
    kind: str,
    identifier: int,
    *,
    item: str = "",
    link: str = "",
    title: str = "",
    note: str = "",
) -> Any:
    """The field of a Sandesh dataclass. None as its value leaves the element out."""
    return field(
        metadata={
            "kind": kind,
            "identifier": identifier,
            "item": item,
            "link": link,
            "title": title,
            "note": note,
        }
    )


def attributes(kind: Any) -> tuple[Attribute, ...]:
    """The attributes of a Sandesh dataclass, in order."""
    return tuple(
        Attribute(name=each.name, **each.metadata)
        for each in fields(kind)
        if each.metadata
    )
