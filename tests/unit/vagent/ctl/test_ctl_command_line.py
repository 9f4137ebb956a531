"""Promises of vagentctl: what it asks, what it shows, how it ends. No socket: a server
in memory stands in for `http.client`'s connection (the system test has a real one).
"""

from __future__ import annotations

import base64
import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from vagent.config.model import AgentConfig, OperatorApi
from vagent.ctl import command_line as ctl
from vagent.ctl import session as ctl_session

PORT = "93c2c386-6e79-485e-bfa4-b9daa713133b"
VM = "32d0524b-314d-4594-b3a3-607e3f2354f8"
SHOWN = {
    "id": PORT,
    "system-name": "tap1",
    "display-name": "w\x1b[2Jeb",
    "state": "Active",
}
XML = b'<?xml-stylesheet type="text/xsl" href="/universal_parse.xsl"?>'


class Reply(io.BytesIO):
    status = 200
    length = None

    def getheaders(self) -> list[tuple[str, str]]:
        return []


class Wire:
    """Answers by (method, path); remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.where: list[tuple[str, int]] = []
        self.fault: Exception | None = None

    def __call__(self, host: str, port: int, timeout: float) -> Wire:
        self.where.append((host, port))
        return self

    def request(self, method: str, path: str, body: Any, headers: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.asked.append((method, path, json.loads(body) if body else None))

    def getresponse(self) -> Reply:
        method, path, _body = self.asked[-1]
        answer = self.answers.get((method, path), (404, b'{"error":"{ Not Found }"}'))
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        reply = Reply(
            content if isinstance(content, bytes) else json.dumps(content).encode()
        )
        reply.status = status
        return reply

    def close(self) -> None:
        pass


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wire:
    """The other side, and no agent.conf of this machine."""
    wire = Wire()
    monkeypatch.setattr(http.client, "HTTPConnection", wire)
    monkeypatch.setattr(ctl_session, "DEFAULT_CONFIG", tmp_path / "absent.conf")
    monkeypatch.setattr(ctl_session, "found_at", lambda _path: False)
    return wire


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(wire: Wire) -> Run:
    """Run vagentctl; exit code, stdout, stderr."""

    def run(*argv: str, stdin: str = "") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        code = ctl.main(argv, stdin=io.StringIO(stdin), stdout=out, stderr=err)
        return code, out.getvalue(), err.getvalue()

    return run


def test_port_add_sends_contrails_object(run: Run, wire: Wire) -> None:
    """Everything that the API demands, from the few things that nobody can guess."""
    wire.answers["POST", "/port"] = {}
    wire.answers["GET", f"/port/{PORT}"] = SHOWN
    code, out, _err = run(
        "port", "add", "--uuid", PORT.upper(), "--instance", VM, "--tap", "tap1",
        "--mac", "02:00:00:00:00:01", "--ip", "10.0.0.5", "--tenant", VM,
    )  # fmt: skip
    assert code == 0
    method, path, body = wire.asked[0]
    assert (method, path) == ("POST", "/port")
    assert body == {
        "id": PORT,
        "instance-id": VM,
        "vn-id": body["vn-id"],
        "vm-project-id": VM,
        "project-id": VM,
        "display-name": "tap1",
        "ip-address": "10.0.0.5",
        "ip6-address": "None",
        "mac-address": "02:00:00:00:00:01",
        "system-name": "tap1",
        "type": 0,
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
        "author": "vagentctl",
        "owner": "cli",
    }
    assert "tap1" in out


def test_port_add_with_addresses_and_a_vlan(run: Run, wire: Wire) -> None:
    """The first of a family is the port's, the others are further ones."""
    wire.answers["POST", "/port"] = {}
    run(
        *("port", "add", "--instance", VM, "--tap", "tap1"),
        *("--mac", "02:00:00:00:00:01", "--vlan", "100"),
        *("--ip", "10.0.0.5", "--ip", "10.0.0.6"),
        *("--ip6", "fd00::5", "--ip6", "fd00::6"),
    )
    body = wire.asked[0][2]
    assert ("10.0.0.5", "fd00::5") == (body["ip-address"], body["ip6-address"])
    assert ["10.0.0.6", "fd00::6"] == body["further-addresses"]
    assert (100, 100) == (body["rx-vlan-id"], body["tx-vlan-id"])


