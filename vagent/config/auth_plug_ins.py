"""The authentication plug-ins of keystoneauth1: which there are, and their options.

The only module of this room that imports keystoneauth1, and only when one is asked for:
it costs 0.25 s and 24 MiB. Plug-ins are found by their entry points, so those of other
packages count, too. Nothing here opens a connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

ENTRY_POINTS = "keystoneauth1.plugin"
NOT_INSTALLED = (
    "keystoneauth1 is not installed: pip install 'vagent[keystone]' into the"
    " environment of the agent"
)
METHODS = "auth_methods"
"""The option of v3multifactor that names other plug-ins, whose options it takes."""
_SECRET_WORDS = ("password", "secret", "token", "key", "code")


class PlugInError(Exception):
    """There is no such plug-in, or it does not take these options."""


@dataclass(frozen=True, slots=True)
class PlugInOption:
    """One option. `dest` is its name as an argument; `others` are older names of it."""

    name: str
    dest: str
    is_secret: bool
    is_required: bool
    others: tuple[str, ...]
    default: Any
    parse: Any


class PlugIn:
    """One plug-in, ready to be made with options."""

    def __init__(self, name: str) -> None:
        """Raises PlugInError."""
        self._loader = _loader(name)
        self._name = name

    def options(self, methods: Iterable[str] = ()) -> Mapping[str, PlugInOption]:
        """By name, with underscores. With `methods` those of other plug-ins as well."""
        found = [*self._loader.get_options()]
        for method in methods:
            found += _loader(method).get_options()
        return {normal(one.name): _option(one) for one in found}

    def make(self, values: Mapping[str, str]) -> Any:
        """The plug-in with these options, by name. Raises PlugInError."""
        from keystoneauth1.exceptions import ClientException

        methods = tuple(values.get(METHODS, "").replace(",", " ").split())
        try:
            known = self.options(methods)
            arguments: dict[str, Any] = {
                one.dest: one.default for one in known.values()
            }
            for name, text in values.items():
                arguments[known[name].dest] = known[name].parse(text)
            if methods:
                arguments[METHODS] = list(methods)
            return self._loader.load_from_options(**arguments)
        except (ClientException, TypeError, ValueError) as error:
            raise PlugInError(str(error)) from error


def normal(name: str) -> str:
    """Option names are written with dashes or with underscores."""
    return name.replace("-", "_")


def _option(raw: Any) -> PlugInOption:
    words = raw.name.lower()
    return PlugInOption(
        name=normal(raw.name),
        dest=raw.dest,
        is_secret=raw.secret or any(word in words for word in _SECRET_WORDS),
        is_required=raw.required,
        others=tuple(normal(one.name) for one in raw.deprecated),
        default=raw.default,
        parse=raw.type,
    )


def _loader(name: str) -> Any:
    found = _found(name)
    try:
        loader = found.load()()
        usable = loader.available
    except Exception as error:  # a third-party plug-in may raise anything
        raise PlugInError(f"{name} cannot be loaded: {error}") from error
    if not usable:
        raise PlugInError(
            f"{name} is there, but libraries that it needs are not: see the extras of"
            f" {_package(found)}"
        )
    return loader


def _found(name: str) -> EntryPoint:
    """Of several of one name that of another package, which is there to replace it."""
    try:
        import keystoneauth1.loading  # noqa: F401 - whether it is there
    except ImportError:
        raise PlugInError(NOT_INSTALLED) from None
    every = entry_points(group=ENTRY_POINTS)
    named = sorted((one for one in every if one.name == name), key=_is_foreign)
    if not named:
        names = ", ".join(sorted({one.name for one in every}))
        raise PlugInError(f"got {name!r}; allowed: {names}")
    return named[-1]


def _is_foreign(found: EntryPoint) -> bool:
    return _package(found) != "keystoneauth1"


def _package(found: EntryPoint) -> str:
    return found.value.partition(".")[0] if found.dist is None else found.dist.name
