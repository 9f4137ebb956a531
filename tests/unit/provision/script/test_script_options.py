"""The command line of provision_linklocal.py."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.script import options as script_options
from provision.script.flags import ADMIN_API
from provision.script.keystone import Credentials
from provision.script.options import Options, read_options
from vagent.linklocal.codec import MAX_FABRIC_ADDRESSES, wire_entry
from vagent.web.json_client import ApiAddress, SocketAddress

NAME = ("--linklocal_service_name", "metadata")
FULL = (
    *NAME,
    *("--linklocal_service_ip", "169.254.169.254", "--linklocal_service_port", "80"),
    *("--ipfabric_service_ip", "10.0.0.5", "--ipfabric_service_port", "8775"),
)


@pytest.fixture(autouse=True)
def _no_agent_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on the machine of these tests."""
    monkeypatch.setattr(script_options, "AGENT_SOCKET", tmp_path / "none")


def usage_error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as caught:
        read_options(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_defaults() -> None:
    """Contrail's defaults; what is unset is sent as Contrail sends it."""
    options = read_options(NAME)
    assert options == Options(
        api=ApiAddress("127.0.0.1", 8082),
        basic_auth=False,
        credentials=Credentials("user1", "password1", "admin"),
        delete=False,
        entry=wire_entry(name="metadata"),
    )


def test_full() -> None:
    """Every flag finds its place."""
    options = read_options(
        [
            *FULL,
            *("--ipfabric_dns_service_name", "nova", "--api_server_ip", "10.0.0.9"),
            *("--api_server_port", "443", "--api_server_use_ssl", "True"),
            *("--admin_user", "u", "--admin_password", "p", "--admin_tenant_name", "t"),
            *("--oper", "add"),
        ]
    )
    assert options.api == ApiAddress("10.0.0.9", 443, tls=True)
    assert options.credentials == Credentials("u", "p", "t")
    assert options.entry == wire_entry(
        name="metadata",
        address="169.254.169.254",
        port=80,
        fabric_addresses=["10.0.0.5"],
        fabric_port=8775,
        fabric_dns_name="nova",
    )
    assert not options.force


@pytest.mark.parametrize(
    "argv",
    [
        ("--ipfabric_service_ip", "10.0.0.1", "--ipfabric_service_ip", "10.0.0.2"),
        ("--ipfabric_service_ip", "10.0.0.1,10.0.0.2"),
        ("--ipfabric_service_ip", "10.0.0.1 10.0.0.2"),
        ("--ipfabric_service_ip", "10.0.0.1", "10.0.0.2"),
        ("--ipfabric_service_ip", "10.0.0.1, 10.0.0.2,"),
    ],
)
def test_several_fabric_addresses(argv: tuple[str, ...]) -> None:
    """Several addresses: repeated, or separated by comma or blank."""
    entry = read_options([*NAME, *argv]).entry
    assert entry["ip_fabric_service_ip"] == ["10.0.0.1", "10.0.0.2"]


def test_values_with_blanks() -> None:
    """Values may contain blanks (Contrail's script splits them)."""
    options = read_options(
        ["--linklocal_service_name", "my ntp", "--admin_password", "two words"]
    )
    assert options.entry["linklocal_service_name"] == "my ntp"
    assert options.credentials.password == "two words"


def test_delete_needs_only_a_name() -> None:
    """For delete nothing else is checked."""
    options = read_options([*NAME, "--oper", "delete", "--linklocal_service_ip", "x"])
    assert options.delete


def test_force_is_on_the_command_line_alone(tmp_path: Path) -> None:
    """An ini file would force every change."""
    ini = tmp_path / "conf.ini"
    ini.write_text("[DEFAULTS]\nforce = True\n")
    assert not read_options([*NAME, "-c", str(ini)]).force
    assert read_options([*NAME, "--force"]).force


def test_admin_api() -> None:
    """The admin API is fixed to its port, without TLS."""
    options = read_options([*NAME, "--use_admin_api", "--api_server_use_ssl", "yes"])
    assert (options.api, options.basic_auth) == (ADMIN_API, True)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ((), "--linklocal_service_name is required"),
        ((*NAME, "--oper", "remove"), "invalid choice: 'remove'"),
        ((*NAME, "--api_server_ip", "x", "--use_admin_api"), "not allowed with"),
        ((*NAME, "--api_server_port", "0"), "'0' is not a port"),
        ((*NAME, "--api_server_port", "65536"), "'65536' is not a port"),
        ((*NAME, "--api_server_use_ssl", "maybe"), "neither True nor False"),
        ((*NAME, "--linklocal_service_ip", "127.0.0.1"), "not a unicast address"),
        ((*NAME, "--linklocal_service_ip", ""), "'' is not an IP address"),
        ((*NAME, "--linklocal_service_port", "x"), "invalid int value: 'x'"),
        ((*NAME, "--linklocal_service_port", "0"), "port 0 is not a port (1–65535)"),
        ((*NAME, "--linklocal_service_port", "65536"), "port 65536 is not a port"),
        ((*NAME, "--ipfabric_service_port", "-1"), "port -1 is not a port"),
        ((*NAME, "--ipfabric_service_ip", "nova"), "'nova' is not an IP address"),
        ((*NAME, "--ipfabric_dns_service_name", "a b"), "--ipfabric_dns_service_name"),
        (("--linklocal_service_name", "x" * 256), "256 characters (at most 255)"),
        (("--linklocal_service_name", "a\nb"), "not allowed"),
        ((*NAME, "--unknown"), "unrecognized arguments"),
    ],
)
def test_refused(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], text: str
) -> None:
    """Wrong values are usage errors that name flag and value, before any call."""
    assert text in usage_error(capsys, *argv)


