"""Promises of turning contrail-vrouter-agent.conf into agent.conf."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vagent.config.document import MAX_BYTES
from vagent.config.findings import MAX_PROBLEMS
from vagent.config.import_conf import LEVELS, import_conf
from vagent.config.model import (
    Access,
    AccessMode,
    AgentConfig,
    ClientTls,
    LinkLocalFlowsConfig,
    MetadataProxyConfig,
    OperatorApi,
    Secret,
)
from vagent.config.read import read_config
from vagent.errors import ConfigError


def read_back(tmp_path: Path, text: str) -> AgentConfig:
    path = tmp_path / "agent.conf"
    path.write_text(text)
    return read_config(path).config


def test_every_option_that_has_a_place(tmp_path: Path) -> None:
    """All options with a counterpart arrive, and nothing is left to note."""
    for name in "cka":
        (tmp_path / name).touch(0o600)
    text, notes = import_conf(
        f"""
# a comment
[DEFAULT]
log_level=SYS_DEBUG
http_server_ip=127.0.0.5
http_server_port = 8086   # introspect

[METADATA]
metadata_proxy_secret=<s3cr3t> & "more"
metadata_proxy_port=8098
metadata_use_ssl=True
metadata_client_cert={tmp_path}/c
metadata_client_key={tmp_path}/k
metadata_ca_cert={tmp_path}/a
[FLOWS]
max_system_linklocal_flows=4096
max_vm_linklocal_flows=1024
"""
    )
    expected = AgentConfig(
        log_level="debug",
        metadata_proxy=MetadataProxyConfig(
            shared_secret=Secret(b'<s3cr3t> & "more"'),
            port=8098,
            tls=ClientTls(tmp_path / "c", tmp_path / "k", tmp_path / "a"),
        ),
        linklocal_flows=LinkLocalFlowsConfig(4096, 1024),
        introspect=OperatorApi(IPv4Address("127.0.0.5"), 8086, Access(AccessMode.OPEN)),
    )
    assert notes == ()
    assert expected == read_back(tmp_path, text)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.7"])
def test_pages_stay_on_loopback(tmp_path: Path, address: str) -> None:
    """Elsewhere agent.conf asks for a token, which Contrail's file has not."""
    text, notes = import_conf(f"[DEFAULT]\nhttp_server_ip={address}\n")
    assert (
        f"[DEFAULT] http_server_ip: {address} not carried over: introspection stays on "
        "127.0.0.1; elsewhere introspect/access is token",
    ) == notes
    assert AgentConfig() == read_back(tmp_path, text)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """Contrail's file may hold nothing; then so does ours."""
    text, notes = import_conf("\ufeff\n[METADATA]\n")
    assert notes == ()
    assert AgentConfig() == read_back(tmp_path, text)


def test_every_other_option_is_noted() -> None:
    """What has no place is named with its section and the reason."""
    _, notes = import_conf(
        "[DEFAULT]\nrest_port=9091\nagent_base_directory=/var/lib/contrail\n"
        "hostname=h\n[METADATA]\nmetadata_client_cert_type=PEM\n"
        "[FLOWS]\nmax_vm_flows=50\n[VIRTUAL-HOST-INTERFACE]\nname=vhost0\n"
    )
    assert [note.split(":")[0] for note in notes] == [
        "[DEFAULT] rest_port",
        "[DEFAULT] agent_base_directory",
        "[DEFAULT] hostname",
        "[METADATA] metadata_client_cert_type",
        "[FLOWS] max_vm_flows",
        "[VIRTUAL-HOST-INTERFACE] name",
    ]
    assert all(": not carried over: " in note for note in notes)
    assert "9091" in notes[0]


def test_section_and_case_belong_to_the_name() -> None:
    """A known option in another section, or in other letters, is another option."""
    _, notes = import_conf("metadata_proxy_port=1\n[metadata]\nmetadata_proxy_port=1\n")
    assert [note.split(":")[0] for note in notes] == [
        "[] metadata_proxy_port",
        "[metadata] metadata_proxy_port",
    ]


def test_values_that_agent_conf_refuses_are_left_out(tmp_path: Path) -> None:
    """A bad value is noted with what is allowed, and the rest still arrives."""
    text, notes = import_conf(
        "[DEFAULT]\nhttp_server_port=x\nhttp_server_ip=::\nlog_level=LOUD\n"
        "[METADATA]\nmetadata_proxy_port=8098\nmetadata_use_ssl=perhaps\n"
        "metadata_client_cert=relative\nmetadata_proxy_secret=s3\x01cr3t\n"
        "[FLOWS]\nmax_system_linklocal_flows=0\n"
    )
    assert len(notes) == 7
    assert all(": not carried over: " in note for note in notes)
    assert any("got 'x'; allowed: a TCP port, 1 to 65535" in note for note in notes)
    assert "cr3t" not in "".join(notes)
    expected = AgentConfig(metadata_proxy=MetadataProxyConfig(port=8098))
    assert expected == read_back(tmp_path, text)


