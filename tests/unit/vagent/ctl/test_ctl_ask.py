"""`vagentctl ask`: what is shown, and who is asked."""

from __future__ import annotations

import io
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from vagent.config.model import AgentConfig, ClientTls, MetadataProxyConfig, Secret
from vagent.ctl import ask
from vagent.ctl.asking.exchange import GivenAnswer
from vagent.ctl.asking.question import AskedEndpoint, AskedQuestion
from vagent.ctl.failure import UNAVAILABLE, USAGE, CommandError
from vagent.errors import VagentError
from vagent.web.json_client import NEVER_ANSWERED, ApiError

UUID = "32d0524b-314d-4594-b3a3-607e3f2354f8"
TENANT = "28a490a0f8b28800181ce490a74df8d2"
SIGNATURE = "6bcbe3885ae7efc49cef35b438efe29c95501f4a720a0c53ed000d8fcf04a605"
TLS = ClientTls(Path("/c"), Path("/k"), Path("/a"))
SERVICE = {
    "linklocal_service_name": "metadata",
    "ip_fabric_service_ip": ["10.0.0.5", "10.0.0.6"],
    "ip_fabric_service_port": 8775,
    "ip_fabric_DNS_service_name": "nova",
}


class Session:
    """An operator with agent.conf; the agent knows `services`, or is away."""

    def __init__(self) -> None:
        self.stdout: Any = io.StringIO()
        self.said: list[str] = []
        self.output = "table"
        self.services: Any = [SERVICE]
        self.fault: ApiError | None = None
        self.config_api = self
        self.tls: ClientTls | None = None

    @property
    def agent_config(self) -> AgentConfig:
        proxy = MetadataProxyConfig(
            shared_secret=Secret(b"deadbeef2eb84d8d"), tls=self.tls
        )
        return AgentConfig(metadata_proxy=proxy)

    def json(self, method: str, path: str) -> Any:
        if self.fault is not None:
            raise self.fault
        return {"services": self.services}

    def read_input(self, name: str) -> str:
        return Path(name).read_text()

    def say(self, text: str) -> None:
        self.said.append(text)


