"""A port: a guest's interface as it was registered (Contrail's VMI), and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from uuid import NAMESPACE_URL, uuid5

from vagent.ports.identity import identity6_of, read_identity

Address = IPv4Address | IPv6Address

Slot = tuple[str, Address | None]
"""Something that has an index of its own: a port by its id (with None), and each of its
further addresses."""


class PortTokens(StrEnum):
    """The mode of a port's session tokens: one of agent.conf's, or one of the
    next two.
    """

    UNSAID = ""
    """The client did not say: the port keeps the mode that it has, at first DEFAULT."""
    DEFAULT = "default"
    """As agent.conf says for all ports."""
    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
    REQUIRED_EC2 = "required-ec2"
    AUDIT = "audit"


class PortOwner(StrEnum):
    """Who made a port. All but WATCHER are explicit: somebody asked for this port."""

    API = "api"
    """A client of the port API that did not say more, as Contrail's tools do not."""
    FILE = "file"
    """A port file that another program wrote."""
    CLI = "cli"
    """`vagentctl port add`."""
    WATCHER = "watcher"
    """The libvirt watcher, which changes and removes ports of its own alone."""


NO_NETWORK = str(uuid5(NAMESPACE_URL, "vagent:no-network"))
"""The network of ports that are added without naming one."""
PROBE_AUTHOR = "vagentctl explain"
"""Author of the ports that explain registers for a moment. The pid follows, so that
what a killed one left is recognised."""


@dataclass(frozen=True, slots=True)
class Port:
    """One guest interface.

    UUIDs are lower case with dashes; `tenant_id` is the project's id letter for letter,
    as Nova compares it (Keystone's are 32 lower-case hex digits), or "" where it was
    not given. `mac` is lower case with
    colons. `address` and `address6` are None where the orchestrator does not know them;
    `further` are more addresses of the guest, of either family. `rx_vlan` is the VLAN
    id of the frames that the guest sends, `tx_vlan` of those that it receives; 0 and -1
    mean none, and a port has both or neither. With `learn` its main addresses are those
    that the guest was seen to use last; it then has no further ones.
    """

    id: str
    instance_id: str
    tenant_id: str
    network_id: str
    display_name: str
    tap: str
    mac: str
    address: IPv4Address | None
    address6: IPv6Address | None
    kind: int = 0
    rx_vlan: int = -1
    tx_vlan: int = -1
    vhostuser_mode: int = 0
    link_up: bool = True
    author: str = ""
    time: str = ""
    session_tokens: PortTokens = PortTokens.UNSAID
    further: tuple[Address, ...] = ()
    learn: bool = False
    owner: PortOwner = PortOwner.API

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses that are known, the main ones first."""
        main = (self.address, self.address6)
        return (*(each for each in main if each is not None), *self.further)

    def with_learned(self, address: Address) -> Port:
        """The same port with this address in place of that of its IP version."""
        if isinstance(address, IPv4Address):
            return replace(self, address=address)
        return replace(self, address6=address)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What has an index of its own, in the order of `Registration.indexes`."""
        return ((self.id, None), *((self.id, address) for address in self.further))

    @property
    def vlan(self) -> int:
        """The VLAN that the guest's frames are in, 0 for none."""
        return max(self.rx_vlan, 0)


@dataclass(frozen=True, slots=True)
class Registration:
    """A port, and the identity address that stands for it above its tap.

    `identity` is that address (Contrail's metadata ip), `index` its number in the
    identity range: 1 is the agent, guests have 2 and up. The index is the packet mark
    by which a reply finds its guest. `further` are the indexes of the port's further
    addresses, in their order: a reply has to go to the address that asked, so each has
    an identity address of its own.
    """

    port: Port
    index: int
    identity: IPv4Address
    further: tuple[int, ...] = ()

    @property
    def indexes(self) -> tuple[int, ...]:
        """All indexes of the port, the main one first."""
        return (self.index, *self.further)

    def identity_at(self, index: int) -> IPv4Address:
        """The identity address that belongs to one of the port's indexes."""
        return self.identity + (index - self.index)

    def addresses_at(self, index: int) -> tuple[IPv4Address | None, IPv6Address | None]:
        """The addresses of the guest that one of the port's indexes stands for."""
        if index == self.index:
            return self.port.address, self.port.address6
        address = self.port.further[self.further.index(index)]
        if isinstance(address, IPv4Address):
            return address, None
        return None, address

    def address_behind(self, source: str) -> Address | None:
        """The guest's own address, given one of its identity addresses in text form.
        None where that address is not known, or the identity address is not this
        port's.
        """
        index, link_local = read_identity(source, self._start)
        if index not in self.indexes:
            return None
        address, address6 = self.addresses_at(index)
        return link_local or address6 if ":" in source else address

    @property
    def identity6(self) -> IPv6Address:
        """The identity address of the port's registered IPv6 address."""
        return identity6_of(self.index, self._start)

    @property
    def _start(self) -> int:
        """The first address of the identity range."""
        return int(self.identity) - self.index