def test_a_long_secret_is_left_out_and_not_told() -> None:
    """A secret beyond the ceiling is noted without its text."""
    text, notes = import_conf("[METADATA]\nmetadata_proxy_secret=" + "s3" * 2049)
    assert "s3" not in text + "".join(notes)
    assert len(notes) == 1


@pytest.mark.parametrize(("contrail", "ours"), LEVELS.items())
def test_log_levels(tmp_path: Path, contrail: str, ours: str) -> None:
    """Each level of Contrail becomes one of the four."""
    text, notes = import_conf(f"[DEFAULT]\nlog_level={contrail}")
    assert (ours, ()) == (read_back(tmp_path, text).log_level, notes)


@pytest.mark.parametrize("word", ["false", "no", "Off", "0"])
def test_switches(tmp_path: Path, word: str) -> None:
    """Boost's words for no are no."""
    text, notes = import_conf(f"[METADATA]\nmetadata_use_ssl={word}")
    assert notes == ()
    assert read_back(tmp_path, text).metadata_proxy.tls is None


def test_the_flows_of_a_guest_are_lowered(tmp_path: Path) -> None:
    """Contrail lowers the guest's limit silently; here it is noted."""
    text, notes = import_conf(
        "[FLOWS]\nmax_system_linklocal_flows=100\nmax_vm_linklocal_flows=101\n"
    )
    assert LinkLocalFlowsConfig(100, 100) == read_back(tmp_path, text).linklocal_flows
    assert [note.rsplit(":", 1)[0] for note in notes] == [
        "[FLOWS] max_vm_linklocal_flows: 101 became 100"
    ]
    _, notes = import_conf("[FLOWS]\nmax_vm_linklocal_flows=16385\n")
    assert "16385 became 16384" in notes[0]
    _, notes = import_conf("[FLOWS]\nmax_vm_linklocal_flows=16384\n")
    assert notes == ()


def test_tls_without_files_is_noted() -> None:
    """Contrail took TLS without a CA or certificate; here that is noted."""
    _, notes = import_conf(
        "[METADATA]\nmetadata_use_ssl=true\nmetadata_client_cert=/c\nmetadata_ca_cert=\n"
    )
    assert [note.split(":")[0] for note in notes] == [
        "[METADATA] metadata_client_key",
        "[METADATA] metadata_ca_cert",
    ]


def test_lines_that_are_no_options_are_noted_by_number() -> None:
    """Such a line may be a part of a secret, so it is not repeated."""
    _, notes = import_conf("[METADATA]\ns3cr3t\n=x\n")
    assert notes == (
        "line 2: not an option; left out",
        "line 3: not an option; left out",
    )


def test_the_first_of_two_counts(tmp_path: Path) -> None:
    """A repeated option is noted; the first is taken."""
    text, notes = import_conf(
        "[METADATA]\nmetadata_proxy_port=1\nmetadata_proxy_port=2\n"
    )
    assert read_back(tmp_path, text).metadata_proxy.port == 1
    assert notes == ("[METADATA] metadata_proxy_port: given again in line 3; left out",)


def test_the_size_is_bounded() -> None:
    """A text at the ceiling is read, one more is an error; notes have a ceiling."""
    _, notes = import_conf("x\n" * (MAX_BYTES // 2))
    assert len(notes) == MAX_PROBLEMS + 1
    with pytest.raises(ConfigError, match="too large"):
        import_conf("x\n" * (MAX_BYTES // 2) + "x")


SECTIONS = ["[METADATA]", "[FLOWS]", "[DEFAULT]"]
OPTIONS = ["metadata_proxy_secret", "metadata_use_ssl", "log_level", "http_server_ip"]
WORDS = st.sampled_from(
    [*SECTIONS, *OPTIONS, "max_vm_linklocal_flows", "=", "#", "1", "true", "\n"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(WORDS, st.text(max_size=3))).map("".join))
def test_any_text(tmp_path: Path, conf: str) -> None:
    """Whatever the text, the result is within the grammar of agent.conf."""
    text, _ = import_conf(conf)
    path = tmp_path / "agent.conf"
    path.write_bytes(text.encode())
    try:
        read_config(path)
    except ConfigError as error:
        # Only what needs the host or another server: TLS files, addresses, ports.
        told = [each.what for each in error.problems]
        assert all("needed because" in each or "belongs" in each for each in told)
