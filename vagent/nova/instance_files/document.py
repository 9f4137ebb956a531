"""One file → the instance that it describes. Pure.

JSON is read as JSON. Errors, also those of single fields, say line and column; for them
alone a file is read a second time, as nodes of YAML, of which JSON is a part.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from vagent.errors import WireError
from vagent.nova.codec import decode_instance
from vagent.nova.fields import shown
from vagent.nova.instance import Instance

if TYPE_CHECKING:
    import yaml

    from vagent.nova.instance_files.yaml_text import DocumentError

SUFFIXES = (".json", ".yaml", ".yml")
"""A file whose name ends otherwise, or begins with a dot, is none of ours."""
MAX_FILE = 2 * 1024 * 1024
"""Bytes of a file: twice the largest document, for blanks and comments."""

_UUID_LINE = re.compile(
    rb"""^(?:uuid|"uuid"|'uuid')[ \t]*:[ \t]+["']?([0-9A-Fa-f-]{36})\b""", re.MULTILINE
)
_UUID_MEMBER = re.compile(rb'(?<!\\)"uuid"\s*:\s*"([0-9A-Fa-f-]{36})"')
_SURROGATE = re.compile(r"\\u[dD][89A-Fa-f][0-9A-Fa-f]{2}")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]")
_NAMED = re.compile(r": (?:unknown field|got name|name) ('.*?'|\".*?\")(?=[,:;]|$)")


def read_value(name: str, content: bytes) -> Any:
    """The JSON value of a file's document. Raises DocumentError."""
    # Not with the module: no host without such files should load PyYAML (25 ms).
    from vagent.nova.instance_files.yaml_text import at, node_of, value_of

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2]) + 1
        raise at(line, column, "not UTF-8 (the column counts bytes)") from None
    if not name.endswith(".json"):
        return value_of(node_of(text))
    try:
        return json.loads(text, object_pairs_hook=_members)
    except json.JSONDecodeError as error:
        raise at(error.lineno, error.colno, f"not JSON: {error.msg}") from None
    except _GivenTwiceError as error:
        value_of(_node(text))  # says where
        raise at(1, 1, str(error)) from None
    except (ValueError, RecursionError) as error:
        raise at(1, 1, f"not JSON: {type(error).__name__}") from None


def read_instance(name: str, content: bytes) -> Instance:
    """The instance that a file describes. Raises DocumentError."""
    value = read_value(name, content)
    try:
        return decode_instance(value)
    except WireError as error:
        raise _at_its_place(content.decode("utf-8-sig"), str(error)) from None


def _at_its_place(text: str, problem: str) -> DocumentError:
    from vagent.nova.instance_files.yaml_text import DocumentError, at

    try:
        line, column = place_of(_node(text), problem)
    except DocumentError:  # JSON that YAML does not read: names above 1,024 characters
        return DocumentError(problem)
    return at(line, column, problem)


def likely_uuid(name: str, content: bytes) -> str | None:
    """The UUID that a file is probably of, found without reading it as YAML, or though
    it is broken; None where that takes reading it.
    """
    if name.endswith(".json"):
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            found = _UUID_MEMBER.search(content)
            return found[1].decode().lower() if found else None
        uuid = value.get("uuid") if isinstance(value, dict) else None
        return uuid.lower() if isinstance(uuid, str) else None
    found = _UUID_LINE.search(content)
    return found[1].decode().lower() if found else None


def place_of(root: yaml.Node, problem: str) -> tuple[int, int]:
    """Line and column, from 1, of what a WireError of the codec is about: as deep as
    its path (`instance.files[0].path: …`) can be followed.
    """
    node, position = root, len("instance")
    while step := _STEP.match(problem, position):
        found = _child(node, step)
        if found is None:
            break
        node, position = found, step.end()
    named = _NAMED.match(problem, position)
    if named:
        node = _name_node(node, named[1]) or node
    return node.start_mark.line + 1, node.start_mark.column + 1


def _child(node: yaml.Node, step: re.Match[str]) -> yaml.Node | None:
    """The value that one step of a path leads to."""
    if not isinstance(node.value, list):
        return None
    if step[2] is not None:
        number = int(step[2])
        items = node.value
        return items[number] if number < len(items) and _is_node(items[0]) else None
    for pair in node.value:
        if _is_node(pair):
            return None
        name, value = pair
        if step[1] == name.value or step[3] == shown(name.value):
            return value
    return None


def _name_node(node: yaml.Node, name: str) -> yaml.Node | None:
    """The name itself of a member, quoted as messages quote it."""
    if not isinstance(node.value, list):
        return None
    pairs = [pair for pair in node.value if not _is_node(pair)]
    return next((key for key, _ in pairs if shown(key.value) == name), None)


def _is_node(value: object) -> bool:
    return not isinstance(value, tuple)


def _node(text: str) -> yaml.Node:
    from vagent.nova.instance_files.yaml_text import UNREADABLE, node_of

    # JSON allows tabs between its tokens, halves of surrogate pairs as escapes, and
    # some characters as they are, which YAML does not; no place changes by this.
    text = _SURROGATE.sub(r"\\u0058", text.replace("\t", " "))
    return node_of(UNREADABLE.sub("?", text))


class _GivenTwiceError(ValueError):
    """A name that one object has twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _GivenTwiceError("a name is given twice")
    return members
