"""Promises on what values mean together, and on the files that they name."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from vagent.config.model import ClientTls, Listen, MetadataServerConfig, Secret
from vagent.config.pem_files import MAX_PEM
from vagent.config.read import Loaded, read_config
from vagent.config.shared_secret import MAX_SECRET
from vagent.datapath.names import Names
from vagent.errors import ConfigError

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read `<agent>` with the given content and file mode."""

    def read(content: str, mode: int = 0o600) -> Loaded:
        path = tmp_path / "agent.conf"
        path.write_text(f"<agent>{content}</agent>")
        path.chmod(mode)
        return read_config(path)

    return read


def refusals(load: Load, content: str) -> list[str]:
    """`path: what` of each problem, without the root."""
    with pytest.raises(ConfigError) as caught:
        load(content)
    found = caught.value.problems
    return [f"{each.path.removeprefix('/agent/')}: {each.what}" for each in found]


def warnings(loaded: Loaded) -> list[str]:
    return [
        f"{each.path.removeprefix('/agent/')}: {each.what}" for each in loaded.warnings
    ]


INLINE = "<shared-secret>x</shared-secret>"


def proxy(content: str, secret: str = INLINE) -> str:
    return f"<metadata-proxy>{secret}{content}</metadata-proxy>"


def server(content: str) -> str:
    enabled = "<enabled>true</enabled>"
    return proxy("") + f"<metadata-server>{enabled}{content}</metadata-server>"


def put(path: Path, data: bytes = b"", mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


# -- secrets


def test_an_empty_secret_is_a_warning(load: Load) -> None:
    """Absent, empty and blank are the empty key, allowed as in Contrail."""
    for content in (
        "",
        "<metadata-proxy><shared-secret/></metadata-proxy>",
        proxy("", ""),
    ):
        loaded = load(content, mode=0o644)
        assert loaded.config.metadata_proxy.shared_secret.value == b""
        (told,) = warnings(loaded)
        assert told == (
            "metadata-proxy/shared-secret: no secret: X-Instance-ID-Signature is "
            "computed with the empty key, and nova-api cannot tell the agent from "
            "anybody else"
        )


@pytest.mark.parametrize(
    ("mode", "count"), [(0o600, 0), (0o640, 1), (0o604, 1), (0o644, 1), (0o620, 0)]
)
def test_an_inline_secret_wants_a_private_file(
    load: Load, mode: int, count: int
) -> None:
    """agent.conf with a secret that the group or others may read is a warning."""
    told = warnings(load(proxy(""), mode=mode))
    assert [f"mode {mode:04o}" in each for each in told] == [True] * count
    assert "x;" not in "".join(told)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"abc", b"abc"),
        (b"abc\n", b"abc"),
        (b"abc\r\n", b"abc"),
        (b"abc\n\n", b"abc\n"),
        (b"abc\r", b"abc\r"),
        (b" \xff\x00 \n", b" \xff\x00 "),
    ],
)
def test_a_secret_file(
    load: Load, tmp_path: Path, data: bytes, expected: bytes
) -> None:
    """The file's bytes are the secret, less one newline at the end."""
    path = put(tmp_path / "secret", data)
    loaded = load(proxy("", f'<shared-secret file=" {path} "/>'), mode=0o644)
    assert expected == loaded.config.metadata_proxy.shared_secret.value
    assert loaded.warnings == ()


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 0), (0o604, 1)])
def test_a_world_readable_secret_file_is_a_warning(
    load: Load, tmp_path: Path, mode: int, count: int
) -> None:
    """Others may not read the secret; the group may, as a service's group does."""
    path = put(tmp_path / "secret", b"s3cr3t", mode)
    told = warnings(load(proxy("", f'<shared-secret file="{path}"/>')))
    assert [True] * count == ["world-readable" in each for each in told]
    assert "s3cr3t" not in "".join(told)


def test_an_empty_secret_file_is_a_warning(load: Load, tmp_path: Path) -> None:
    """A file that holds nothing is no secret."""
    path = put(tmp_path / "secret", b"\n")
    (told,) = warnings(load(proxy("", f'<shared-secret file="{path}"/>')))
    assert "no secret" in told


