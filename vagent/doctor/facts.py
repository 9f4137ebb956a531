"""What is known of a host, as values: collected once, then judged without a look back.

None, or an empty tuple where that is said, stands for what could not be learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

from vagent.config.model import AgentConfig
from vagent.datapath.names import Names
from vagent.doctor.rules import Ruleset
from vagent.linklocal.service import LinkLocalService


@dataclass(frozen=True, slots=True)
class Ours:
    """What this agent owns, or would own, on the host."""

    table: str
    guest_side: str
    host_side: str
    identities: IPv4Network
    listener: IPv4Address
    listener_port: int
    queue_number: int
    queue_length: int
    host_to_guest: bool = False
    fast_path: bool = False

    @classmethod
    def of(cls, config: AgentConfig) -> Ours:
        """As the data path derives it from agent.conf."""
        names = Names.of(
            config.data_path,
            listener_port=config.metadata_proxy.port,
            guest_rate=config.linklocal_flows.max_vm_new_flows,
        )
        return cls(
            table=names.table,
            guest_side=names.guest_side,
            host_side=names.host_side,
            identities=names.identity_range,
            listener=names.listener_address,
            listener_port=names.listener_port,
            queue_number=names.queue_number,
            queue_length=config.data_path.queue_length,
            host_to_guest=names.host_to_guest,
            fast_path=config.data_path.fast_path,
        )

    @property
    def sample(self) -> IPv4Address:
        """An identity that some guest may have."""
        return self.identities.network_address + 2


@dataclass(frozen=True, slots=True)
class Configuration:
    """agent.conf. `problems` are refusals; with them nothing else of it is known."""

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    found: bool = True
    secret_empty: bool = False
    proxy_tls: bool = False


@dataclass(frozen=True, slots=True)
class KernelTrial:
    """A part of the kernel that was tried; `said` is its refusal, "" if it works."""

    part: str
    option: str
    module: str
    said: str


@dataclass(frozen=True, slots=True)
class Process:
    """Who holds something. `name` is `comm` as the kernel keeps it."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class HostInterface:
    """An interface and its IPv4 addresses."""

    name: str
    up: bool
    addresses: tuple[IPv4Interface, ...] = ()


@dataclass(frozen=True, slots=True)
class HostRoute:
    """An IPv4 route of any table. `device` is "" for those without one."""

    destination: IPv4Network
    device: str
    table: str
    kind: str


@dataclass(frozen=True, slots=True)
class RouteTrial:
    """What the kernel would do with a packet that comes up from a guest.

    `kind` is the route's type, `said` the refusal ("" if there is a route),
    `forwarding` whether packets that come back by `device` would be forwarded.
    """

    target: IPv4Address
    kind: str = ""
    device: str = ""
    said: str = ""
    forwarding: bool = True


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that accepts on an address; `process` is None if it is not found."""

    address: IPv4Address
    port: int
    protocol: str
    process: Process | None


@dataclass(frozen=True, slots=True)
class Queue:
    """One line of /proc/net/netfilter/nfnetlink_queue."""

    number: int
    waiting: int
    dropped: int
    owner: Process | None


@dataclass(frozen=True, slots=True)
class Host:
    """The network of this host. `sysctl` holds keys below /proc/sys that are there;
    `far6` are IPv6 endpoints of services on other machines.
    """

    tools: Mapping[str, bool]
    trials: tuple[KernelTrial, ...] = ()
    ruleset: Ruleset | None = None
    legacy: Ruleset | None = None
    links: tuple[HostInterface, ...] = ()
    routes: tuple[HostRoute, ...] = ()
    route_trials: tuple[RouteTrial, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    queue: Queue | None = None
    synchronised: bool | None = None
    far6: tuple[IPv6Address, ...] = ()

    def link(self, name: str) -> HostInterface | None:
        """The interface of that name."""
        return next((link for link in self.links if link.name == name), None)

    def number(self, key: str) -> int | None:
        """A sysctl that is a number."""
        text = self.sysctl.get(key, "").split()
        return int(text[0]) if text and text[0].isdecimal() else None


@dataclass(frozen=True, slots=True)
class PortFact:
    """A registered port, as the port API shows it."""

    id: str
    name: str
    tap: str
    state: str
    author: str


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """The agent. `stopped` means by a signal; `readiness` is "ready", the reason why
    not, or "" without an answer. `holder` has the state directory. `fast_path`: is it
    in use?

    `services` and `left_out` come from the agent or, without one, from its store.
    """

    process: Process | None = None
    stopped: bool = False
    holder: Process | None = None
    readiness: str = ""
    silence: str = ""
    start: str = "systemctl start vagent"
    restart: str = "systemctl restart vagent"
    fast_path: bool | None = None
    ports: tuple[PortFact, ...] | None = None
    services: tuple[LinkLocalService, ...] | None = None
    left_out: tuple[str, ...] = ()
    open_files: int | None = None
    max_files: int | None = None


@dataclass(frozen=True, slots=True)
class TlsPair:
    """A certificate, its key and the authorities of the other side, as files.

    `problem` says what cannot be used; the dates are there when the certificate is.
    """

    role: str
    cert: str
    key: str
    ca: str
    problem: str = ""
    subject: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    ca_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class UpstreamTrial:
    """One endpoint of the metadata service, tried without any identity header.

    `failed` is the stage that failed: resolve, connect, tls, reply; "" if none did.
    """

    endpoint: str
    name: str
    failed: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything that the checks may look at."""

    now: datetime
    ours: Ours
    configuration: Configuration
    host: Host
    agent: AgentFacts = AgentFacts()
    tls: tuple[TlsPair, ...] = ()
    upstream: tuple[UpstreamTrial, ...] = ()
