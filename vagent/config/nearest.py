"""Suggests the name that an operator may have meant. Pure."""

from __future__ import annotations

from vagent.config.findings import MAX_SHOWN, shown_name
from vagent.config.grammar import Declared, ElementKind

LIKENESS = 0.6
"""How alike names must be (difflib's ratio) for one to be a mistyped other."""


def unknown_element(name: str, parent: Declared, agent: Declared) -> str:
    """The message for an element that `parent` does not have."""
    what = f"unknown element <{shown_name(name)}>"
    if parent.kind is ElementKind.OPTIONS:
        return f"{what}; allowed in <{parent.name}>: letters, digits, _ and -"
    elsewhere = [path for path in agent.paths() if path.endswith(f"/{name}")]
    if elsewhere:
        return f"{what} in <{parent.name}>; it is known as {' and '.join(elsewhere)}"
    if not parent.children:
        every = [path.rsplit("/", 1)[-1] for path in agent.paths()]
        return (
            f"{what}; <{parent.name}> holds text only; nearest known name:"
            f" <{nearest(name, every)}>"
        )
    return (
        f"{what}; nearest known name: <{nearest(name, list(parent.children))}>; "
        f"allowed in <{parent.name}>: {', '.join(_used(parent))}"
    )


def unknown_attribute(name: str, element: Declared) -> str:
    """The message for an attribute that `element` does not have."""
    what = f"unknown attribute {shown_name(name)}"
    if element.attributes:
        return f"{what}; nearest known name: {nearest(name, element.attributes)}"
    if element.children:
        known = nearest(name, _used(element))
        return f"{what}; nearest known name: the element <{known}> in it"
    return f"{what}; <{element.name}> has no attributes (only shared-secret has: file)"


def _used(parent: Declared) -> list[str]:
    children = parent.children.values()
    return [each.name for each in children if each.kind is not ElementKind.LEGACY]


def similar(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The known name that may have been meant; "" where none looks like it."""
    found = nearest(name, known)
    from difflib import SequenceMatcher

    ratio = SequenceMatcher(None, found, name[:MAX_SHOWN]).ratio()
    return found if ratio >= LIKENESS else ""


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The known name that looks most like it."""
    # Imported here, because an agent whose file is right never needs it.
    from difflib import get_close_matches

    return get_close_matches(name[:MAX_SHOWN], known, n=1, cutoff=0.0)[0]