def test_secret_ceilings(load: Load, tmp_path: Path) -> None:
    """4096 bytes are taken, from the file or inline; one more is refused, not shown."""
    path = put(tmp_path / "secret", b"x" * MAX_SECRET + b"\r\n")
    by_file = proxy("", f'<shared-secret file="{path}"/>')
    assert len(load(by_file).config.metadata_proxy.shared_secret.value) == MAX_SECRET
    for data in (b"x" * (MAX_SECRET + 1), b"x" * MAX_SECRET * 2):
        path.write_bytes(data)
        (told,) = refusals(load, by_file)
        assert told.endswith("is too large; allowed: 4096 bytes")
    wide = "é" * (MAX_SECRET // 2)
    inline = proxy("", f"<shared-secret>{wide}</shared-secret>")
    assert len(load(inline).config.metadata_proxy.shared_secret.value) == MAX_SECRET
    (told,) = refusals(load, proxy("", f"<shared-secret>{wide}a</shared-secret>"))
    assert told == "metadata-proxy/shared-secret: too long; allowed: 4096 bytes"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ('<shared-secret file="/nonexistent/s"/>', "No such file or directory"),
        ('<shared-secret file="/"/>', "Is a directory"),
        ('<shared-secret file="s"/>', "got 's'; allowed: an absolute path"),
        ('<shared-secret file=""/>', "got ''; allowed: an absolute path"),
        ('<shared-secret file="/etc/hostname">s3cr3t</shared-secret>', "one of them"),
    ],
)
def test_secret_files_that_are_refused(load: Load, secret: str, expected: str) -> None:
    """A file that cannot be read is an error at the attribute; no secret is told."""
    (told,) = refusals(load, proxy("", secret))
    assert told.startswith("metadata-proxy/shared-secret/@file: ")
    assert expected in told
    assert "s3cr3t" not in told


def test_the_mask_as_a_secret_is_a_warning(load: Load) -> None:
    """A dump that was saved as agent.conf is noticed."""
    loaded = load(proxy("", "<shared-secret>***</shared-secret>"))
    assert Secret(b"***") == loaded.config.metadata_proxy.shared_secret
    assert "--dump-config" in warnings(loaded)[0]


# -- TLS to nova-api


def tls_elements(directory: Path) -> str:
    return (
        f"<client-cert>{directory}/c</client-cert><client-key>{directory}/k</client-key>"
        f"<ca-cert>{directory}/a</ca-cert>"
    )


def test_use_ssl(load: Load, tmp_path: Path) -> None:
    """With all three files the client side of TLS is set."""
    paths = [put(tmp_path / name) for name in "cka"]
    loaded = load(proxy("<use-ssl>true</use-ssl>" + tls_elements(tmp_path)))
    assert ClientTls(*paths) == loaded.config.metadata_proxy.tls
    assert loaded.warnings == ()


def test_use_ssl_needs_all_files(load: Load) -> None:
    """Each file that is not named is told; an empty element names none."""
    told = refusals(load, proxy("<use-ssl>true</use-ssl><ca-cert/>"))
    what = "no file is named; needed because use-ssl is true"
    names = ("client-cert", "client-key", "ca-cert")
    assert [f"metadata-proxy/{name}: {what}" for name in names] == told


def test_use_ssl_needs_readable_files(load: Load, tmp_path: Path) -> None:
    """A file that is missing, a directory or beyond reason is told with its path."""
    (tmp_path / "c").mkdir()
    put(tmp_path / "k", b"x" * (MAX_PEM + 1))
    told = refusals(load, proxy("<use-ssl>true</use-ssl>" + tls_elements(tmp_path)))
    assert [
        f"metadata-proxy/client-cert: cannot read '{tmp_path}/c': Is a directory"[:60],
        f"metadata-proxy/client-key: '{tmp_path}/k' is too large"[:60],
        f"metadata-proxy/ca-cert: cannot read '{tmp_path}/a': No such file"[:60],
    ] == [each[:60] for each in told]


