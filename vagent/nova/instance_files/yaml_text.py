"""YAML as values, with the line and column of everything that is wrong.

Read as YAML 1.2's core schema reads it, so that `no`, `1:30` and dates are texts.
PyYAML finds the nodes (libyaml where it was built with it); the values are made here,
within bounds, because an alias in an alias in an alias is small only as text ("billion
laughs"). Tags make no objects: they are refused.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from vagent.errors import VagentError
from vagent.nova.fields import shown

MAX_VALUES = 65_536
"""Values of one document, each counted as often as aliases repeat it: twice what the
fields of an instance can hold."""
MAX_DEPTH = 64
"""Levels: twice those of vendor data, the deepest field."""

_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
"""What YAML does not allow as it is (YAML 1.2.2, 5.1)."""


class DocumentError(VagentError):
    """A document is no good. The text begins with line and column, counted from 1."""


def at(line: int, column: int, problem: str) -> DocumentError:
    """The error for a place, both counted from 1."""
    return DocumentError(f"line {line}, column {column}: {problem}")


def node_of(text: str) -> yaml.Node:
    """The only document of the text. Raises DocumentError."""
    unreadable = UNREADABLE.search(text)
    if unreadable:
        before = text[: unreadable.start()]
        line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
        code = f"U+{ord(unreadable[0]):04X}"
        raise at(line, column, f"the character {code} must be written as an escape")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not YAML"
        if mark is None:
            raise DocumentError(f"not YAML: {problem}") from None
        raise at(mark.line + 1, mark.column + 1, problem) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"not YAML: {type(error).__name__}") from None
    if node is None:
        raise at(1, 1, "there is no document")
    return node


def value_of(node: yaml.Node) -> Any:
    """The value of a node. Raises DocumentError."""
    return _Values().of(node, 0)


def error_at(node: yaml.Node, problem: str) -> DocumentError:
    """The error for the place where a node begins."""
    mark = node.start_mark
    return at(mark.line + 1, mark.column + 1, problem)


class _Values:
    def __init__(self) -> None:
        self._count = 0

    def of(self, node: yaml.Node, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise error_at(node, f"more than {MAX_VALUES} values, aliases included")
        if depth > MAX_DEPTH:
            raise error_at(node, f"more than {MAX_DEPTH} levels")
        if node.tag not in _TAGS:
            raise error_at(node, f"the tag {shown(node.tag)} is not allowed")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(each, depth + 1) for each in node.value]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise error_at(name, "a name must be a text")
            if name.value in found:
                raise error_at(name, f"the name {shown(name.value)} is given twice")
            found[name.value] = self.of(value, depth + 1)
        return found


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if "." in text and _NUMBER.fullmatch(text) else text