def test_port_add_is_accepted_by_the_codec(run: Run, wire: Wire) -> None:
    """The defaults are good. The same call twice is the same port; another instance,
    tap or VLAN is another.
    """
    from vagent.ports.codec import decode_port

    wire.answers["POST", "/port"] = {}
    needed = ("--instance", VM, "--tap", "tap1", "--mac", "02:00:00:00:00:01")
    for _ in range(2):
        run("port", "add", *needed)
    for other in (["--instance", PORT], ["--tap", "tap2"], ["--vlan", "7"]):
        run("port", "add", *needed, *other)
    ports = [decode_port(body) for method, _path, body in wire.asked if body]
    assert ports[0] == ports[1]
    assert 4 == len({port.id for port in ports})
    assert (ports[0].address, ports[0].tenant_id) == (None, "")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--ip", "10.0.0.5/24"),
        ("--ip", "10.0.0"),
        ("--ip", "fd00::5"),
        ("--ip", "0.0.0.0"),
        ("--ip6", "fd00::5/64"),
        ("--ip6", "10.0.0.5"),
    ],
)
def test_port_add_refuses_what_is_no_address(
    run: Run, wire: Wire, option: str, text: str
) -> None:
    """The API would register the port without an address, as Contrail's does."""
    needed = ("--instance", VM, "--tap", "tap1", "--mac", "02:00:00:00:00:01")
    code, _out, err = run("port", "add", *needed, option, text)
    assert 2 == code
    assert f"{option} {text}: not an address that a guest can have" in err
    assert [] == wire.asked


@pytest.mark.parametrize("mode", ["default", "off", "optional", "required", "audit"])
def test_port_add_with_session_tokens(run: Run, wire: Wire, mode: str) -> None:
    """Said only where it was asked for; what the API then shows is shown."""
    wire.answers["POST", "/port"] = {}
    wire.answers["GET", f"/port/{PORT}"] = {**SHOWN, "session-tokens": mode}
    code, out, _err = run(
        "port", "add", "--uuid", PORT, "--instance", VM, "--tap", "tap1",
        "--mac", "02:00:00:00:00:01", "--session-tokens", mode,
    )  # fmt: skip
    assert (0, mode) == (code, wire.asked[0][2]["session-tokens"])
    assert ["session-tokens", mode] == out.splitlines()[-1].split()