def test_a_refused_path_is_told_once(load: Load, tmp_path: Path) -> None:
    """A path that the grammar refused is not also missing."""
    put(tmp_path / "c")
    put(tmp_path / "k")
    elements = tls_elements(tmp_path).replace(f"{tmp_path}/a", "relative")
    (told,) = refusals(load, proxy("<use-ssl>true</use-ssl>" + elements))
    assert told.startswith("metadata-proxy/ca-cert: got 'relative'")


def test_a_pem_file_at_the_ceiling(load: Load, tmp_path: Path) -> None:
    """A file of exactly the ceiling is taken."""
    for name in "cka":
        put(tmp_path / name, b"x" * MAX_PEM)
    loaded = load(proxy("<use-ssl>true</use-ssl>" + tls_elements(tmp_path)))
    assert loaded.config.metadata_proxy.tls is not None


def test_files_without_use_ssl_are_a_warning(load: Load) -> None:
    """Files that are given and not used are told; they need not exist."""
    for switch in ("", "<use-ssl>false</use-ssl>"):
        folders = "<upstream-tls>/nonexistent</upstream-tls>"
        loaded = load(proxy(switch + tls_elements(Path("/nonexistent")) + folders))
        assert loaded.config.metadata_proxy.tls is None
        assert warnings(loaded) == [
            "metadata-proxy/client-cert: use-ssl is not true, so these are not used: "
            "client-cert, client-key, ca-cert, upstream-tls"
        ]


def test_files_beside_a_wrong_use_ssl_are_not_told(load: Load, tmp_path: Path) -> None:
    """Whether they are used is not known then: one mistake is one message."""
    elements = "<use-ssl>perhaps</use-ssl>" + tls_elements(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(proxy(elements))
    assert ["use-ssl"] == [one.path.split("/")[-1] for one in caught.value.problems]
    assert "so these are not used" not in str(caught.value)


def test_a_world_readable_key_is_a_warning(load: Load, tmp_path: Path) -> None:
    """A private key is a secret; certificates are not."""
    for name in "cka":
        put(tmp_path / name, mode=0o644)
    told = warnings(load(proxy("<use-ssl>true</use-ssl>" + tls_elements(tmp_path))))
    assert [each.split(":")[0] for each in told] == ["metadata-proxy/client-key"]


# -- flows


@pytest.mark.parametrize(
    ("system", "guest", "expected"),
    [
        (None, None, (16384, 2048)),
        (100, 99, (100, 99)),
        (100, 100, (100, 100)),
        (100, None, (100, 100)),
        (2049, None, (2049, 2048)),
        (None, 16384, (16384, 16384)),
    ],
)
def test_flows(
    load: Load, system: int | None, guest: int | None, expected: tuple[int, int]
) -> None:
    """The guest's limit is at most the host's; its default follows."""
    flows = load(flow_elements(system, guest)).config.linklocal_flows
    assert expected == (flows.max_system_flows, flows.max_vm_flows)


def flow_elements(system: int | None, guest: int | None) -> str:
    one = f"<max-system-flows>{system}</max-system-flows>" if system else ""
    two = f"<max-vm-flows>{guest}</max-vm-flows>" if guest else ""
    return f"<linklocal-flows>{one}{two}</linklocal-flows>"


def test_a_guest_has_no_more_flows_than_the_host(load: Load) -> None:
    """One more than max-system-flows, given or by default, is an error."""
    for system, guest in ((100, 101), (None, 16385)):
        (told,) = refusals(load, flow_elements(system, guest))
        allowed = f"allowed: at most max-system-flows, which is {guest - 1}"
        assert f"linklocal-flows/max-vm-flows: got {guest}; {allowed}" == told


def test_a_refused_limit_is_told_once(load: Load) -> None:
    """The rule between two values waits until both are sound."""
    text = flow_elements(None, 20000).replace(
        "<max-vm", "<max-system-flows>0</max-system-flows><max-vm"
    )
    assert len(refusals(load, text)) == 1


# -- checks of endpoints


def check_elements(interval: str, timeout: str) -> str:
    one = f"<interval>{interval}</interval>" if interval else ""
    two = f"<timeout>{timeout}</timeout>" if timeout else ""
    return f"<endpoint-check>{one}{two}</endpoint-check>"


@pytest.mark.parametrize(
    ("interval", "timeout", "expected"),
    [("", "", 2.0), ("1", "", 1.0), ("1", "1", 1.0), ("", "5", 5.0)],
)
def test_a_check_ends_before_the_next(
    load: Load, interval: str, timeout: str, expected: float
) -> None:
    """The time-out is at most the interval; its default follows."""
    config = load(check_elements(interval, timeout)).config
    assert expected == config.endpoint_check.timeout


def test_a_check_that_outlives_its_interval_is_refused(load: Load) -> None:
    """Given both, and against the default; not told twice where one is wrong anyway."""
    for interval, most in (("3", "3"), ("", "5")):
        (told,) = refusals(load, check_elements(interval, "5.5"))
        allowed = f"allowed: at most interval, which is {most}"
        assert f"endpoint-check/timeout: got 5.5; {allowed}" == told
    assert len(refusals(load, check_elements("0.1", "7"))) == 1


# -- identity range


@pytest.mark.parametrize(
    "text",
    [
        "10.1.0.0/16",
        "172.16.0.0/20",
        "192.168.1.0/24",
        "169.254.0.0/17",
        "172.31.0.0/16",
    ],
)
def test_identity_ranges(load: Load, text: str) -> None:
    """Private and link-local networks from /16 (an index has 16 bits) to /24."""
    content = f"<data-path><identity-range>{text}</identity-range></data-path>"
    assert IPv4Network(text) == load(content).config.data_path.identity_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/15", "length 15"),
        ("192.168.1.0/25", "length 25"),
        ("11.0.0.0/16", "neither private nor link-local"),
        ("172.15.0.0/16", "neither private nor link-local"),
        ("100.64.0.0/16", "neither private nor link-local"),
        ("127.0.0.0/16", "neither private nor link-local"),
        ("224.0.0.0/16", "neither private nor link-local"),
        ("169.254.0.0/16", "it contains 169.254.169.254"),
        ("169.254.169.0/24", "it contains 169.254.169.254"),
        ("169.254.64.1/18", "that is an address in 169.254.64.0/18, not a network"),
    ],
)
def test_identity_ranges_that_are_refused(load: Load, text: str, expected: str) -> None:
    """Each refusal says what is wrong and what is allowed."""
    content = f"<data-path><identity-range>{text}</identity-range></data-path>"
    (told,) = refusals(load, content)
    assert told.startswith(
        f"data-path/identity-range: got {text}: {expected}; allowed: "
    )


