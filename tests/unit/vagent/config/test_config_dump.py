"""Promises of writing a configuration down."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from vagent.config.dump import dump_config, to_xml
from vagent.config.grammar import load_grammar
from vagent.config.model import (
    Access,
    AccessMode,
    AgentConfig,
    ClientTls,
    DataPathConfig,
    EndpointCheckConfig,
    FailureMode,
    LinkLocalFlowsConfig,
    Listen,
    MetadataProxyConfig,
    MetadataServerConfig,
    OperatorApi,
    Secret,
    SessionMode,
    VendorDataConfig,
    VendorDataTarget,
)
from vagent.config.read import read_config


def read_back(tmp_path: Path, config: AgentConfig) -> AgentConfig:
    path = tmp_path / "agent.conf"
    path.write_text(dump_config(config))
    return read_config(path).config


def test_the_defaults_read_back(tmp_path: Path) -> None:
    """A dump of the defaults is the defaults."""
    assert AgentConfig() == read_back(tmp_path, AgentConfig())


def full(tmp_path: Path, secret: bytes) -> AgentConfig:
    files = [tmp_path / name for name in "abcdef"]
    for file in files:
        file.touch(0o600)
    token = tmp_path / "<token>"
    token.write_text("t" * 16)
    token.chmod(0o600)
    access = Access(AccessMode.TOKEN, Secret(b"t" * 16), token)
    return AgentConfig(
        state_directory=Path("/<s> & t"),
        runtime_directory=Path("/é"),
        log_level="error",
        metadata_proxy=MetadataProxyConfig(
            shared_secret=Secret(secret),
            port=1,
            tls=ClientTls(*files[:3]),
            connect_timeout=0.125,
            response_timeout=599.999,
            hold_time=0.001,
            max_guest_connections=2,
            guest_request_rate=0.5,
            guest_request_burst=3,
            max_guest_requests=4,
            cache_ttl=0.5,
            session_tokens=SessionMode.AUDIT,
            hop_limit=64,
        ),
        linklocal_flows=LinkLocalFlowsConfig(4, 3),
        endpoint_check=EndpointCheckConfig(("dns", "ntp"), 60.125, 0.5, 4, 1),
        data_path=DataPathConfig(
            "n", "N-2", IPv4Network("10.2.0.8/31"), IPv4Network("10.1.0.0/16"), 5, 6
        ),
        port_api=OperatorApi(IPv4Address("192.0.2.1"), 7, access),
        config_api=OperatorApi(IPv4Address("192.0.2.2"), 8, access),
        introspect=OperatorApi(
            IPv4Address("127.0.0.3"), 9, Access(AccessMode.PEER_UID)
        ),
        operator_host_names=("api.example", "c7"),
        metadata_server=MetadataServerConfig(
            Listen(IPv4Address("192.0.2.4"), 10), Secret(secret), *files[3:]
        ),
        vendordata=VendorDataConfig(
            static_file=files[0],
            targets=(
                VendorDataTarget("a", "https://192.0.2.9/?x=1@2"),
                VendorDataTarget("b", "http://[::1]:9/"),
            ),
            failure_mode=FailureMode.HARD,
            connect_timeout=0.5,
            read_timeout=0.25,
            timeout=1.5,
            cache_time=31_536_000,
            failure_cache_time=0.125,
            ca_cert=files[1],
            client_cert=files[2],
            client_key=files[3],
            target_tls=Path("/folders"),
        ),
    )


def test_every_value_reads_back(tmp_path: Path) -> None:
    """A dump of anything else is that, apart from the secrets."""
    config = full(tmp_path, b"***")
    assert config == read_back(tmp_path, config)


def test_secrets_are_masked(tmp_path: Path) -> None:
    """No secret is written, however it looks; whether there is one can be seen."""
    text = dump_config(full(tmp_path, b"s3cr3t"))
    assert "s3cr3t" not in text
    assert "t" * 16 not in text
    assert text.count("<shared-secret>***</shared-secret>") == 2
    assert "***" not in dump_config(AgentConfig())


def test_the_dump_has_every_element(tmp_path: Path) -> None:
    """The dump and agent.xsd have the same elements, whatever is configured."""
    declared = sorted(load_grammar().roots["agent"].paths())
    for config in (AgentConfig(), full(tmp_path, b"")):
        tree = etree.ElementTree(etree.fromstring(dump_config(config)))
        paths = [tree.getpath(each) for each in tree.getroot().iter()]
        assert ["/config", *[f"/config/{each}" for each in declared]] == sorted(paths)


@given(st.integers(100, 60_000))
def test_times_keep_their_milliseconds(
    tmp_path_factory: pytest.TempPathFactory, milliseconds: int
) -> None:
    """Every time that the grammar takes is written so that it reads back equal."""
    proxy = MetadataProxyConfig(connect_timeout=milliseconds / 1000)
    config = replace(AgentConfig(), metadata_proxy=proxy)
    assert config == read_back(tmp_path_factory.getbasetemp(), config)


def test_a_text_that_xml_cannot_hold() -> None:
    """Control characters are a ValueError, not a broken file."""
    with pytest.raises(ValueError, match="XML"):
        to_xml({"log-level": "\x00"})