@pytest.mark.parametrize("missing", ["--instance", "--tap", "--mac"])
def test_port_add_needs_what_nobody_can_guess(
    run: Run, wire: Wire, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing option is usage, and nothing is asked."""
    given = {"--instance": VM, "--tap": "tap1", "--mac": "02:00:00:00:00:01"}
    del given[missing]
    with pytest.raises(SystemExit) as caught:
        run("port", "add", *(word for pair in given.items() for word in pair))
    assert caught.value.code == 2
    assert missing in capsys.readouterr().err
    assert wire.asked == []


def test_port_list_is_a_table(run: Run, wire: Wire) -> None:
    """Titles, one line a port, `-` for nothing, no control character."""
    wire.answers["GET", "/ports"] = [SHOWN]
    code, out, _err = run("port", "list")
    titles, line = out.splitlines()
    assert code == 0
    assert titles.split() == [
        "ID", "NAME", "TAP", "ADDRESS", "ADDRESS6", "MAC", "IDENTITY", "INSTANCE",
        "TOKENS", "OWNER", "STATE",
    ]  # fmt: skip
    assert line.split() == [PORT, "w\\x1b[2Jeb", "tap1", *"-------", "Active"]


@pytest.mark.parametrize("argv", [("-o", "json", "port", "list"),
                                  ("port", "list", "-o", "json")])  # fmt: skip
def test_json_is_what_the_server_said(
    run: Run, wire: Wire, argv: tuple[str, ...]
) -> None:
    """Wherever the option stands; nothing raw for a terminal."""
    wire.answers["GET", "/ports"] = [SHOWN]
    _code, out, _err = run(*argv)
    assert json.loads(out) == [SHOWN]
    assert "\x1b" not in out


def test_port_show(run: Run, wire: Wire) -> None:
    """One member a line."""
    wire.answers["GET", f"/port/{PORT}"] = SHOWN
    _code, out, _err = run("port", "show", PORT)
    assert f"id            {PORT}\n" in out


def test_port_show_tells_what_was_refused(run: Run, wire: Wire) -> None:
    """A line for each sender; members in JSON."""
    refused = {
        "reason": "spoofed",
        "mac-address": "02:00:00:00:00:99",
        "ip-address": "10.0.0.9",
        "vlan": "VLAN 5",
        "differs": ["VLAN", "MAC address"],
        "packets": 3,
        "seconds-ago": 7,
    }
    plain = refused | {"vlan": "", "ip-address": "", "differs": []}
    wire.answers["GET", f"/port/{PORT}"] = SHOWN | {"refused": [refused, plain]}
    _code, out, _err = run("port", "show", PORT)
    lines = out.splitlines()
    at = lines.index("")
    assert [
        "REFUSED PACKETS MAC ADDRESS VLAN DIFFERS LAST",
        "spoofed 3 02:00:00:00:00:99 10.0.0.9 VLAN 5 another VLAN and another MAC"
        " address 7 s ago",
        "spoofed 3 02:00:00:00:00:99 - - - 7 s ago",
    ] == [" ".join(line.split()) for line in lines[at + 1 :]]
    assert "refused" not in "".join(lines[:at])
    _code, out, _err = run("-o", "json", "port", "show", PORT)
    assert [refused, plain] == json.loads(out)["refused"]


def test_port_add_that_learns(run: Run, wire: Wire) -> None:
    """Only where it is asked for: without it the object is Contrail's."""
    wire.answers["POST", "/port"] = {}
    words = ("port", "add", "--instance", VM, "--tap", "tap1")
    run(*words, "--mac", "02:00:00:00:00:01", "--learn")
    body = wire.asked[0][2]
    assert (True, "0.0.0.0") == (body["learn"], body["ip-address"])


def test_port_show_of_nothing(run: Run) -> None:
    """Failed, with the server's words."""
    code, out, err = run("port", "show", PORT)
    assert (code, out) == (1, "")
    assert err == (
        f"vagentctl: port API at http://127.0.0.1:9091: GET /port/{PORT}: "
        "404: Not Found\n"
    )


def test_port_del_removes_each_and_names_the_missing(run: Run, wire: Wire) -> None:
    """The API says 200 for anything; an operator's typo should not look done."""
    wire.answers["GET", f"/port/{PORT}"] = SHOWN
    wire.answers["DELETE", f"/port/{PORT}"] = {}
    wire.answers["DELETE", f"/port/{VM}"] = {}
    assert run("port", "del", PORT) == (0, "", "")
    code, _out, err = run("port", "del", VM, PORT)
    assert (code, err) == (1, f"vagentctl: no such port: {VM}\n")
    assert [a for a in wire.asked if a[0] == "DELETE"][-1][1] == f"/port/{PORT}"


@pytest.mark.parametrize("text", ["x", "../ports", "", PORT + "/", "\x1b[2J"])
def test_ids_must_be_uuids(run: Run, wire: Wire, text: str) -> None:
    """Usage; nothing is asked, nothing raw is shown."""
    code, _out, err = run("port", "show", text)
    assert (code, wire.asked) == (2, [])
    assert "is not a UUID" in err
    assert "\x1b" not in err


SERVICE = {
    "linklocal_service_name": "metadata",
    "linklocal_service_ip": "169.254.169.254",
    "linklocal_service_port": 80,
    "ip_fabric_service_ip": ["10.0.0.5", "10.0.0.6"],
    "ip_fabric_service_port": 8775,
    "ip_fabric_DNS_service_name": "",
}


@pytest.mark.parametrize(
    "reply",
    [[SERVICE], {"services": [SERVICE], "left_out": []}, {"services": [SERVICE]}],
)
def test_service_list(run: Run, wire: Wire, reply: Any) -> None:
    """A line for each service."""
    wire.answers["GET", "/vagent/services"] = reply
    code, out, err = run("service", "list")
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split() == [
        "metadata", "169.254.169.254", "80", "10.0.0.5,", "10.0.0.6", "8775", "-", "-"
    ]  # fmt: skip


def test_service_list_says_how_endpoints_are(run: Run, wire: Wire) -> None:
    """How many are up, and which are not; in JSON all that is known."""
    endpoints = [
        {"address": "10.0.0.5", "port": 1, "tcp": "up", "udp": "up"},
        {"address": "10.0.0.6", "port": 1, "tcp": "down", "udp": "suspect"},
    ]
    where = {"linklocal_service_ip": "169.254.169.254", "linklocal_service_port": 80}
    other = {**endpoints[0], **where, "linklocal_service_port": 81}
    wire.answers["GET", "/vagent/services"] = {
        "services": [SERVICE],
        "endpoints": [*({**each, **where} for each in endpoints), other],
    }
    _, out, _ = run("service", "list")
    shown = "1 of 2 up, 10.0.0.6 TCP down, 10.0.0.6 UDP suspect"
    assert out.splitlines()[1].endswith(shown)
    _, out, _ = run("-o", "json", "service", "list")
    assert endpoints == json.loads(out)[0]["endpoints"]


def test_service_list_says_what_is_not_in_force(run: Run, wire: Wire) -> None:
    """With the reason, apart from the result."""
    left_out = {"linklocal_service_name": "ntp", "reason": "duplicate", "detail": None}
    pending = {"linklocal_service_name": "dns", "reason": "not-served", "detail": "no"}
    wire.answers["GET", "/vagent/services"] = {
        "services": [],
        "left_out": [left_out],
        "pending": [pending],
    }
    code, _out, err = run("service", "list")
    expected = ["not in force: ntp: duplicate", "not in force: dns: not-served no"]
    assert (code, err.splitlines()) == (0, expected)


def test_service_list_of_nonsense(run: Run, wire: Wire) -> None:
    """Another server on that port."""
    wire.answers["GET", "/vagent/services"] = ["x"]
    assert run("service", "list")[0] == 1


DOCUMENT = {"uuid": VM.upper(), "tenant_id": "t", "name": "web"}


@pytest.mark.parametrize("stdin", [False, True])
def test_instance_add_puts_each(
    run: Run,
    wire: Wire,
    tmp_path: Path,
    stdin: bool,
) -> None:
    """One document or an array, from a file or from standard input."""
    wire.answers["PUT", f"/vagent/instance/{VM}"] = {"uuid": VM}
    text = json.dumps([DOCUMENT] if stdin else DOCUMENT)
    (tmp_path / "guest.json").write_text(text)
    name = "-" if stdin else str(tmp_path / "guest.json")
    code, out, err = run("instance", "add", name, stdin=text)
    assert (code, err) == (0, "")
    assert wire.asked == [("PUT", f"/vagent/instance/{VM}", DOCUMENT)]
    assert out.splitlines()[1].split()[1:] == ["web", "t"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "-: not JSON: "),
        ("[" * 100_000, "-: not JSON: "),
        ("{}", "-: instance 0: no uuid"),
        ("[1]", "-: instance 0: no uuid"),
        (json.dumps([DOCUMENT, {"uuid": 1}]), "-: instance 1: no uuid"),
        ('{"uuid": "x"}', "'x' is not a UUID"),
        (json.dumps([DOCUMENT, {"uuid": "x"}]), "'x' is not a UUID"),
        (
            json.dumps([DOCUMENT, {"uuid": VM}]),
            f"-: instance 1: {VM} is there twice; one is allowed",
        ),
        (" " * (1024 * 1024 + 1), "-: longer than 1048576 characters"),
    ],
)
def test_instance_add_refuses_before_it_asks(
    run: Run, wire: Wire, text: str, message: str
) -> None:
    """All of the input is looked at first."""
    code, _out, err = run("instance", "add", "-", stdin=text)
    assert code in (1, 2)
    assert message in err
    assert wire.asked == []