# -- uplink


def uplink(text: str, more: str = "") -> str:
    """A data path with this uplink."""
    return f"<data-path><uplink>{text}</uplink>{more}</data-path>"


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/31", "172.16.0.2/31", "192.168.255.254/31", "169.254.0.0/31",
     "169.254.63.254/31", "169.254.128.0/31", "169.254.169.252/31"],
)  # fmt: skip
def test_uplinks(load: Load, text: str) -> None:
    """Two private or link-local addresses beside the identity range."""
    assert IPv4Network(text) == load(uplink(text)).config.data_path.uplink


def test_the_default_uplink_is_outside_of_the_identity_range(load: Load) -> None:
    """Whatever range is given; a range that has the usual one moves it."""
    for given, expected in (("64.0/18", "0.0/31"), ("0.0/17", "255.0/31")):
        element = f"<identity-range>169.254.{given}</identity-range>"
        config = load(f"<data-path>{element}</data-path>").config
        assert IPv4Network(f"169.254.{expected}") == config.data_path.uplink


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/30", "length 30"),
        ("10.0.0.0/32", "length 32"),
        ("10.0.0.1/31", "that is the second address of 10.0.0.0/31"),
        ("11.0.0.0/31", "neither private nor link-local"),
        ("172.32.0.0/31", "neither private nor link-local"),
        ("127.0.0.0/31", "neither private nor link-local"),
        ("100.64.0.0/31", "neither private nor link-local"),
        ("169.254.64.0/31", "it lies in the identity range 169.254.64.0/18"),
        ("169.254.127.254/31", "it lies in the identity range 169.254.64.0/18"),
        ("169.254.169.254/31", "it contains 169.254.169.254"),
    ],
)
def test_uplinks_that_are_refused(load: Load, text: str, expected: str) -> None:
    """Each refusal says what is wrong and what is allowed."""
    (told,) = refusals(load, uplink(text))
    assert told.startswith(f"data-path/uplink: got {text}: {expected}; allowed: ")
    assert "two addresses (length 31)" in told