def test_all_problems_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """One run tells everything that is wrong."""
    text = usage_error(
        capsys,
        *NAME,
        *("--linklocal_service_ip", "x", "--linklocal_service_port", "0"),
        *("--ipfabric_service_ip", "y,0.0.0.0", "--ipfabric_service_port", "0"),
    )
    assert text.count("--linklocal_service_") == 2 + 1  # and the usage line
    assert text.count("--ipfabric_service_") == 3


@pytest.mark.parametrize("port", ["1", "65535"])
def test_port_limits(port: str) -> None:
    """The limits themselves are ports."""
    options = read_options([*NAME, "--api_server_port", port, *FULL[4:5], port])
    assert ApiAddress("127.0.0.1", int(port)) == options.api
    assert int(port) == options.entry["linklocal_service_port"]


def test_fabric_ceiling(capsys: pytest.CaptureFixture[str]) -> None:
    """64 addresses are taken, 65 are not."""
    texts = [f"10.0.0.{n}" for n in range(MAX_FABRIC_ADDRESSES + 1)]
    for count in (MAX_FABRIC_ADDRESSES - 1, MAX_FABRIC_ADDRESSES):
        read_options([*NAME, "--ipfabric_service_ip", *texts[:count]])
    text = usage_error(capsys, *NAME, "--ipfabric_service_ip", *texts)
    assert "65 (at most 64)" in text


def ini(tmp_path: Path, text: str) -> tuple[str, str]:
    path = tmp_path / "provision.ini"
    path.write_text(text)
    return "--conf_file", str(path)


def test_conf_file(tmp_path: Path) -> None:
    """The ini file gives defaults; the command line wins; other keys do nothing."""
    conf = ini(
        tmp_path,
        "[DEFAULTS]\napi_server_ip = 10.0.0.9\napi_server_port = 9999\n"
        "linklocal_service_name = metadata\nlinklocal_service_port = 81\n"
        "ipfabric_service_ip = 10.0.0.1, 10.0.0.2\noper = delete\nhost_name = x\n"
        "[KEYSTONE]\nadmin_user = u\nadmin_password = p\nadmin_tenant_name = t\n",
    )
    options = read_options([*conf, "--api_server_port", "8888", "--oper", "add"])
    assert options.api == ApiAddress("10.0.0.9", 8888)
    assert options.credentials == Credentials("u", "p", "t")
    assert options.entry["linklocal_service_port"] == 81
    assert options.entry["ip_fabric_service_ip"] == ["10.0.0.1", "10.0.0.2"]
    assert options.delete is False
    assert read_options(conf).delete is True


def test_conf_file_admin_api(tmp_path: Path) -> None:
    """Flags without value are True or False in the file."""
    conf = ini(tmp_path, "[DEFAULTS]\nuse_admin_api = True\n")
    assert read_options([*NAME, *conf]).basic_auth
    conf = ini(tmp_path, "[DEFAULTS]\nuse_admin_api = False\n")
    assert not read_options([*NAME, *conf]).basic_auth


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[KEYSTONE]\nadmin_user = u\n", "DEFAULTS"),
        ("password = hidden", "line 1: no [section] before it"),
        ("[DEFAULTS]\nuse_admin_api = perhaps\n", "neither True nor False"),
        ("[DEFAULTS]\nadmin_password = %hidden\n", "admin_password: write a % as %%"),
        ("[DEFAULTS]\npassword hidden\n", "line 2 is neither [section]"),
        ("[DEFAULTS]\nx = 1\nx = hidden\n", "option 'x'"),
        ("[DEFAULTS]\noper = remove\n", "'remove' is neither add nor delete"),
        ("[DEFAULTS]\napi_server_port = x\n", "'x' is not a port"),
    ],
)
def test_conf_file_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, text: str
) -> None:
    """A bad file is a usage error that says what is bad, but repeats no value."""
    message = usage_error(capsys, *NAME, *ini(tmp_path, content))
    assert text in message
    assert "hidden" not in message


def test_conf_file_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is a usage error, not an empty file."""
    text = usage_error(capsys, *NAME, "-c", str(tmp_path / "absent.ini"))
    assert "No such file" in text


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help has an example, the ini file and the exit codes."""
    with pytest.raises(SystemExit) as caught:
        read_options(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "[DEFAULTS]" in text
    assert "exit codes: 0 done" in text


def test_password_hidden() -> None:
    """No repr shows the password."""
    assert "password1" not in repr(read_options(NAME))


@pytest.fixture
def agent_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The config API of an agent on this host."""
    path = tmp_path / "config-api.sock"
    monkeypatch.setattr(script_options, "AGENT_SOCKET", path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield path


def test_the_agent_of_this_host(agent_socket: Path) -> None:
    """By its socket, if no server is named."""
    assert SocketAddress(agent_socket) == read_options(NAME).api


@pytest.mark.parametrize(
    ("flags", "address"),
    [
        (("--api_server_ip", "127.0.0.1"), ApiAddress("127.0.0.1", 8082)),
        (("--api_server_port", "8082"), ApiAddress("127.0.0.1", 8082)),
        (("--api_server_use_ssl", "True"), ApiAddress("127.0.0.1", 8082, tls=True)),
        (("--use_admin_api",), ApiAddress("127.0.0.1", 8095)),
    ],
)
def test_a_server_that_is_named(
    agent_socket: Path, flags: tuple[str, ...], address: ApiAddress
) -> None:
    """Is called over TCP, whatever agent runs here."""
    assert address == read_options([*NAME, *flags]).api


def test_the_token_file() -> None:
    """From the command line, or from the ini file as every flag; none by default."""
    assert None is read_options(NAME).token_file
    assert "/t" == read_options([*NAME, "--api_token_file", "/t"]).token_file
