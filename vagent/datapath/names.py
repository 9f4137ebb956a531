"""Names of everything that the agent owns in the kernel, derived from one prefix.

Whoever sees one of these names on a host knows whose it is, and two agents with two
prefixes never touch each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

from vagent.config.model import DataPathConfig
from vagent.ports.identity import AGENT_INDEX, identity6_of, network6_of

SERVICE_MAC = "02:00:a9:fe:a9:fe"
"""MAC address that answers for every service address at every tap (locally
administered; its last four bytes spell 169.254.169.254)."""

METADATA_PORT6 = 80

QUEUE_CHAIN = "to_agent"
"""Chain of each host table that sends a packet to NFQUEUE. It ends in a drop, so no
packet passes while its queue rule is missing."""
NEAR = "near"
"""Map, in the host's own network, from a port of the uplink's address to a service of
this host."""
PORT_OF = "port_of"
"""Map from each index of a port that has several to its first one."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names that one agent uses on this host, and the numbers in its rules.

    `namespace` is the network namespace in which guests' flows are trapped and
    translated. Two veth pairs lead into it. `guest_side` is where taps forward, and at
    its other end, `inner_side`, the routing, conntrack, NFQUEUE and the listener of the
    namespace see the packets. By `uplink`, whose other end is `inner_uplink`, they go
    on to services on the fabric and of this host; `uplink_range` has an address for
    each end, and `uplink_range6` two of IPv6. `guest_rate` is how many flows a second a
    guest may open before the kernel itself refuses them.
    """

    table: str
    namespace: str
    guest_side: str
    inner_side: str
    uplink: str
    inner_uplink: str
    uplink_range: IPv4Network
    identity_range: IPv4Network
    listener_address: IPv4Address
    listener_address6: IPv6Address
    listener_port: int
    queue_number: int
    guest_rate: int
    host_to_guest: bool

    @classmethod
    def of(
        cls, config: DataPathConfig, *, listener_port: int, guest_rate: int
    ) -> Names:
        """The names that follow from agent.conf."""
        network = config.identity_range
        return cls(
            table=config.name,
            namespace=config.namespace or config.name,
            guest_side=f"{config.name}0",
            inner_side=f"{config.name}1",
            uplink=f"{config.name}u",
            inner_uplink=f"{config.name}2",
            uplink_range=config.uplink,
            identity_range=network,
            listener_address=network.network_address + AGENT_INDEX,
            listener_address6=identity6_of(AGENT_INDEX, int(network.network_address)),
            listener_port=listener_port,
            queue_number=config.queue_number,
            guest_rate=guest_rate,
            host_to_guest=config.host_to_guest,
        )

    @property
    def interfaces(self) -> frozenset[str]:
        """The interfaces that the agent makes on the host, and has made."""
        return frozenset(
            (self.guest_side, self.uplink, self.inner_side, self.inner_uplink)
        )

    @property
    def uplink_address(self) -> IPv4Address:
        """The host's address at the uplink; the other end has the next one."""
        return self.uplink_range.network_address

    @property
    def uplink_range6(self) -> IPv6Network:
        """Two addresses of the IPv6 prefix that no identity has: the host's, and that
        of the uplink's other end.
        """
        return IPv6Network((int(self.identity_range6.network_address) + 2, 127))

    @property
    def listener_interface(self) -> IPv4Interface:
        """The listener's address, with the prefix length of the identity range."""
        return IPv4Interface(f"{self.listener_address}/{self.identity_range.prefixlen}")

    @property
    def identity_range6(self) -> IPv6Network:
        """The IPv6 identities: a /32 beside the identity range."""
        return network6_of(self.identity_range)