def test_instance_add_says_why_the_server_refused(run: Run, wire: Wire) -> None:
    """The text of the 400 arrives."""
    wire.answers["PUT", f"/vagent/instance/{VM}"] = (400, b"instance: bad name\nmore")
    code, _out, err = run("instance", "add", "-", stdin=json.dumps(DOCUMENT))
    assert (code, err.endswith(": 400: instance: bad name more\n")) == (1, True)


def test_instance_add_says_what_is_stored(run: Run, wire: Wire) -> None:
    """Where one of several is refused; the exit code is that of the refusal."""
    others = [VM[:-1] + digit for digit in "cd"]
    wire.answers["PUT", f"/vagent/instance/{VM}"] = {"uuid": VM}
    text = json.dumps([DOCUMENT, *({"uuid": uuid} for uuid in others)])
    for status, expected in ((400, 1), (403, 77)):
        wire.answers["PUT", f"/vagent/instance/{others[0]}"] = (status, b"bad name")
        code, out, err = run("instance", "add", "-", stdin=text)
        assert (code, out) == (expected, "")
        assert f"{others[0]}: {status}: bad name\n" in err
        assert (
            f"stored: {VM}; not known to be stored: the other 2 of 3. Then add" in err
        )
    assert ("PUT", f"/vagent/instance/{others[1]}") not in [
        each[:2] for each in wire.asked
    ]
    wire.answers["PUT", f"/vagent/instance/{VM}"] = (400, b"bad name")
    assert "stored: none; not known" in run("instance", "add", "-", stdin=text)[2]


