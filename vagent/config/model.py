"""The configuration as values: frozen sections, each of which is handed to one
subsystem. The defaults here are agent.conf's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret. `repr` and `str` show asterisks."""

    value: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "Secret('***')" if self.value else "Secret('')"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Listen:
    """Address and port of an HTTP server."""

    address: IPv4Address
    port: int


class AccessMode(StrEnum):
    """How an operator's API tells over TCP who may use it: by the user at the other end
    of a loopback connection, by a token, or not at all.
    """

    PEER_UID = "peer-uid"
    TOKEN = "token"  # noqa: S105 a mode's name
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Access:
    """`<access>`: who may use an API over TCP. `token` is set in mode TOKEN only."""

    mode: AccessMode = AccessMode.PEER_UID
    token: Secret = Secret(b"")
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class OperatorApi(Listen):
    """Where one of the operator's three APIs listens, and who may use it."""

    access: Access = Access()


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Mutual TLS towards nova-api (PEM files). Without `ca_cert` nothing is sent.

    `by_endpoint` is a directory with a folder for each endpoint that has its own files.
    """

    client_cert: Path
    client_key: Path
    ca_cert: Path
    by_endpoint: Path | None = None


class SessionMode(StrEnum):
    """What the metadata proxy does about session tokens (Amazon's IMDSv2)."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
    REQUIRED_EC2 = "required-ec2"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class MetadataProxyConfig:
    """`<metadata-proxy>`: how guests' requests reach nova-api. Times in seconds."""

    shared_secret: Secret = Secret(b"")
    port: int = 8097
    tls: ClientTls | None = None
    connect_timeout: float = 4.0
    response_timeout: float = 30.0
    hold_time: float = 8.0
    probe_interval: int = 0
    max_guest_connections: int = 64
    guest_request_rate: float = 500.0
    guest_request_burst: int = 1000
    max_guest_requests: int = 32
    cache_ttl: float = 15.0
    session_tokens: SessionMode = SessionMode.OFF
    hop_limit: int = 1
    refuse_beyond_hop_limit: bool = False


@dataclass(frozen=True, slots=True)
class LinkLocalFlowsConfig:
    """`<linklocal-flows>`: ceilings on concurrent flows, for the host and per guest,
    and on the flows that a guest opens in a second."""

    max_system_flows: int = 16384
    max_vm_flows: int = 2048
    max_vm_new_flows: int = 1000


@dataclass(frozen=True, slots=True)
class EndpointCheckConfig:
    """`<endpoint-check>`: connections that the agent itself makes to fabric endpoints.

    `services` names those whose endpoints are checked, `*` all; none by default.
    `interval` and `timeout` are seconds; an endpoint is down after `fall` failures in a
    row, and up again after `rise` successes.
    """

    services: tuple[str, ...] = ()
    interval: float = 5.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3


IDENTITY_RANGE = IPv4Network("169.254.64.0/18")
UPLINK = IPv4Network("169.254.0.0/31")
OTHER_UPLINK = IPv4Network("169.254.255.0/31")
"""The default where the identity range has the other one."""


class WhenStopped(StrEnum):
    """What a clean stop does with rules and interfaces while ports are registered."""

    GUARD = "guard"
    REMOVE = "remove"


class TapPriority(StrEnum):
    """Where the agent's program stands among other programs at a tap's ingress."""

    FIRST = "first"
    """Nothing bypasses the guard; what it takes is not seen by the others."""
    LAST = "last"
    """Others limit and filter all frames; what they redirect is not seen by ours."""


@dataclass(frozen=True, slots=True)
class DataPathConfig:
    """`<data-path>`: names and numbers of what the agent owns in the kernel.

    `name` prefixes tables and interfaces (`vagent` makes `vagent0` and `vagentu`).
    `namespace` is the name of the network namespace in which guests' flows are, "" for
    one like `name`. `uplink` is the /31 by which services on the fabric are reached
    from there.
    """

    name: str = "vagent"
    namespace: str = ""
    uplink: IPv4Network = UPLINK
    identity_range: IPv4Network = IDENTITY_RANGE
    queue_number: int = 8097
    queue_length: int = 4096
    when_stopped: WhenStopped = WhenStopped.GUARD
    host_to_guest: bool = False
    fast_path: bool = False
    tap_priority: TapPriority = TapPriority.FIRST


@dataclass(frozen=True, slots=True)
class MetadataServerConfig:
    """`<metadata-server>`: the embedded Nova-compatible server, over mutual TLS.

    Without the three PEM files it speaks plain HTTP, which is allowed on a loopback
    address only.
    """

    listen: Listen = Listen(IPv4Address("127.0.0.1"), 8775)
    shared_secret: Secret = Secret(b"")
    server_cert: Path | None = None
    server_key: Path | None = None
    client_ca: Path | None = None
    instance_directory: Path | None = None


class FailureMode(StrEnum):
    """What vendor_data2.json is when a target gives no valid answer: `{}` under the
    target's name (soft), or an error (hard).
    """

    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class VendorDataTarget:
    """A web service that is asked about each guest. `name` is the key of its answer in
    vendor_data2.json, `url` an absolute http or https URL.
    """

    name: str
    url: str

    @property
    def uses_tls(self) -> bool:
        """Is it asked over HTTPS?"""
        return self.url.lower().startswith("https:")


@dataclass(frozen=True, slots=True)
class VendorDataConfig:
    """`<vendordata>`: what the embedded server adds to guests' metadata.

    Times in seconds. `timeout` bounds one target's answer as a whole, `read_timeout`
    the silence between two pieces of it. Without `ca_cert` the authorities of the
    system count; `target_tls` is a directory with a folder for each target that has
    its own files.
    """

    static_file: Path | None = None
    targets: tuple[VendorDataTarget, ...] = ()
    failure_mode: FailureMode = FailureMode.SOFT
    connect_timeout: float = 3.0
    read_timeout: float = 5.0
    timeout: float = 8.0
    cache_time: int = 86_400
    failure_cache_time: float = 5.0
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    target_tls: Path | None = None


@dataclass(frozen=True, slots=True)
class AuthOption:
    """One option of an authentication plug-in, as text."""

    name: str
    value: str = field(repr=False)
    is_secret: bool


@dataclass(frozen=True, slots=True)
class ServiceCredentials:
    """`<service-credentials>`: the agent's own account in Keystone.

    `auth_type` names a plug-in of keystoneauth1, `options` are the plug-in's.
    `timeout` is the seconds that one request to Keystone may take. Without `ca_cert`
    the authorities count that `requests` trusts.
    """

    auth_type: str
    options: tuple[AuthOption, ...] = ()
    timeout: float = 5.0
    ca_cert: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None


class LibvirtMode(StrEnum):
    """Whether the libvirt watcher registers ports."""

    AUTO = "auto"
    """Unless something else on this host serves 169.254.169.254."""
    ON = "true"
    OFF = "false"


class NovaDomains(StrEnum):
    """What the libvirt watcher does with domains that Nova made."""

    LEAVE = "leave"
    SERVE = "serve"


@dataclass(frozen=True, slots=True)
class LibvirtConfig:
    """`<libvirt>`: which domains the libvirt watcher registers ports for."""

    enabled: LibvirtMode = LibvirtMode.AUTO
    uri: str = "qemu:///system"
    nova_domains: NovaDomains = NovaDomains.LEAVE


STATE_DIRECTORY = Path("/var/lib/vagent")
CONTRAIL_PORTS = Path("/var/lib/contrail/ports")
"""Where Contrail's tools keep port files, and look for nothing else."""
OFF = "off"


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The whole of agent.conf. `contrail_ports_directory` is a path, OFF, or "" for the
    default.
    """

    state_directory: Path = STATE_DIRECTORY
    contrail_ports_directory: str = ""
    runtime_directory: Path = Path("/run/vagent")
    log_level: str = "info"
    metadata_proxy: MetadataProxyConfig = MetadataProxyConfig()
    linklocal_flows: LinkLocalFlowsConfig = LinkLocalFlowsConfig()
    endpoint_check: EndpointCheckConfig = EndpointCheckConfig()
    data_path: DataPathConfig = DataPathConfig()
    port_api: OperatorApi = OperatorApi(IPv4Address("127.0.0.1"), 9091)
    config_api: OperatorApi = OperatorApi(IPv4Address("127.0.0.1"), 8082)
    introspect: OperatorApi = OperatorApi(
        IPv4Address("127.0.0.1"), 8085, Access(AccessMode.OPEN)
    )
    operator_host_names: tuple[str, ...] = ()
    metadata_server: MetadataServerConfig | None = None
    vendordata: VendorDataConfig = VendorDataConfig()
    service_credentials: ServiceCredentials | None = None
    libvirt: LibvirtConfig = LibvirtConfig()

    @property
    def contrail_ports(self) -> Path | None:
        """The folder of Contrail's port files that is read, too; None for none. By
        default that is Contrail's own for the host's own agent, which keeps its state
        where agents keep it, and none for any other.
        """
        if self.contrail_ports_directory:
            text = self.contrail_ports_directory
            return None if text == OFF else Path(text)
        return CONTRAIL_PORTS if self.state_directory == STATE_DIRECTORY else None
