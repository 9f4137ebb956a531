"""Turns sections into an AgentConfig, and checks values that depend on each other.

Every check reports to the findings and goes on, so that one run reports everything.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from vagent.config.files import Content, problem_of_directory
from vagent.config.findings import Findings, shown
from vagent.config.host_names import read_host_names
from vagent.config.listening import (
    Server,
    check_access,
    check_addresses,
    check_distinct,
    read_api,
    read_listen,
)
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.config.model import (
    OFF,
    OTHER_UPLINK,
    UPLINK,
    AgentConfig,
    ClientTls,
    DataPathConfig,
    EndpointCheckConfig,
    LibvirtConfig,
    LibvirtMode,
    LinkLocalFlowsConfig,
    Listen,
    MetadataProxyConfig,
    MetadataServerConfig,
    NovaDomains,
    SessionMode,
    TapPriority,
    WhenStopped,
)
from vagent.config.pem_files import CLIENT_FILES, SERVER_FILES, named, read_pem_files
from vagent.config.section import Section
from vagent.config.service_credentials import read_service_credentials
from vagent.config.shared_secret import read_secret
from vagent.config.vendordata import read_vendordata, warn_of_exposed_tokens

DEFAULTS = AgentConfig()
DEFAULT_SERVER = MetadataServerConfig()
IDENTITY_RANGES = (  # RFC 1918 and RFC 3927
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),
)
IDENTITY_ALLOWED = (
    "a network inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 169.254.0.0/16, "
    f"of length 16 to 24, without {METADATA_ADDRESS}"
)
UPLINK_ALLOWED = (
    "two addresses (length 31) inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or "
    f"169.254.0.0/16, outside of identity-range, without {METADATA_ADDRESS}"
)


def read_meaning(agent: Section, findings: Findings, conf: Content) -> AgentConfig:
    """The configuration in the section `agent`; values that are wrong are left at their
    defaults, so look at `findings` before using it.

    `conf` is agent.conf itself: who may read it matters if it contains a secret.
    """
    server_section = agent.section("metadata-server")
    is_served_here = server_section.value("enabled", _switch, default=False)
    proxy = _metadata_proxy(
        agent.section("metadata-proxy"),
        findings,
        conf,
        # The embedded server's clients include those that ask for a token first.
        tokens=SessionMode.OPTIONAL if is_served_here else SessionMode.OFF,
    )
    server = (
        _metadata_server(server_section, proxy, findings, conf)
        if is_served_here
        else None
    )
    state = agent.value("state-directory", Path, DEFAULTS.state_directory)
    config = AgentConfig(
        state_directory=state,
        contrail_ports_directory=_contrail_ports(agent, state),
        runtime_directory=agent.value(
            "runtime-directory", Path, DEFAULTS.runtime_directory
        ),
        log_level=agent.value("log-level", str, DEFAULTS.log_level),
        metadata_proxy=proxy,
        linklocal_flows=_flows(agent.section("linklocal-flows"), findings),
        endpoint_check=_endpoint_check(agent.section("endpoint-check"), findings),
        data_path=_data_path(agent.section("data-path"), findings),
        port_api=read_api(agent.section("port-api"), DEFAULTS.port_api, findings),
        config_api=read_api(agent.section("config-api"), DEFAULTS.config_api, findings),
        introspect=read_api(agent.section("introspect"), DEFAULTS.introspect, findings),
        operator_host_names=read_host_names(agent, "operator-host-names", findings),
        metadata_server=server,
        vendordata=read_vendordata(
            agent.section("vendordata"), findings, is_used=server is not None
        ),
        service_credentials=read_service_credentials(
            agent.section("service-credentials"), findings, conf
        ),
        libvirt=_libvirt(agent.section("libvirt")),
    )
    if config.service_credentials is not None:
        warn_of_exposed_tokens(agent.section("vendordata"), config.vendordata, findings)
    _check_servers(agent, config, findings)
    return config


def _contrail_ports(agent: Section, state_directory: Path) -> str:
    """The text of the element; "" if it says what is the default."""
    text = agent.value("contrail-ports-directory", str, "")
    by_default = AgentConfig(state_directory).contrail_ports
    return "" if text == str(by_default or OFF) else text


def _metadata_proxy(
    section: Section, findings: Findings, conf: Content, *, tokens: SessionMode
) -> MetadataProxyConfig:
    default = DEFAULTS.metadata_proxy
    secret = read_secret(section, findings, conf)
    if not secret.value:
        findings.warn(
            section.place_of("shared-secret"),
            "no secret: X-Instance-ID-Signature is computed with the empty key, "
            "and nova-api cannot tell the agent from anybody else",
        )
    return MetadataProxyConfig(
        shared_secret=secret,
        port=section.value("port", int, default.port),
        tls=_client_tls(section, findings),
        connect_timeout=section.value(
            "connect-timeout", float, default.connect_timeout
        ),
        response_timeout=section.value(
            "response-timeout", float, default.response_timeout
        ),
        hold_time=section.value("hold-time", float, default.hold_time),
        probe_interval=section.value("probe-interval", int, default.probe_interval),
        max_guest_connections=section.value(
            "max-guest-connections", int, default.max_guest_connections
        ),
        guest_request_rate=section.value(
            "guest-request-rate", float, default.guest_request_rate
        ),
        guest_request_burst=section.value(
            "guest-request-burst", int, default.guest_request_burst
        ),
        max_guest_requests=section.value(
            "max-guest-requests", int, default.max_guest_requests
        ),
        cache_ttl=section.value("cache-ttl", float, default.cache_ttl),
        session_tokens=section.value("session-tokens", SessionMode, tokens),
        hop_limit=section.value("hop-limit", int, default.hop_limit),
        refuse_beyond_hop_limit=section.value(
            "refuse-beyond-hop-limit", _switch, default.refuse_beyond_hop_limit
        ),
    )


def _client_tls(section: Section, findings: Findings) -> ClientTls | None:
    if section.value("use-ssl", _switch, default=False):
        why = "use-ssl is true"
        files = read_pem_files(section, CLIENT_FILES, findings, why=why)
        if not files:
            return None
        cert, key, authority = files
        folders = section.value("upstream-tls", str, "")
        return ClientTls(cert, key, authority, Path(folders) if folders else None)
    unused = named(section, (*CLIENT_FILES, "upstream-tls"))
    if unused:
        what = f"use-ssl is not true, so these are not used: {', '.join(unused)}"
        findings.warn(section.place_of(unused[0]), what)
    return None


def _flows(section: Section, findings: Findings) -> LinkLocalFlowsConfig:
    default = DEFAULTS.linklocal_flows
    system = section.value("max-system-flows", int, default.max_system_flows)
    per_guest = section.value("max-vm-flows", int, min(default.max_vm_flows, system))
    if per_guest > system and section.sound("max-system-flows"):
        findings.refuse(
            section.place_of("max-vm-flows"),
            f"got {per_guest}; allowed: at most max-system-flows, which is {system}",
        )
    rate = section.value("max-vm-new-flows", int, default.max_vm_new_flows)
    return LinkLocalFlowsConfig(system, per_guest, rate)


def _endpoint_check(section: Section, findings: Findings) -> EndpointCheckConfig:
    default = DEFAULTS.endpoint_check
    interval = section.value("interval", float, default.interval)
    timeout = section.value("timeout", float, min(default.timeout, interval))
    if timeout > interval and section.sound("interval"):
        findings.refuse(
            section.place_of("timeout"),
            f"got {timeout:g}; allowed: at most interval, which is {interval:g}",
        )
    return EndpointCheckConfig(
        services=section.value("services", _names, default.services),
        interval=interval,
        timeout=timeout,
        rise=section.value("rise", int, default.rise),
        fall=section.value("fall", int, default.fall),
    )


def _data_path(section: Section, findings: Findings) -> DataPathConfig:
    default = DEFAULTS.data_path
    identities = _identity_range(section, findings)
    return DataPathConfig(
        name=section.value("name", str, default.name),
        namespace=section.value("namespace", str, default.namespace),
        uplink=_uplink(section, identities, findings),
        identity_range=identities,
        queue_number=section.value("queue-number", int, default.queue_number),
        queue_length=section.value("queue-length", int, default.queue_length),
        when_stopped=section.value("when-stopped", WhenStopped, default.when_stopped),
        host_to_guest=section.value(
            "host-to-guest", _switch, default=default.host_to_guest
        ),
        fast_path=section.value("fast-path", _switch, default=default.fast_path),
        tap_priority=section.value("tap-priority", TapPriority, default.tap_priority),
    )


def _libvirt(section: Section) -> LibvirtConfig:
    default = DEFAULTS.libvirt
    return LibvirtConfig(
        enabled=section.value("enabled", LibvirtMode, default.enabled),
        uri=section.value("uri", str, default.uri),
        nova_domains=section.value("nova-domains", NovaDomains, default.nova_domains),
    )


def _uplink(
    section: Section, identities: IPv4Network, findings: Findings
) -> IPv4Network:
    default = OTHER_UPLINK if UPLINK.overlaps(identities) else UPLINK
    text = section.value("uplink", str, "")
    if not text:
        return default
    network = IPv4Network(text, strict=False)
    problem = _uplink_problem(text, network, identities)
    if problem:
        what = f"got {text}: {problem}; allowed: {UPLINK_ALLOWED}"
        findings.refuse(section.place_of("uplink"), what)
        return default
    return network


def _uplink_problem(
    text: str, network: IPv4Network, identities: IPv4Network
) -> str | None:
    if network.prefixlen != 31:
        return f"length {network.prefixlen}"
    if IPv4Address(text.partition("/")[0]) != network.network_address:
        return f"that is the second address of {network}"
    if not any(network.subnet_of(each) for each in IDENTITY_RANGES):
        return "neither private nor link-local"
    if network.overlaps(identities):
        return f"it lies in the identity range {identities}"
    if METADATA_ADDRESS in network:
        return f"it contains {METADATA_ADDRESS}"
    return None


def _identity_range(section: Section, findings: Findings) -> IPv4Network:
    text = section.value("identity-range", str, "")
    if not text:
        return DEFAULTS.data_path.identity_range
    network = IPv4Network(text, strict=False)
    problem = _identity_problem(text, network)
    if problem:
        what = f"got {text}: {problem}; allowed: {IDENTITY_ALLOWED}"
        findings.refuse(section.place_of("identity-range"), what)
        return DEFAULTS.data_path.identity_range
    return network


def _identity_problem(text: str, network: IPv4Network) -> str | None:
    if IPv4Address(text.partition("/")[0]) != network.network_address:
        return f"that is an address in {network}, not a network"
    if not 16 <= network.prefixlen <= 24:
        return f"length {network.prefixlen}"
    if not any(network.subnet_of(each) for each in IDENTITY_RANGES):
        return "neither private nor link-local"
    if METADATA_ADDRESS in network:
        return f"it contains {METADATA_ADDRESS}"
    return None


def _metadata_server(
    section: Section, proxy: MetadataProxyConfig, findings: Findings, conf: Content
) -> MetadataServerConfig:
    secret = read_secret(section, findings, conf)
    listen = read_listen(section, DEFAULT_SERVER.listen)
    directory = _instance_directory(section, findings)
    server = MetadataServerConfig(
        listen=listen,
        shared_secret=secret if secret.value else proxy.shared_secret,
        instance_directory=directory,
    )
    why = _why_server_tls(section, listen)
    files = read_pem_files(section, SERVER_FILES, findings, why=why) if why else None
    if not files:
        return server
    certificate, key, authority = files
    return replace(server, server_cert=certificate, server_key=key, client_ca=authority)


def _instance_directory(section: Section, findings: Findings) -> Path | None:
    """It may come later, so one that is not there is no error."""
    name = "instance-directory"
    text = section.value(name, str, "")
    if not text:
        return None
    problem = problem_of_directory(Path(text))
    if problem:
        findings.warn(
            section.place_of(name),
            f"cannot read {shown(text)}: {problem}; it is looked for again while the"
            " agent runs",
        )
    return Path(text)


def _why_server_tls(section: Section, listen: Listen) -> str | None:
    given = named(section, SERVER_FILES)
    if given:
        return f"{given[0]} is given, and TLS takes all of: {', '.join(SERVER_FILES)}"
    if not listen.address.is_loopback:
        return f"the server listens on {listen.address}, which is not loopback"
    return None


def _check_servers(agent: Section, config: AgentConfig, findings: Findings) -> None:
    apis = {
        "port-api": config.port_api,
        "config-api": config.config_api,
        "introspect": config.introspect,
    }
    listens: dict[str, Listen] = {**apis}
    if config.metadata_server:
        listens["metadata-server"] = config.metadata_server.listen
    servers = [Server(agent.section(name), name, at) for name, at in listens.items()]
    identities = config.data_path.identity_range
    check_addresses(servers, identities, findings)
    for name, api in apis.items():
        check_access(agent.section(name), api, findings)
    proxy = Server(
        agent.section("metadata-proxy"),
        "metadata-proxy",
        Listen(identities.network_address, config.metadata_proxy.port),
    )
    check_distinct([proxy, *servers], findings)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.lower().split())


def _switch(text: str) -> bool:
    return text in ("true", "1")