def test_instances_list_show_and_del(run: Run, wire: Wire) -> None:
    """The rest of the group."""
    listed = {"instances": [{"uuid": VM, "instance": {"name": "web"}}]}
    wire.answers["GET", "/vagent/instances"] = listed
    wire.answers["GET", f"/vagent/instance/{VM}"] = {"uuid": VM, "name": "web"}
    wire.answers["DELETE", f"/vagent/instance/{VM}"] = {"uuid": VM}
    row = [VM, "web", "-", "-"]
    assert run("instance", "list")[1].splitlines()[1].split() == row
    assert run("instance", "show", VM)[1] == f"uuid  {VM}\nname  web\n"
    assert run("instance", "del", VM) == (0, "", "")
    code, _out, err = run("instance", "del", PORT)
    assert (code, err) == (1, f"vagentctl: no such instance: {PORT}\n")


def test_instances_whose_targets_failed(run: Run, wire: Wire) -> None:
    """The list names the targets, in JSON, too."""
    item = {"uuid": VM, "instance": {"name": "web"}, "failed_targets": ["a", "b"]}
    wire.answers["GET", "/vagent/instances"] = {"instances": [item]}
    assert run("instance", "list")[1].splitlines()[1].endswith("  a, b")
    (shown,) = json.loads(run("-o", "json", "instance", "list")[1])
    assert {"uuid": VM, "name": "web", "failed_targets": ["a", "b"]} == shown


def test_instance_vendordata(run: Run, wire: Wire) -> None:
    """A line for each target; what they said can be forgotten."""
    path = f"/vagent/instance/{VM}/vendordata"
    target = {"target": "join", "state": "failed", "since": "then", "detail": "why"}
    wire.answers["GET", path] = {"uuid": VM, "targets": [target]}
    wire.answers["DELETE", path] = {"uuid": VM}
    code, out, err = run("instance", "vendordata", VM)
    assert (0, "") == (code, err)
    assert [["target", "state", "since", "detail"], list(target.values())] == [
        line.split() for line in out.lower().splitlines()
    ]
    code, out, err = run("instance", "vendordata", VM, "--forget")
    said = f"{VM}: targets are asked again by the next request\n"
    assert (0, "", said) == (code, out, err)
    assert ("DELETE", path, None) == wire.asked[-1]
    assert 1 == run("instance", "vendordata", PORT)[0]


def test_instance_password(run: Run, wire: Wire) -> None:
    """As the guest posted it; none is exit code 1; it can be cleared."""
    path = f"/vagent/instance/{VM}/password"
    wire.answers["GET", path] = {"uuid": VM, "password": "secret\x1b"}
    assert run("instance", "password", VM) == (0, "secret\\x1b\n", "")
    assert (
        run("-o", "json", "instance", "password", VM)[1] == '[\n  "secret\\u001b"\n]\n'
    )
    wire.answers["GET", path] = {"uuid": VM, "password": ""}
    none = f"vagentctl: {VM}: the guest has posted no password\n"
    assert run("instance", "password", VM) == (1, "", none)
    for answer, said in (
        (True, "cleared; the guest may post another"),
        (False, "there was none"),
    ):
        wire.answers["DELETE", path] = {"uuid": VM, "cleared": answer}
        expected = (0, "", f"{VM}: {said}\n")
        assert expected == run("instance", "password", VM, "--clear")
    assert 1 == run("instance", "password", PORT)[0]
    odds: list[Any] = [[], {"password": 1}]
    for odd in odds:
        wire.answers["GET", path] = odd
        assert "without a password" in run("instance", "password", VM)[2]


