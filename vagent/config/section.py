"""The content of agent.conf after the grammar was applied: sections with
texts in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from vagent.config.findings import Place

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Value:
    """One element with text, without the blanks at its ends. It may be a secret."""

    place: Place
    text: str = field(repr=False)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section:
    """One element with elements in it.

    `refused` are the names of those that were reported already. They count as absent,
    and checks that need them are left out, so that one mistake is one error.
    """

    place: Place
    values: Mapping[str, Value] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()

    def section(self, name: str) -> Section:
        """The section of that name; an empty one here if the file has none."""
        return self.sections.get(name, Section(self.place.child(name)))

    def place_of(self, name: str) -> Place:
        """The place of the element in the file; if it is missing, where it would be."""
        value = self.values.get(name)
        return value.place if value else self.place.child(name)

    def sound(self, *names: str) -> bool:
        """Whether none of these elements has been refused."""
        return self.refused.isdisjoint(names)

    def value(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The element's text as `parse` reads it; `default` if absent or refused.

        The grammar has let the text through, so `parse` does not fail.
        """
        value = self.values.get(name)
        return default if value is None else parse(value.text)
