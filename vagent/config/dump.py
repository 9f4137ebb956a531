"""Writes an AgentConfig as agent.conf: every element with the value in force, secrets
masked. Pure.

`read` turns the text back into an equal configuration, apart from secrets and from
whether files exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from vagent.config.model import (
    OFF,
    AgentConfig,
    Listen,
    MetadataProxyConfig,
    MetadataServerConfig,
    OperatorApi,
    Secret,
    ServiceCredentials,
    VendorDataConfig,
)
from vagent.config.shared_secret import MASK

Texts = Mapping[str, "str | Attributed | Texts"]


@dataclass(frozen=True, slots=True)
class Attributed:
    """The text of an element that has attributes."""

    text: str
    attributes: Mapping[str, str]


def dump_config(config: AgentConfig) -> str:
    """Complete XML in the grammar of agent.conf; a secret that is set reads `***`."""
    server = config.metadata_server
    return to_xml(
        {
            "state-directory": str(config.state_directory),
            "contrail-ports-directory": str(config.contrail_ports or OFF),
            "runtime-directory": str(config.runtime_directory),
            "log-level": config.log_level,
            "metadata-proxy": _metadata_proxy(config.metadata_proxy),
            "linklocal-flows": {
                "max-system-flows": str(config.linklocal_flows.max_system_flows),
                "max-vm-flows": str(config.linklocal_flows.max_vm_flows),
                "max-vm-new-flows": str(config.linklocal_flows.max_vm_new_flows),
            },
            "endpoint-check": {
                "services": " ".join(config.endpoint_check.services),
                "interval": _seconds(config.endpoint_check.interval),
                "timeout": _seconds(config.endpoint_check.timeout),
                "rise": str(config.endpoint_check.rise),
                "fall": str(config.endpoint_check.fall),
            },
            "data-path": {
                "name": config.data_path.name,
                "namespace": config.data_path.namespace,
                "uplink": str(config.data_path.uplink),
                "identity-range": str(config.data_path.identity_range),
                "queue-number": str(config.data_path.queue_number),
                "queue-length": str(config.data_path.queue_length),
                "when-stopped": config.data_path.when_stopped.value,
                "host-to-guest": _switch(config.data_path.host_to_guest),
                "fast-path": _switch(config.data_path.fast_path),
                "tap-priority": config.data_path.tap_priority.value,
            },
            "port-api": _api(config.port_api),
            "config-api": _api(config.config_api),
            "introspect": _api(config.introspect),
            "operator-host-names": " ".join(config.operator_host_names),
            "metadata-server": _metadata_server(
                server or MetadataServerConfig(), enabled=server is not None
            ),
            "vendordata": _vendordata(config.vendordata),
            "service-credentials": _service_credentials(
                config.service_credentials or ServiceCredentials("")
            ),
            "libvirt": {
                "enabled": config.libvirt.enabled.value,
                "uri": config.libvirt.uri,
                "nova-domains": config.libvirt.nova_domains.value,
            },
        }
    )


def to_xml(content: Texts) -> str:
    """Elements and sections, in the order given, under `<config><agent>`.

    Raises ValueError if a text cannot be written in XML (control characters).
    """
    config = etree.Element("config")
    agent = etree.SubElement(config, "agent")
    _add(agent, content)
    etree.indent(config)
    return str(etree.tostring(config, encoding="unicode")) + "\n"


def _add(parent: etree._Element, content: Texts) -> None:
    for name, inner in content.items():
        element = etree.SubElement(parent, name)
        if isinstance(inner, str):
            element.text = inner
        elif isinstance(inner, Attributed):
            element.text = inner.text
            element.attrib.update(inner.attributes)
        else:
            _add(element, inner)


def _metadata_proxy(proxy: MetadataProxyConfig) -> Texts:
    tls = proxy.tls
    return {
        "shared-secret": _masked(proxy.shared_secret),
        "port": str(proxy.port),
        "use-ssl": _switch(tls is not None),
        "client-cert": _path(tls.client_cert if tls else None),
        "client-key": _path(tls.client_key if tls else None),
        "ca-cert": _path(tls.ca_cert if tls else None),
        "upstream-tls": _path(tls.by_endpoint if tls else None),
        "connect-timeout": _seconds(proxy.connect_timeout),
        "response-timeout": _seconds(proxy.response_timeout),
        "hold-time": _seconds(proxy.hold_time),
        "probe-interval": str(proxy.probe_interval),
        "max-guest-connections": str(proxy.max_guest_connections),
        "guest-request-rate": _seconds(proxy.guest_request_rate),
        "guest-request-burst": str(proxy.guest_request_burst),
        "max-guest-requests": str(proxy.max_guest_requests),
        "cache-ttl": _seconds(proxy.cache_ttl),
        "session-tokens": proxy.session_tokens.value,
        "hop-limit": str(proxy.hop_limit),
        "refuse-beyond-hop-limit": _switch(proxy.refuse_beyond_hop_limit),
    }


def _metadata_server(server: MetadataServerConfig, *, enabled: bool) -> Texts:
    return {
        "enabled": _switch(enabled),
        **_listen(server.listen),
        "shared-secret": _masked(server.shared_secret),
        "server-cert": _path(server.server_cert),
        "server-key": _path(server.server_key),
        "client-ca": _path(server.client_ca),
        "instance-directory": _path(server.instance_directory),
    }


def _vendordata(vendordata: VendorDataConfig) -> Texts:
    targets = vendordata.targets
    return {
        "static-file": _path(vendordata.static_file),
        "dynamic-targets": " ".join(f"{one.name}@{one.url}" for one in targets),
        "failure-mode": vendordata.failure_mode.value,
        "connect-timeout": _seconds(vendordata.connect_timeout),
        "read-timeout": _seconds(vendordata.read_timeout),
        "timeout": _seconds(vendordata.timeout),
        "cache-time": str(vendordata.cache_time),
        "failure-cache-time": _seconds(vendordata.failure_cache_time),
        "ca-cert": _path(vendordata.ca_cert),
        "client-cert": _path(vendordata.client_cert),
        "client-key": _path(vendordata.client_key),
        "target-tls": _path(vendordata.target_tls),
    }


def _service_credentials(credentials: ServiceCredentials) -> Texts:
    return {
        "auth-type": credentials.auth_type,
        "auth-options": {
            one.name: MASK if one.is_secret and one.value else one.value
            for one in credentials.options
        },
        "timeout": _seconds(credentials.timeout),
        "ca-cert": _path(credentials.ca_cert),
        "client-cert": _path(credentials.client_cert),
        "client-key": _path(credentials.client_key),
    }


def _api(api: OperatorApi) -> Texts:
    file = api.access.token_file
    attributes = {} if file is None else {"file": str(file)}
    return {**_listen(api), "access": Attributed(api.access.mode.value, attributes)}


def _listen(listen: Listen) -> Texts:
    return {"address": str(listen.address), "port": str(listen.port)}


def _masked(secret: Secret) -> str:
    return MASK if secret.value else ""


def _path(path: Path | None) -> str:
    return str(path) if path else ""


def _switch(on: bool) -> str:
    return "true" if on else "false"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