def test_instance_password_decrypted(run: Run, wire: Wire, tmp_path: Path) -> None:
    """With a key that stays here; a key that cannot be read comes before any call."""
    key = generate_private_key(65537, 2048)
    file = tmp_path / "key.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    posted = base64.b64encode(key.public_key().encrypt(b"hunter2", PKCS1v15()))
    path = f"/vagent/instance/{VM}/password"
    wire.answers["GET", path] = {"uuid": VM, "password": posted.decode()}
    command = ("instance", "password", VM, "--decrypt")
    assert run(*command, str(file)) == (0, "hunter2\n", "")
    asked = len(wire.asked)
    assert "No such file" in run(*command, str(tmp_path / "none"))[2]
    assert asked == len(wire.asked)
    with pytest.raises(SystemExit):
        run(*command, str(file), "--clear")


def test_instance_config_drive(run: Run, wire: Wire, tmp_path: Path) -> None:
    """The image is there, and nothing is said."""
    pytest.importorskip("pycdlib", reason="it is not installed")
    path = f"/vagent/instance/{VM}/drive"
    files = {"openstack/latest/user_data": "AAEC"}
    wire.answers["GET", path] = {"uuid": VM, "files": files}
    image = tmp_path / "drive.iso"
    assert (0, "", "") == run("instance", "config-drive", VM, str(image))
    assert b"\0\1\2" in image.read_bytes()
    wire.answers["GET", path] = {"uuid": VM}
    assert 1 == run("instance", "config-drive", VM, str(image))[0]


def test_instance_identity_keys(run: Run, wire: Wire) -> None:
    """PEM for people and openssl; in JSON a key set (RFC 7517) and nothing else."""
    path = "/vagent/identity-keys"
    wire.answers["GET", path] = {"keys": [{"kid": "k"}], "certificates": "a\nb\n"}
    assert (0, "a\nb\n", "") == run("instance", "identity-keys")
    wire.answers["GET", path] = {"keys": [{"kid": "k"}], "certificates": "a\nb\n"}
    code, out, _ = run("-o", "json", "instance", "identity-keys")
    assert (0, {"keys": [{"kid": "k"}]}) == (code, json.loads(out))
    wire.answers["GET", path] = {"keys": []}
    assert 1 == run("instance", "identity-keys")[0]


TRACES = "/vagent/traces"
ENTRIES = [
    {
        "time": 1469000000.123456,
        "event": "RequestForwarded",
        "fault": False,
        "request": "00000000000000a1",
        "port_id": PORT,
        "tap": "tap1",
        "guest_address": "10.0.0.5",
        "text": "GET a & b",
    },
    {"time": 2.0, "event": "RulesLost", "fault": True, "text": "\x9b c", "tap": ""},
]


def test_trace(run: Run, wire: Wire) -> None:
    """Buffers; time and text of entries, and whose they are; the facts in JSON."""
    document = {"version": 1, "buffers": [{"name": "Metadata", "entries": 2}]}
    wire.answers["GET", TRACES] = document
    wire.answers["GET", f"{TRACES}/Metadata"] = {"version": 1, "entries": ENTRIES}
    assert (0, "Metadata\n", "") == run("trace")
    assert (
        "2016-07-20 07:33:20.123456 GET a & b"
        f"  tap=tap1  port_id={PORT}  request=00000000000000a1\n"
        "1970-01-01 00:00:02.000000 \\x9b c\n"
    ) == run("trace", "Metadata")[1]
    assert ENTRIES == json.loads(run("trace", "Metadata", "-o", "json")[1])


def test_trace_of_a_port_or_a_request(run: Run, wire: Wire) -> None:
    """The agent chooses; a port is a UUID, a request is in lower case."""
    path = f"{TRACES}/Metadata?port_id={PORT}&request=00000000000000a1"
    wire.answers["GET", path] = {"version": 1, "entries": ENTRIES[:1]}
    chosen = ("--port", PORT.upper(), "--request", "00000000000000A1")
    code, out, _err = run("trace", "Metadata", *chosen, "-o", "json")
    assert (0, ENTRIES[:1]) == (code, json.loads(out))
    assert 2 == run("trace", "Metadata", "--port", "tap1")[0]


