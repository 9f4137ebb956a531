"""Promises of the values that agent.conf becomes."""

from __future__ import annotations

from ipaddress import IPv4Address

from vagent.config.model import (
    Access,
    AccessMode,
    AgentConfig,
    MetadataProxyConfig,
    OperatorApi,
    Secret,
)


def test_a_secret_never_shows() -> None:
    """Neither repr, str, format nor an enclosing value shows the bytes of a secret."""
    secret = Secret(b"s3cr3t")
    proxy = MetadataProxyConfig(shared_secret=secret)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s}", repr(proxy)]
    assert "s3cr3t" not in "".join(shown)
    assert [str(secret), str(Secret(b""))] == ["Secret('***')", "Secret('')"]


def test_the_defaults_that_others_rely_on() -> None:
    """Ports, addresses and ranges by default, as published."""
    config = AgentConfig()
    loopback = IPv4Address("127.0.0.1")
    assert [config.port_api, config.config_api, config.introspect] == [
        OperatorApi(loopback, 9091, Access(AccessMode.PEER_UID)),
        OperatorApi(loopback, 8082, Access(AccessMode.PEER_UID)),
        OperatorApi(loopback, 8085, Access(AccessMode.OPEN)),
    ]
    assert config.metadata_proxy.port == 8097
    assert str(config.data_path.identity_range) == "169.254.64.0/18"
    assert config.metadata_server is None
