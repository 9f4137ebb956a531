"""The grammar of agent.conf: `agent.xsd`, as a schema for lxml and as data.

Unknown names, repetitions and stray text are found by walking the tree along the schema
as data, because libxml2 stops at the first wrong child and cannot suggest the nearest
name. What is wrong is cut out, and the schema then checks every value that is left. So
no `xsi:` attribute of the file reaches the validator either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from importlib import resources

from lxml import etree

_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_XS = "{http://www.w3.org/2001/XMLSchema}"


class ElementKind(Enum):
    """What an element may hold."""

    SECTION = "elements"
    VALUE = "text"
    OPTIONS = "any elements with text"
    LEGACY = "anything, unread"


@dataclass(frozen=True, slots=True)
class Declared:
    """One element of the schema. `allowed` is the sentence that follows "allowed:" in
    an error.
    """

    name: str
    kind: ElementKind
    allowed: str
    children: Mapping[str, Declared]
    attributes: tuple[str, ...]

    def child(self, name: object) -> Declared | None:
        """The element of that name in it; None where it may have none."""
        if self.kind is ElementKind.OPTIONS and isinstance(name, str):
            return option(name) if _OPTION.fullmatch(name) else None
        return self.children.get(str(name))

    def paths(self, above: str = "") -> Iterator[str]:
        """`agent/metadata-proxy/port` and so on, for all elements that are used."""
        path = f"{above}/{self.name}" if above else self.name
        if self.kind is not ElementKind.LEGACY:
            yield path
        for child in self.children.values():
            yield from child.paths(path)


def option(name: str) -> Declared:
    """An element that a plug-in judges: text, or the name of a file that holds it."""
    return Declared(name, ElementKind.VALUE, "text", {}, ("file",))


@dataclass(frozen=True, slots=True)
class Grammar:
    """The schema for lxml, and the elements that may be the root of a document."""

    schema: etree.XMLSchema
    roots: Mapping[str, Declared]


def load_grammar() -> Grammar:
    """Read `agent.xsd` from the package. An error in it is a bug and raises lxml's
    exception.
    """
    text = resources.files("vagent.config").joinpath("agent.xsd").read_bytes()
    root = etree.fromstring(text)
    types = {node.get("name"): node for node in root if node.tag != _XS + "element"}
    roots = (_declared(node, types) for node in root.findall(_XS + "element"))
    return Grammar(etree.XMLSchema(root), {each.name: each for each in roots})


def _declared(element: etree._Element, types: Mapping[str, etree._Element]) -> Declared:
    name, kind_of_text = element.get("name"), element.get("type")
    node = types[kind_of_text]
    inner = [_declared(each, types) for each in node.iter(_XS + "element")]
    if kind_of_text == "legacy":
        kind = ElementKind.LEGACY
    elif kind_of_text == "auth-options":
        kind = ElementKind.OPTIONS
    else:
        kind = ElementKind.SECTION if inner else ElementKind.VALUE
    return Declared(
        name=name,
        kind=kind,
        allowed=node.findtext(f".//{_XS}documentation", default="text"),
        children={each.name: each for each in inner},
        attributes=tuple(each.get("name") for each in node.iter(_XS + "attribute")),
    )