def test_trace_of_an_unknown_buffer(run: Run, wire: Wire) -> None:
    """The agent says which there are; a name is a name, whatever is in it."""
    said = {"error": "no trace buffer 'a/b'; there are: Metadata"}
    wire.answers["GET", f"{TRACES}/a%2Fb"] = (404, json.dumps(said).encode())
    code, out, err = run("trace", "a/b")
    assert (1, "") == (code, out)
    assert "404: no trace buffer 'a/b'; there are: Metadata" in err


@pytest.mark.parametrize(
    "document",
    [[], {}, {"entries": 7}, {"entries": [7]}, {"entries": [{"time": 1}]},
     {"entries": [{"time": 1e99, "text": ""}]}],
)  # fmt: skip
def test_traces_of_another_form(run: Run, wire: Wire, document: Any) -> None:
    """Another version of the agent is told apart from an empty trace."""
    wire.answers["GET", f"{TRACES}/Metadata"] = document
    code, out, err = run("trace", "Metadata")
    assert (1, "") == (code, out)
    assert "another form" in err


def test_stats(run: Run, wire: Wire) -> None:
    """Contrail's counters under Contrail's names."""
    wire.answers["GET", "/Snh_MetadataInfo"] = XML + (
        b'<MetadataResponse type="sandesh"><metadata_server_port type="i32" '
        b'identifier="1">8097</metadata_server_port><metadata_requests type="i32" '
        b'identifier="2">12</metadata_requests><more type="bool" '
        b'identifier="0">false</more></MetadataResponse>'
    )
    assert run("stats")[1] == "metadata_server_port  8097\nmetadata_requests     12\n"
    assert json.loads(run("-o", "json", "stats")[1]) == {
        "metadata_server_port": 8097,
        "metadata_requests": 12,
    }


STATUS = {
    "version": 1,
    "not_ready": None,
    "judgements": [
        {
            "kind": "instance-unknown",
            "severity": "wrong",
            "subject": {"kind": "port", "id": PORT, "name": "web"},
            "text": "unknown \x1b[2J",
            "remedy": "register it again",
            "since": 0,
        }
    ],
}


def test_status_tells_what_is_wrong_and_fails(run: Run, wire: Wire) -> None:
    """Subject, text, date and remedy; nothing in it moves the cursor."""
    wire.answers["GET", "/status"] = STATUS
    code, out, err = run("status")
    assert 1 == code
    assert (
        f"✓ ready\n✗ port web ({PORT}): unknown \\x1b[2J\n"
        "    since 1970-01-01 00:00:00 UTC\n    register it again\n"
    ) == out
    assert "vagentctl: status: 1 wrong\n" == err
    code, out, _ = run("status", "-o", "json")
    assert (1, STATUS) == (code, json.loads(out))


def test_status_of_an_agent_with_which_nothing_is_wrong(run: Run, wire: Wire) -> None:
    """It says what it does not look at. A warning is shown, and is no failure."""
    wire.answers["GET", "/status"] = {**STATUS, "judgements": []}
    said = (
        "✓ ready\n✓ nothing is known to be wrong (services that are not in force: "
        "vagentctl service list)\n"
    )
    assert (0, said, "") == run("status")
    warning = {**STATUS["judgements"][0], "severity": "warning"}  # type: ignore[index]  # a list
    wire.answers["GET", "/status"] = {**STATUS, "judgements": [warning]}
    code, out, err = run("status")
    assert (0, "") == (code, err)
    assert "! port web" in out


def test_status_of_an_agent_that_is_not_ready(run: Run, wire: Wire) -> None:
    """It fails with the reason; another form of the document is told apart."""
    wire.answers["GET", "/status"] = {
        **STATUS,
        "not_ready": "starting",
        "judgements": [],
    }
    code, out, err = run("status")
    assert (1, "vagentctl: status: not ready: starting\n") == (code, err)
    assert out.startswith("✗ not ready: starting\n")
    wire.answers["GET", "/status"] = {"version": 2}
    code, out, err = run("status")
    assert (1, "") == (code, out)
    assert "a status of form 2" in err


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x',
    ],
)
def test_introspection_that_is_none(run: Run, wire: Wire, text: bytes) -> None:
    """Another server on that port."""
    wire.answers["GET", "/Snh_MetadataInfo"] = text
    code, _out, err = run("stats")
    assert (code, "something else than XML" in err) == (1, True)


