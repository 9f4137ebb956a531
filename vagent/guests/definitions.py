"""The domains that libvirt knows, running or not, and their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vagent.guests.hypervisor import HypervisorError, load_libvirt


@dataclass(frozen=True, slots=True)
class KnownDomain:
    """A domain. `xml` is how it runs, or what it will be where it does not."""

    name: str
    is_running: bool
    xml: str


class Definitions:
    """A connection to read them, with `may_write` to change them as well. Every method
    raises HypervisorError.
    """

    def __init__(self, uri: str, *, may_write: bool = False) -> None:
        self._libvirt = load_libvirt()
        self._libvirt.registerErrorHandler(lambda *_: None, None)
        self._uri = uri
        with self._translated():
            opened = self._libvirt.open if may_write else self._libvirt.openReadOnly
            self._connection: Any = opened(uri)

    def __repr__(self) -> str:
        return f"<Definitions {self._uri}>"

    def domains(self) -> list[KnownDomain]:
        """All of them, by name."""
        with self._translated():
            found = [
                KnownDomain(each.name(), bool(each.isActive()), each.XMLDesc(0))
                for each in self._connection.listAllDomains(0)
            ]
        return sorted(found, key=lambda each: each.name)

    def definition(self, name: str) -> str:
        """What the domain will be at its next start, its secrets included, so that it
        can be defined again.
        """
        flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE
        with self._translated():
            domain = self._connection.lookupByName(name)
            if not domain.isPersistent():
                raise HypervisorError(
                    f"domain {name!r} has no definition: it was made to run once; "
                    "change what makes it"
                )
            text: str = domain.XMLDesc(flags | self._libvirt.VIR_DOMAIN_XML_SECURE)
        return text

    def define(self, xml: str) -> None:
        """Replace a definition. It counts from the next start."""
        with self._translated():
            self._connection.defineXML(xml)

    def close(self) -> None:
        """End the connection."""
        with self._translated():
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._libvirt.libvirtError as error:
            raise HypervisorError(f"{self._uri}: {error}") from error
