"""Promises of reading agent.conf, from the path to the value."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from vagent.config.document import MAX_BYTES
from vagent.config.dump import dump_config
from vagent.config.findings import MAX_PROBLEMS
from vagent.config.grammar import load_grammar
from vagent.config.model import (
    Access,
    AccessMode,
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
    OperatorApi,
    Secret,
    SessionMode,
    TapPriority,
    WhenStopped,
)
from vagent.config.read import Loaded, read_config
from vagent.errors import ConfigError, Problem

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Put text where agent.conf is, private as it should be."""

    def put(text: str | bytes) -> Path:
        path = tmp_path / "agent.conf"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        return path

    return put


def problems(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    return caught.value.problems


def lines(path: Path) -> list[str]:
    """Problems as `line: path: what`."""
    return [str(each).removeprefix(f"{path}:") for each in problems(path)]


@pytest.mark.parametrize("text", ["<agent/>", "<config><agent/></config>"])
def test_defaults(write: Write, text: str) -> None:
    """An empty file of either root is the defaults, with a warning on the secret."""
    loaded = read_config(write(text))
    assert AgentConfig() == loaded.config
    assert [each.what[:9] for each in loaded.warnings] == ["no secret"]


def test_every_value_arrives(write: Write, tmp_path: Path) -> None:
    """Each element sets the field that bears its name, and no other."""
    for name in ("c", "k", "a", "sc", "sk", "sa"):
        (tmp_path / name).touch(0o600)
    token = tmp_path / "t"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    access = Access(AccessMode.TOKEN, Secret(b"0123456789abcdef"), token)
    path = write(
        f"""<config><agent>
        <metadata-server><client-ca>{tmp_path}/sa</client-ca>
          <server-key>{tmp_path}/sk</server-key>
          <server-cert>{tmp_path}/sc</server-cert><shared-secret>b</shared-secret>
          <port>11</port><address>10.0.0.9</address><enabled>1</enabled>
          <instance-directory>/etc</instance-directory>
        </metadata-server>
        <introspect><address>10.0.0.1</address><port>1</port>
          <access file="{token}">token</access></introspect>
        <operator-host-names>API.example.
          c7 api.example</operator-host-names>
        <config-api><address>10.0.0.2</address><port>2</port>
          <access file="{token}">token</access></config-api>
        <port-api><address>127.0.0.3</address><port>3</port>
          <access>open</access></port-api>
        <data-path><name>x_1</name><identity-range>10.64.0.0/16</identity-range>
          <namespace>X-1</namespace><uplink>10.65.0.2/31</uplink>
          <queue-number>0</queue-number><queue-length>5</queue-length>
          <when-stopped>remove</when-stopped>
          <host-to-guest>true</host-to-guest>
          <fast-path>true</fast-path>
          <tap-priority>last</tap-priority></data-path>
        <libvirt><nova-domains>serve</nova-domains><enabled>true</enabled>
          <uri>qemu:///session</uri></libvirt>
        <endpoint-check><fall>1</fall><rise>3</rise><timeout>0.5</timeout>
          <interval>0.75</interval><services> DNS
          ntp </services></endpoint-check>
        <linklocal-flows><max-system-flows>7</max-system-flows>
          <max-vm-flows>6</max-vm-flows>
          <max-vm-new-flows>4</max-vm-new-flows></linklocal-flows>
        <metadata-proxy><shared-secret> a
          </shared-secret><port> 8 </port><use-ssl>true</use-ssl>
          <client-cert>{tmp_path}/c</client-cert><client-key>{tmp_path}/k</client-key>
          <ca-cert>{tmp_path}/a</ca-cert><upstream-tls>{tmp_path}</upstream-tls>
          <probe-interval>12</probe-interval><connect-timeout>0.1</connect-timeout>
          <response-timeout>600</response-timeout><hold-time>0</hold-time>
          <max-guest-connections>9</max-guest-connections>
          <guest-request-rate>0</guest-request-rate>
          <guest-request-burst>1</guest-request-burst>
          <max-guest-requests>2</max-guest-requests>
          <cache-ttl>0</cache-ttl><session-tokens>required</session-tokens>
          <refuse-beyond-hop-limit>true</refuse-beyond-hop-limit>
          <hop-limit>2</hop-limit></metadata-proxy>
        <log-level>debug</log-level>
        <runtime-directory>/r</runtime-directory>
        <state-directory>/s t</state-directory>
        <contrail-ports-directory>/cp</contrail-ports-directory>
        </agent></config>"""
    )
    expected = AgentConfig(
        state_directory=Path("/s t"),
        contrail_ports_directory="/cp",
        runtime_directory=Path("/r"),
        log_level="debug",
        metadata_proxy=MetadataProxyConfig(
            shared_secret=Secret(b"a"),
            port=8,
            tls=ClientTls(tmp_path / "c", tmp_path / "k", tmp_path / "a", tmp_path),
            probe_interval=12,
            connect_timeout=0.1,
            response_timeout=600.0,
            hold_time=0.0,
            max_guest_connections=9,
            guest_request_rate=0.0,
            guest_request_burst=1,
            max_guest_requests=2,
            cache_ttl=0.0,
            session_tokens=SessionMode.REQUIRED,
            hop_limit=2,
            refuse_beyond_hop_limit=True,
        ),
        linklocal_flows=LinkLocalFlowsConfig(7, 6, 4),
        endpoint_check=EndpointCheckConfig(("dns", "ntp"), 0.75, 0.5, 3, 1),
        data_path=DataPathConfig(
            "x_1",
            "X-1",
            IPv4Network("10.65.0.2/31"),
            IPv4Network("10.64.0.0/16"),
            0,
            5,
            WhenStopped.REMOVE,
            host_to_guest=True,
            fast_path=True,
            tap_priority=TapPriority.LAST,
        ),
        port_api=OperatorApi(IPv4Address("127.0.0.3"), 3, Access(AccessMode.OPEN)),
        config_api=OperatorApi(IPv4Address("10.0.0.2"), 2, access),
        introspect=OperatorApi(IPv4Address("10.0.0.1"), 1, access),
        operator_host_names=("api.example", "c7"),
        metadata_server=MetadataServerConfig(
            listen=Listen(IPv4Address("10.0.0.9"), 11),
            shared_secret=Secret(b"b"),
            server_cert=tmp_path / "sc",
            server_key=tmp_path / "sk",
            client_ca=tmp_path / "sa",
            instance_directory=Path("/etc"),
        ),
        libvirt=LibvirtConfig(LibvirtMode.ON, "qemu:///session", NovaDomains.SERVE),
    )
    assert Loaded(expected, ()) == read_config(path)
    elsewhere = ("agent/vendordata", "agent/service-credentials")
    left_out = set(element_paths(EXAMPLE.read_bytes())) - {
        *element_paths(path.read_bytes())
    }
    assert [each for each in sorted(left_out) if not each.startswith(elsewhere)] == []


def test_every_problem_in_one_run(write: Write) -> None:
    """Grammar, meaning and missing files are told together, in the order of lines."""
    path = write(
        """<agent>
        <metadata-proxy><port>0</port>
        <sharedsecret>s3cr3t</sharedsecret>
        <use-ssl>true</use-ssl>
        <ca-cert>/nonexistent/ca</ca-cert></metadata-proxy>
        <linklocal-flows colour="red"><max-system-flows>5</max-system-flows>
        <max-vm-flows>6</max-vm-flows></linklocal-flows>
        <data-path><identity-range>8.8.8.0/24</identity-range>
        <name/></data-path>
        <log-level>loud</log-level>
        </agent>"""
    )
    told = [(each.line, each.path.removeprefix("/agent/")) for each in problems(path)]
    assert told == [
        (2, "metadata-proxy/port"),
        (2, "metadata-proxy/client-cert"),
        (2, "metadata-proxy/client-key"),
        (3, "metadata-proxy/sharedsecret"),
        (5, "metadata-proxy/ca-cert"),
        (6, "linklocal-flows/@colour"),
        (7, "linklocal-flows/max-vm-flows"),
        (8, "data-path/identity-range"),
        (9, "data-path/name"),
        (10, "log-level"),
    ]
    assert "s3cr3t" not in "\n".join(lines(path))


def test_a_problem_is_one_line_of_four_parts(write: Write) -> None:
    """A message says where, what was got and what is allowed."""
    path = write("<agent>\n<introspect><port>70000</port></introspect></agent>")
    where = f"{path}:2: /agent/introspect/port"
    expected = f"{where}: got '70000'; allowed: a TCP port, 1 to 65535"
    assert [expected] == [str(each) for each in problems(path)]


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a problem of line 1."""
    path = tmp_path / "nothing"
    assert lines(path) == ["1: /: cannot read the file: No such file or directory"]


def test_not_a_file(tmp_path: Path) -> None:
    """A directory is refused, and a FIFO at once, without waiting for a writer."""
    os.mkfifo(tmp_path / "fifo")
    assert lines(tmp_path) == ["1: /: cannot read the file: Is a directory"]
    assert lines(tmp_path / "fifo") == [
        "1: /: cannot read the file: not a regular file"
    ]


def test_a_path_that_no_system_takes(tmp_path: Path) -> None:
    """A path with a NUL in it is a configuration error like any other."""
    assert lines(tmp_path / "a\0b") == ["1: /: cannot read the file: not a usable path"]


def test_size_ceiling(write: Write) -> None:
    """A file of the ceiling is read, one byte more is not even parsed."""
    text = "<agent/>"
    fits = text + " " * (MAX_BYTES - len(text))
    assert AgentConfig() == read_config(write(fits)).config
    expected = f"1: /: the file is too large; allowed: {MAX_BYTES} bytes"
    assert [expected] == lines(write("<" + fits))


def test_problems_have_a_ceiling(write: Write) -> None:
    """A hostile file ends the reading after MAX_PROBLEMS lines, and one says so."""
    for count in (MAX_PROBLEMS - 1, MAX_PROBLEMS):
        assert count == len(problems(write("<agent>" + "<a/>" * count + "</agent>")))
    text = "<agent>" + "\n<a/>" * (MAX_PROBLEMS + 1) + "</agent>"
    told = [each.what for each in problems(write(text))]
    assert len(told) == MAX_PROBLEMS + 1
    assert f"more than {MAX_PROBLEMS} problems; the rest is not shown" in told


def test_legacy_elements_are_warned_about(write: Write) -> None:
    """A complete agent.conf of Contrail loads; what is not used is reported.
    (Contrail: test_agent_init.)
    """
    path = write(
        """
<?xml version="1.0" encoding="utf-8"?>
<config><agent>
  <vhost><name>vhost0</name><ip-address>10.1.1.1/24</ip-address></vhost>
  <eth-port><name>vnet0</name></eth-port>
  <xmpp-server><ip-address>127.0.0.1</ip-address></xmpp-server>
  <xmpp-server><ip-address>127.0.0.2</ip-address></xmpp-server>
  <dns-server/>
  <discovery-server><control-instances>2</control-instances></discovery-server>
  <control/>
  <hypervisor mode="xen"><xen-ll-port> xenapi</xen-ll-port></hypervisor>
  <tunnel-type>MPLSoGRE</tunnel-type>
  <tunnel-mode/>
  <gateway virtual-network="a:b:c:c"><interface>vgw</interface></gateway>
  <metadata-proxy><shared-secret>contrail</shared-secret></metadata-proxy>
  <linklocal-flows><max-system-flows>1024</max-system-flows>
    <max-vm-flows>512</max-vm-flows></linklocal-flows>
</agent></config>"""
    )
    loaded = read_config(path)
    assert Secret(b"contrail") == loaded.config.metadata_proxy.shared_secret
    assert LinkLocalFlowsConfig(1024, 512) == loaded.config.linklocal_flows
    names = [each.path.rsplit("/", 1)[-1] for each in loaded.warnings]
    legacy = [
        "vhost eth-port xmpp-server xmpp-server dns-server discovery-server control",
        "hypervisor tunnel-type tunnel-mode gateway",
    ]
    assert " ".join(legacy).split() == names
    assert all("not used" in each.what for each in loaded.warnings)
    assert loaded.warnings[0].line == 4


def test_warnings_are_bounded(write: Write) -> None:
    """A hundred thousand legacy elements are not a hundred thousand warnings."""
    path = write("<agent>" + "<vhost/>" * (MAX_PROBLEMS + 5) + "</agent>")
    assert len(read_config(path).warnings) == MAX_PROBLEMS


EXAMPLE = Path(__file__).parents[4] / "conf" / "agent.conf.example"


def test_the_example_is_the_defaults() -> None:
    """The example loads as shipped, means the defaults, warns of the secret only."""
    loaded = read_config(EXAMPLE)
    assert AgentConfig() == loaded.config
    assert [each.path for each in loaded.warnings] == [
        "/config/agent/metadata-proxy/shared-secret"
    ]


def element_paths(text: bytes) -> list[str]:
    tree = etree.ElementTree(etree.fromstring(text))
    elements = tree.getroot().iter(etree.Element)
    return sorted(tree.getpath(each).removeprefix("/config/") for each in elements)


def test_the_example_has_every_element() -> None:
    """The example and agent.xsd have the same elements, each once."""
    declared = sorted(["/config", *load_grammar().roots["agent"].paths()])
    assert declared == element_paths(EXAMPLE.read_bytes())


def test_every_element_of_the_example_is_commented() -> None:
    """Each element follows a comment, stands in its group, or is one of a Listen."""
    agent = etree.fromstring(EXAMPLE.read_bytes()).find("agent")
    for section in agent.iterchildren(etree.Element):
        assert section.getprevious().tag is etree.Comment, section.tag
        for leaf in section.iterchildren(etree.Element):
            above = leaf.getprevious()
            listens = [each.tag for each in section][:2] == ["address", "port"]
            assert listens or above is not None, leaf.tag


def test_the_documentation_has_every_element_and_default() -> None:
    """The table of docs/configuration.md and the defaults in force agree."""
    table = {}
    document = EXAMPLE.parents[1] / "docs" / "configuration.md"
    for row in document.read_text().splitlines():
        cells = [cell.strip().strip("`") for cell in row.split("|")]
        if row.startswith("| `") and not cells[1].startswith("["):
            table[cells[1]] = cells[2]
    root = etree.fromstring(dump_config(AgentConfig()))
    tree = etree.ElementTree(root)
    leaves = [each for each in root.iter() if not len(each)]
    paths = [tree.getpath(each).removeprefix("/config/agent/") for each in leaves]
    assert {
        path: leaf.text or "" for path, leaf in zip(paths, leaves, strict=True)
    } == table


def read_or_refuse(path: Path) -> None:
    try:
        loaded = read_config(path)
    except ConfigError as error:
        found = error.problems
    else:
        assert isinstance(loaded.config, AgentConfig)
        return
    assert found
    assert all("\n" not in str(each) for each in found)


NAMES = st.sampled_from(
    [path.rsplit("/", 1)[-1] for path in load_grammar().roots["agent"].paths()]
    + ["vhost", "config", "port-ap", "x:y", "é", "a" * 70]
)
TEXTS = st.one_of(
    st.sampled_from(["", " 1 ", "0", "true", "70000", "10.0.0.0/8", "1.2.3.4", "/"]),
    st.sampled_from(["***", "-1", "1e5", "&amp;", "&#10;", "<![CDATA[<]]>", "٣", "+1"]),
    st.text(alphabet="ab<>&/ \n'\"", max_size=6),
)
ATTRIBUTES = st.sampled_from(
    ["", ' file="/nonexistent"', " file=''", ' a="1"', ' xmlns="u"']
)
ELEMENTS = st.recursive(
    st.builds("<{0}{1}>{2}</{0}>".format, NAMES, ATTRIBUTES, TEXTS),
    lambda inner: st.builds(
        lambda name, parts: f"<{name}>{''.join(parts)}</{name}>",
        NAMES,
        st.lists(inner, max_size=5),
    ),
    max_leaves=12,
)
QUIET = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(st.binary(max_size=200))
def test_any_bytes(write: Write, data: bytes) -> None:
    """Arbitrary bytes are read or refused with ConfigError, one line a problem."""
    read_or_refuse(write(data))


@QUIET
@given(st.lists(ELEMENTS, max_size=6))
def test_any_xml(write: Write, elements: list[str]) -> None:
    """Any arrangement of our names and odd values is read or refused likewise."""
    read_or_refuse(write(f"<agent>{''.join(elements)}</agent>"))


@QUIET
@given(st.integers(0, 9000), st.integers(0, 9000), st.binary(max_size=3))
def test_any_damage(write: Write, start: int, end: int, patch: bytes) -> None:
    """The example with any part replaced is read or refused likewise."""
    data = EXAMPLE.read_bytes()
    read_or_refuse(write(data[:start] + patch + data[max(start, end) :]))


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("", "/var/lib/contrail/ports"),
        ("<contrail-ports-directory>off</contrail-ports-directory>", None),
        ("<contrail-ports-directory>/c</contrail-ports-directory>", "/c"),
        ("<state-directory>/s</state-directory>", None),
        (
            "<state-directory>/s</state-directory>"
            "<contrail-ports-directory>/c</contrail-ports-directory>",
            "/c",
        ),
    ],
)
def test_contrails_ports_are_those_of_the_hosts_own_agent(
    write: Callable[[str], Path], text: str, folder: str | None
) -> None:
    """One with another state directory has them only if it is told to."""
    config = read_config(write(f"<agent>{text}</agent>")).config
    assert (None if folder is None else Path(folder)) == config.contrail_ports
    again = read_config(write(dump_config(config))).config
    assert config.contrail_ports == again.contrail_ports