def test_entities_are_not_resolved(run: Run, wire: Wire, tmp_path: Path) -> None:
    """A hostile page reads no file."""
    (tmp_path / "secret").write_text("geheim")
    wire.answers["GET", "/Snh_MetadataInfo"] = (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "{tmp_path}/secret">]>'
        "<MetadataResponse><a>&e;</a></MetadataResponse>"
    ).encode()
    assert "geheim" not in "".join(map(str, run("stats")))


def test_import_conf(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file to stdout, so that it can be redirected; notes to stderr."""
    from vagent.config import import_conf

    monkeypatch.setattr(
        import_conf, "import_conf", lambda text: (f"<!--{text}-->", ("left out: x",))
    )
    (tmp_path / "old.conf").write_text("[DEFAULT]")
    path = str(tmp_path / "old.conf")
    assert run("import-conf", path) == (0, "<!--[DEFAULT]-->\n", "note: left out: x\n")
    assert json.loads(run("import-conf", path, "-o", "json")[1]) == {
        "agent.conf": "<!--[DEFAULT]-->",
        "notes": ["left out: x"],
    }


def test_import_conf_of_a_real_file(run: Run) -> None:
    """The two rooms fit."""
    ini = "[METADATA]\nmetadata_proxy_secret = contrail\n"
    code, out, _err = run("import-conf", "-", stdin=ini)
    assert (code, "shared-secret" in out) == (0, True)


def test_files_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    """Absent, a folder, not text."""
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("absent", "", "binary"):
        code, _out, err = run("import-conf", str(tmp_path / name))
        assert code == 1
        assert err.startswith(f"vagentctl: {tmp_path}")


def test_no_permission_is_77(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For a file that is there but closed, named or by default."""

    def closed(*_args: Any, **_kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", closed)
    assert run("import-conf", "x")[0] == 77
    code, _out, err = run("port", "list")
    assert (code, "run as root or as a member of the group vagent, or give" in err) == (
        77,
        True,
    )


def test_addresses_come_from_agent_conf(
    run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wildcard address is called on loopback; the command line wins."""
    from ipaddress import IPv4Address

    from vagent.config import read

    config = AgentConfig(
        port_api=OperatorApi(IPv4Address("127.0.0.2"), 19091),
        introspect=OperatorApi(IPv4Address("0.0.0.0"), 18085),
    )
    path = tmp_path / "agent.conf"
    path.write_text("<config/>")
    monkeypatch.setattr(read, "read_config", lambda _path: read.Loaded(config, ()))
    run("port", "list", "--config", str(path))
    run("--config", str(path), "stats")
    run("--config", str(path), "port", "list", "--port-api", "http://[::1]:1/")
    assert wire.where == [("127.0.0.2", 19091), ("127.0.0.1", 18085), ("::1", 1)]


def test_a_configuration_that_is_wrong_is_78(run: Run, tmp_path: Path) -> None:
    """Every problem on its own line; a named file must be there."""
    path = tmp_path / "agent.conf"
    path.write_text("<config><agent><nonsense/></agent></config>")
    code, _out, err = run("port", "list", "--config", str(path))
    assert (code, err.startswith(f"vagentctl: {path}:1: ")) == (78, True)
    code, _out, err = run("port", "list", "--config", str(tmp_path / "no"))
    assert (code, err) == (78, f"vagentctl: {tmp_path / 'no'}: no such file\n")
    assert run("port", "list", "--config", str(tmp_path))[0] == 78


def test_help_is_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands, examples, exit codes."""
    with pytest.raises(SystemExit) as caught:
        ctl.main(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    for word in ("port", "instance", "trace", "import-conf", "examples:", "69", "77"):
        assert word in out


@pytest.mark.parametrize(
    "argv", [[], ["port"], ["nonsense"], ["port", "list", "--outp"]]
)
def test_usage_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No command, half a command, no such command, half an option."""
    with pytest.raises(SystemExit) as caught:
        ctl.main(argv)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_interrupt_is_130(run: Run, wire: Wire) -> None:
    """As shells have it; no traceback."""
    wire.fault = KeyboardInterrupt()  # type: ignore[assignment]  # not an Exception
    assert run("port", "list")[0] == 130
