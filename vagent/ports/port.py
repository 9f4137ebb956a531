"""A port: a guest's interface as registered (Contrail's VMI). Valid from birth."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

from vagent.ports import identity6


class PortTokens(StrEnum):
    """What is said of a port's session tokens; the modes are those of agent.conf."""

    UNSAID = ""
    """Nothing: what was said before stays, and to begin with it is DEFAULT."""
    DEFAULT = "default"
    """As agent.conf says for all ports."""
    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Port:
    """One guest interface.

    UUIDs are lower case with dashes; `tenant_id` is 32 lower-case hex digits without
    dashes, as Nova compares it, or "" where it was not given. `address` and `address6`
    are None where the orchestrator did not know them. `mac` is lower case with colons.
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


@dataclass(frozen=True, slots=True)
class Registration:
    """A port and the identity that stands for it above the tap.

    `index` numbers the identity inside the identity range (1 is the agent's own
    address, so guests start at 2) and is the packet mark of the reply path;
    `identity` is the address itself (Contrail's mdata ip).
    """

    port: Port
    index: int
    identity: IPv4Address

    @property
    def identity6(self) -> IPv6Address:
        """The identity of the port's registered IPv6 address (`ports.identity6`)."""
        return identity6.identity_of(self.prefix6, self.index)

    @property
    def prefix6(self) -> int:
        """What all IPv6 identities of this range begin with."""
        return identity6.prefix_of(int(self.identity) - self.index)