class Wire:
    """Answers by path, or fails; remembers who was asked, and what."""

    def __init__(self) -> None:
        self.answer: GivenAnswer | Exception = GivenAnswer(
            200, "OK", (("Content-Type", "text/plain"),), b"ami-id\nhostname"
        )
        self.asked: list[tuple[AskedEndpoint, AskedQuestion]] = []
        self.how: list[tuple[ClientTls | None, float]] = []

    def __call__(
        self,
        endpoint: AskedEndpoint,
        question: AskedQuestion,
        *,
        tls: ClientTls | None,
        timeout: float,
    ) -> GivenAnswer:
        self.asked.append((endpoint, question))
        self.how.append((tls, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    made = Wire()
    monkeypatch.setattr(ask, "exchange", made)
    return made


def run(session: Session, *argv: str, path: str = "/latest/meta-data") -> None:
    parser = ArgumentParser()
    ask.register(parser.add_subparsers())
    whole = ["ask", "--instance", UUID, "--tenant", TENANT, *argv, path]
    caller: Any = session
    ask.ask_upstream(caller, parser.parse_args(whole))


def test_the_worked_example(session: Session, wire: Wire) -> None:
    """Request, signature and answer of a question by hand, for one command."""
    run(session, "--upstream", "http://localhost:8775")
    ((endpoint, question),) = wire.asked
    assert AskedEndpoint("localhost", 8775) == endpoint
    assert [
        "* http://localhost:8775",
        "> GET /latest/meta-data",
        f"> X-Instance-ID: {UUID}",
        f"> X-Tenant-ID: {TENANT}",
        f"> X-Instance-ID-Signature: {SIGNATURE}",
        "* the signature is the HMAC-SHA256 of X-Instance-ID with the shared secret"
        " (16 bytes)",
        "< 200 OK",
        "< Content-Type: text/plain",
    ] == session.said
    assert "ami-id\nhostname\n" == session.stdout.getvalue()
    assert [(None, ask.TIMEOUT)] == wire.how
    assert "" == question.address


def test_every_endpoint_that_is_provisioned(session: Session, wire: Wire) -> None:
    """With TLS and the name of the certificate, as agent.conf and service say."""
    session.tls = TLS
    run(session, "--timeout", "3", "--address", "10.0.0.9")
    assert [("10.0.0.5", True, "nova"), ("10.0.0.6", True, "nova")] == [
        (one.host, one.tls, one.name) for one, _ in wire.asked
    ]
    assert [(TLS, 3.0)] * 2 == wire.how
    assert "* https://10.0.0.5:8775 as nova" in session.said
    assert "> X-Forwarded-For: 10.0.0.9" in session.said


def test_a_secret_of_another_file(session: Session, wire: Wire, tmp_path: Path) -> None:
    """Without one newline at its end, as agent.conf's is read."""
    file = tmp_path / "secret"
    for text, secret in (
        (b"a b\n", b"a b"),
        (b"\xff\r\n", b"\xff"),
        (b"a\n\n", b"a\n"),
    ):
        file.write_bytes(text)
        run(session, "--upstream", "http://a", "--secret-file", str(file))
        assert secret == wire.asked[-1][1].secret.value
    with pytest.raises(CommandError, match="Is a directory"):
        run(session, "--upstream", "http://a", "--secret-file", str(tmp_path))


def test_binary_answers(session: Session, wire: Wire) -> None:
    """Byte for byte into a file or pipe; a terminal gets nothing that it could act on;
    JSON has base64.
    """
    wire.answer = GivenAnswer(200, "OK", (), b"\x1b[2J\xff\n")
    session.stdout = io.TextIOWrapper(io.BytesIO())
    run(session, "--upstream", "http://a")
    assert b"\x1b[2J\xff\n" == session.stdout.buffer.getvalue()
    session.stdout = io.StringIO()
    run(session, "--upstream", "http://a")
    assert "\x1b" not in session.stdout.getvalue()
    session.stdout, session.output = io.StringIO(), "json"
    run(session, "--upstream", "http://a")
    (shown,) = json.loads(session.stdout.getvalue())
    assert "G1sySv8K" == shown["answer"]["body_base64"]


def test_a_refusal(session: Session, wire: Wire) -> None:
    """The header at fault and what to do are told; the exit code is not 0."""
    wire.answer = GivenAnswer(403, "Forbidden", (), b"Invalid proxy request signature.")
    with pytest.raises(CommandError, match="http://a:8775: nova-api refused our sig"):
        run(session, "--upstream", "http://a")
    text, remedy = session.said[-2:]
    assert text.startswith("* X-Instance-ID-Signature: nova-api refused our signature")
    assert "metadata_proxy_shared_secret" in remedy
    session.output, session.stdout = "json", io.StringIO()
    with pytest.raises(CommandError):
        run(session, "--upstream", "http://a")
    (shown,) = json.loads(session.stdout.getvalue())
    assert ("signature-refused", "X-Instance-ID-Signature") == (
        shown["refusal"]["kind"],
        shown["refusal"]["header"],
    )
    assert SIGNATURE == shown["request"]["headers"]["X-Instance-ID-Signature"]


def test_other_errors_are_shown_as_they_are(session: Session, wire: Wire) -> None:
    """A status that says nothing of the setup."""
    wire.answer = GivenAnswer(409, "Conflict", (), b"")
    with pytest.raises(CommandError, match="refused with 409"):
        run(session, "--upstream", "http://a")
    assert "* an answer to what was asked" == session.said[-1]


def test_a_400_to_plain_http(session: Session, wire: Wire) -> None:
    """As servers answer on a port that expects TLS: the other URL is named."""
    wire.answer = GivenAnswer(400, "Bad Request", (), b"")
    hint = "if it expects TLS: --upstream https://a:8775"
    with pytest.raises(CommandError, match=hint):
        run(session, "--upstream", "http://a")
    with pytest.raises(CommandError, match=r"refused with 400$"):
        run(session, "--upstream", "https://a")


def test_one_endpoint_that_does_not_answer(session: Session, wire: Wire) -> None:
    """The others are asked all the same, and all problems are told."""
    wire.answer = VagentError("no connection")
    with pytest.raises(CommandError, match="no connection; no connection"):
        run(session)
    assert 2 == len(wire.asked)


def test_the_agent_is_away(session: Session, wire: Wire) -> None:
    """Then --upstream is needed, and the message says so; other errors are told."""
    session.fault = ApiError("nobody listens", status=NEVER_ANSWERED)
    with pytest.raises(CommandError, match="--upstream URL") as refusal:
        run(session)
    assert UNAVAILABLE == refusal.value.code
    run(session, "--upstream", "http://a")
    session.fault = ApiError("not you", status=403)
    with pytest.raises(ApiError, match="not you"):
        run(session)


def test_nothing_is_provisioned(session: Session, wire: Wire) -> None:
    """Nobody is asked."""
    session.services = []
    with pytest.raises(CommandError, match="no service `metadata` is provisioned"):
        run(session)


@pytest.mark.parametrize(
    ("argv", "path", "problem"),
    [
        ((), "latest", "allowed is a path"),
        ((), "/a b", "allowed is a path"),
        ((), "/é", "allowed is a path"),
        ((), "/a\r\nX-Tenant-ID: b", "allowed is a path"),
        (("--tenant", "a\nb"), "/", "--tenant: printable ASCII is allowed"),
        (("--tenant", "é"), "/", "--tenant: printable ASCII is allowed"),
        (("--instance", "x"), "/", "is not a UUID"),
        (("--address", "a\nb"), "/", r"--address: got 'a\\nb', allowed is an IPv4"),
        (("--address", "bogus"), "/", "--address: got 'bogus', allowed is an IPv4"),
        (("--address", "fe80::1%a\nb"), "/", "--address: got 'fe80::1%"),
        (("--upstream", "ftp://a"), "/", "--upstream: got 'ftp://a'"),
    ],
)
def test_usage(
    session: Session, wire: Wire, argv: tuple[str, ...], path: str, problem: str
) -> None:
    """Nothing that could become another header is sent."""
    with pytest.raises(CommandError, match=problem) as refusal:
        run(session, *argv, path=path)
    assert USAGE == refusal.value.code
    assert [] == wire.asked


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "0", "0.09", "600.1", "1e999", "x", ""]
)
def test_a_timeout_that_is_none(
    session: Session, wire: Wire, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage; the bounds are told."""
    with pytest.raises(SystemExit) as caught:
        run(session, "--upstream", "http://a", f"--timeout={text}")
    assert USAGE == caught.value.code
    told = f"got {text!r}, allowed are seconds from 0.1 to 600"
    assert told in capsys.readouterr().err
    assert [] == wire.asked


def test_the_bounds_of_the_timeout(session: Session, wire: Wire) -> None:
    """Both are allowed, and so is an IPv6 address of a guest."""
    for text in ("0.1", "600"):
        run(session, *("--upstream", "http://a", "--timeout", text, "--address", "::1"))
    assert [0.1, 600.0] == [timeout for _, timeout in wire.how]
    assert "::1" == wire.asked[0][1].address
