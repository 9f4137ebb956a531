"""A domain: a guest as libvirt describes it, as far as its ports depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface with a tap on this host. `port_id` is the UUID that Open
    vSwitch or OVN knows it by (`interfaceid`), "" without one.
    """

    mac: str
    tap: str
    port_id: str = ""


@dataclass(frozen=True, slots=True)
class NovaPort:
    """A port that Nova's metadata element names, with its fixed addresses as texts."""

    id: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NovaInstance:
    """Nova's metadata element. `project` is the project's id as Nova has it."""

    name: str
    project: str
    ports: tuple[NovaPort, ...] = ()


@dataclass(frozen=True, slots=True)
class Smbios:
    """What the guest's firmware tells of the machine. `fields` are the entries of the
    system block by libvirt's names (`product`, `manufacturer`, `serial`); they count if
    the guest sees them.
    """

    is_seen: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain. `uuid` is lower case with dashes. `nova` is None where Nova did not
    make it; `unserved` are the interfaces that have no tap, by type.
    """

    uuid: str
    name: str
    interfaces: tuple[Interface, ...] = ()
    nova: NovaInstance | None = None
    smbios: Smbios = Smbios()
    unserved: tuple[str, ...] = ()