def test_an_uplink_is_beside_the_identity_range_that_is_given(load: Load) -> None:
    """Not beside the default one."""
    more = "<identity-range>10.1.0.0/16</identity-range>"
    (told,) = refusals(load, uplink("10.1.3.4/31", more))
    assert "it lies in the identity range 10.1.0.0/16" in told
    config = load(uplink("169.254.64.2/31", more)).config
    assert IPv4Network("169.254.64.2/31") == config.data_path.uplink


def test_a_namespace_is_named_like_the_rest(load: Load) -> None:
    """Unless it has a name of its own."""
    for text, expected in (
        ("<name>x</name>", "x"),
        ("<name>x</name><namespace/>", "x"),
        ("<name>x</name><namespace>Y-1</namespace>", "Y-1"),
    ):
        config = load(f"<data-path>{text}</data-path>").config.data_path
        names = Names.of(config, listener_port=8097, guest_rate=1)
        assert expected == names.namespace


# -- servers


def listen(name: str, address: str, port: int, access: str = "") -> str:
    content = f"<address>{address}</address><port>{port}</port>{access}"
    return f"<{name}>{content}</{name}>"


@pytest.fixture
def token(tmp_path: Path) -> str:
    """`<access>` that any address may have."""
    file = put(tmp_path / "token", b"0123456789abcdef\n")
    return f'<access file="{file}">token</access>'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            listen("port-api", "127.0.0.1", 8082),
            "port-api/port: <config-api> at 127.0.0.1:8082 meets <port-api>",
        ),
        (
            listen("introspect", "0.0.0.0", 9091, "TOKEN"),
            "introspect/port: <introspect> at 0.0.0.0:9091 meets <port-api>",
        ),
        (
            listen("introspect", "0.0.0.0", 8097, "TOKEN"),
            "introspect/port: <introspect> at 0.0.0.0:8097 meets <metadata-proxy>",
        ),
        (
            proxy("<port>9091</port>")
            + "<port-api><address>0.0.0.0</address>TOKEN</port-api>",
            "metadata-proxy/port: <port-api> at 0.0.0.0:9091 meets <metadata-proxy>",
        ),
        (
            server("<port>8085</port>"),
            "metadata-server/port: "
            "<metadata-server> at 127.0.0.1:8085 meets <introspect>",
        ),
    ],
)
def test_servers_that_meet(load: Load, token: str, content: str, expected: str) -> None:
    """Two servers on one address and port are an error where it can be mended."""
    content = content.replace("TOKEN", token)
    assert [f"{expected}; allowed: a port of its own"] == refusals(load, content)


@pytest.mark.parametrize(
    "content",
    [
        listen("introspect", "127.0.0.2", 9091),
        listen("introspect", "127.0.0.1", 8097),
        "<metadata-server><port>8085</port></metadata-server>",
    ],
)
def test_servers_that_do_not_meet(load: Load, content: str) -> None:
    """Other addresses, and a server that is not enabled, are out of the way."""
    load(content)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("224.0.0.1", "a unicast address"),
        ("255.255.255.255", "a unicast address"),
        ("169.254.169.254", "an address of this host"),
        ("169.254.64.0", "an address of this host"),
        ("169.254.127.255", "an address of this host"),
    ],
)
def test_addresses_that_are_refused(load: Load, address: str, expected: str) -> None:
    """The operator's servers stay away from what guests can reach."""
    (told,) = refusals(load, listen("config-api", address, 1))
    assert told.startswith(f"config-api/address: got {address}")
    assert f"allowed: {expected}" in told


