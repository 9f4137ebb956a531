"""What is known of a host, as values: collected first, then judged.

A fact that could not be found out is None, or an empty tuple where the field says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address

from vagent.config.model import AgentConfig, TapPriority
from vagent.datapath.names import Names
from vagent.doctor.rules import Ruleset
from vagent.judgements.judgement import Judgement
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.upstream.refusal import UpstreamRefusal
from vagent.ports.contrail_folder import ContrailFolder


@dataclass(frozen=True, slots=True)
class Ours:
    """The names, addresses and numbers that this agent has on the host, or would have
    if it ran.
    """

    table: str
    namespace: str
    guest_side: str
    inner_side: str
    uplink: str
    inner_uplink: str
    uplink_range: IPv4Network
    identities: IPv4Network
    listener: IPv4Address
    listener_port: int
    queue_number: int
    queue_length: int
    host_to_guest: bool = False
    fast_path: bool = False
    tap_priority: TapPriority = TapPriority.FIRST

    @classmethod
    def of(cls, config: AgentConfig) -> Ours:
        """The same derivation from agent.conf as the data path's."""
        names = Names.of(
            config.data_path,
            listener_port=config.metadata_proxy.port,
            guest_rate=config.linklocal_flows.max_vm_new_flows,
        )
        return cls(
            table=names.table,
            namespace=names.namespace,
            guest_side=names.guest_side,
            inner_side=names.inner_side,
            uplink=names.uplink,
            inner_uplink=names.inner_uplink,
            uplink_range=names.uplink_range,
            identities=names.identity_range,
            listener=names.listener_address,
            listener_port=names.listener_port,
            queue_number=names.queue_number,
            queue_length=config.data_path.queue_length,
            host_to_guest=names.host_to_guest,
            fast_path=config.data_path.fast_path,
            tap_priority=config.data_path.tap_priority,
        )

    @property
    def uplink_address(self) -> IPv4Address:
        """The host's address at the uplink."""
        return self.uplink_range.network_address

    @property
    def sample(self) -> IPv4Address:
        """The address from which guests' packets come by the uplink."""
        return self.uplink_address + 1


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is known of agent.conf. With `problems`, its errors, nothing else
    is known.
    """

    path: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    found: bool = True
    secret_empty: bool = False
    proxy_tls: bool = False


@dataclass(frozen=True, slots=True)
class KernelTrial:
    """A part of the kernel that was tried. `said` is the kernel's error, "" if it
    works.
    """

    part: str
    option: str
    module: str
    said: str


@dataclass(frozen=True, slots=True)
class Process:
    """A process. `name` is its `comm` in /proc."""

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

    `kind` is the type of the route, `said` the error ("" if there is a route),
    `forwarding` whether reply packets that arrive at `device` would be forwarded.
    """

    target: IPv4Address
    kind: str = ""
    device: str = ""
    said: str = ""
    forwarding: bool = True


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `process` is None if its owner is not found."""

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
class Inside:
    """The network namespace of guests' flows: its interfaces, and the family and name
    of each table of nftables.
    """

    links: tuple[HostInterface, ...] = ()
    tables: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Host:
    """The network of this host. `inside` is None where there is no such
    namespace. `sysctl` has the keys below /proc/sys that exist; `far6` are IPv6
    endpoints of services on other machines.
    """

    tools: Mapping[str, bool]
    trials: tuple[KernelTrial, ...] = ()
    ruleset: Ruleset | None = None
    legacy: Ruleset | None = None
    inside: Inside | None = None
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
        """A sysctl as a number; None if it is missing or not a number."""
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
    instance: str = ""
    tenant: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """What the agent tells of itself, and what was found out without it.

    `readiness` is "ready", the reason why not, or "" if nothing answers. `stopped` is
    true if a signal has stopped the process. `holder` is the process that has the state
    directory. `fast_path` is whether it is in use. `services` and `left_out` come from
    the agent or, if it does not answer, from its store. `judgements` are what it says
    is wrong.
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
    judgements: tuple[Judgement, ...] = ()
    open_files: int | None = None
    max_files: int | None = None

    @property
    def is_up(self) -> bool:
        """Does it answer, and neither start nor stop? What is its own should be there
        then, and where something is missing, that may be why it is not ready.
        """
        return self.readiness not in ("", "starting", "stopping")


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """Who may use the operator's APIs. `missing` are the paths of sockets that should
    be there, `open` the elements of agent.conf whose `<access>` is open, `users` those
    of this host who can log in and are not root.
    """

    has_group: bool = True
    missing: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsPair:
    """The three TLS files of one peer: certificate, key, and authorities of the other
    side.

    `problem` says why they cannot be used. The dates are known if the certificate can
    be read.
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
    """One endpoint of the metadata service, after one request without identity headers
    and one that was signed as the agent signs them.

    `failed` is the stage that failed: resolve, connect, tls or reply; "" if none did.
    `refused` is what an error to the signed request means, None if it shows no fault.
    `asked_for` is the port that it was signed for, None for a made-up instance.
    """

    endpoint: str
    name: str
    failed: str = ""
    said: str = ""
    refused: UpstreamRefusal | None = None
    asked_for: PortFact | None = None


@dataclass(frozen=True, slots=True)
class DomainFact:
    """A domain of libvirt's that runs: the taps of its interfaces, whether Nova made it
    and whether its cloud-init asks for metadata.
    """

    name: str
    taps: tuple[str, ...]
    is_novas: bool = False
    asks: bool = True


@dataclass(frozen=True, slots=True)
class DomainFacts:
    """What libvirt runs. `elsewhere` says who else serves the metadata address, so that
    the watcher registers nothing; "" where nobody does, or agent.conf says not to mind.
    """

    running: tuple[DomainFact, ...] = ()
    serves_nova: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Everything that the checks may look at. `in_front` are programs of others that
    run before the agent's: tap and program, in words. `domains` is None where there is
    no libvirt.
    """

    now: datetime
    ours: Ours
    configuration: Configuration
    host: Host
    agent: AgentFacts = AgentFacts()
    access: AccessFacts | None = None
    contrail: ContrailFolder | None = None
    in_front: tuple[tuple[str, str], ...] = ()
    tls: tuple[TlsPair, ...] = ()
    upstream: tuple[UpstreamTrial, ...] = ()
    domains: DomainFacts | None = None