def test_addresses_beside_the_identity_range(load: Load, token: str) -> None:
    """The range's neighbours are allowed."""
    for address in ("169.254.63.255", "169.254.128.0", "0.0.0.0", "192.0.2.1"):
        load(listen("config-api", address, 1, token))


def test_a_refused_address_is_told_once(load: Load) -> None:
    """A server whose address or port was refused is not compared with others."""
    text = "<introspect><address>x</address><port>9091</port></introspect>"
    assert len(refusals(load, text)) == 1


# -- the embedded metadata server


def test_the_metadata_server_is_off_by_default(load: Load) -> None:
    """Without enabled, nothing of it is used: no file is opened, no TLS asked for."""
    text = (
        "<metadata-server><address>0.0.0.0</address><server-cert>/none</server-cert>"
        '<shared-secret file="/none"/></metadata-server>'
    )
    assert load(text).config.metadata_server is None


def test_the_metadata_server_has_the_secret_of_the_proxy(load: Load) -> None:
    """An absent or empty secret is the proxy's; another one is its own."""
    for element, expected in (
        ("", b"x"),
        ("<shared-secret/>", b"x"),
        ("<shared-secret>own</shared-secret>", b"own"),
    ):
        loaded = load(server(element))
        expected_server = MetadataServerConfig(shared_secret=Secret(expected))
        assert expected_server == loaded.config.metadata_server


def test_the_directory_of_instances(load: Load, tmp_path: Path) -> None:
    """One that cannot be read is a warning, as it may come; none is the default."""

    def read(element: str) -> tuple[Path | None, list[str]]:
        loaded = load(server(element))
        assert loaded.config.metadata_server is not None
        return loaded.config.metadata_server.instance_directory, warnings(loaded)

    named = "<instance-directory>{}</instance-directory>"
    assert (None, []) == read("") == read(named.format(""))
    assert (tmp_path, []) == read(named.format(tmp_path))
    missing = Path("/no/such/directory")
    found, (told,) = read(named.format(missing))
    assert missing == found
    assert told == (
        f"metadata-server/instance-directory: cannot read '{missing}': No such file or"
        " directory; it is looked for again while the agent runs"
    )


def test_plain_http_stays_on_loopback(load: Load) -> None:
    """Any other address takes all three TLS files."""
    loaded = load(server("<address>127.9.9.9</address>"))
    assert loaded.config.metadata_server is not None
    expected_listen = Listen(IPv4Address("127.9.9.9"), 8775)
    assert expected_listen == loaded.config.metadata_server.listen
    for address in ("0.0.0.0", "192.0.2.1"):
        told = refusals(load, server(f"<address>{address}</address>"))
        why = f"needed because the server listens on {address}, which is not loopback"
        assert [
            each.split(":")[0].removeprefix("metadata-server/") for each in told
        ] == ["server-cert", "server-key", "client-ca"]
        assert all(why in each for each in told)


def test_server_tls_is_whole_or_absent(load: Load, tmp_path: Path) -> None:
    """One file asks for the other two, on loopback as well."""
    put(tmp_path / "k")
    told = refusals(load, server(f"<server-key>{tmp_path}/k</server-key>"))
    assert [each.split(":")[0] for each in told] == [
        "metadata-server/server-cert",
        "metadata-server/client-ca",
    ]
    all_three = "server-cert, server-key, client-ca"
    assert f"server-key is given, and TLS takes all of: {all_three}" in told[0]


# -- session tokens


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (proxy(""), "off"),
        (server(""), "optional"),
        (
            server("").replace(INLINE, f"{INLINE}<session-tokens>off</session-tokens>"),
            "off",
        ),
        (proxy("<session-tokens>required-ec2</session-tokens>"), "required-ec2"),
    ],
)
def test_tokens_are_optional_where_the_embedded_server_answers(
    load: Load, content: str, expected: str
) -> None:
    """Amazon's clients want them, and no client is broken by their being optional. In
    front of nova-api nothing is answered that Nova would not answer, unless asked for.
    """
    assert expected == load(content).config.metadata_proxy.session_tokens
