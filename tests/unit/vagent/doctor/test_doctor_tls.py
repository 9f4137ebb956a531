"""Promises about TLS files: what is in them is said before a guest notices."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from lab.pki import Authority
from vagent.config.model import ClientTls, Secret
from vagent.doctor.facts import PortFact
from vagent.doctor.tls import inspect, question_for, try_upstream
from vagent.metadata.guest.identity_headers import signature
from vagent.metadata.upstream.target import HostPort, Target


@pytest.fixture(scope="module", name="pki")
def pki_fixture(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


def test_good_files(pki: Authority) -> None:
    """No problem, the subject, and the dates of certificate and CA."""
    pair = pki.client("agent")
    found = inspect("x", Path(pair.cert), Path(pair.key), Path(pki.cert))
    assert ("", "CN=agent") == (found.problem, found.subject)
    assert found.valid_from is not None
    assert found.valid_until is not None
    assert found.ca_until is not None


def test_a_key_of_another_certificate(pki: Authority) -> None:
    """Both files are named."""
    one, other = pki.client("one"), pki.client("other")
    found = inspect("x", Path(one.cert), Path(other.key), Path(pki.cert))
    assert f"{other.key} is not the key of {one.cert}" == found.problem


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_the_unusable_file_is_named(
    pki: Authority, tmp_path: Path, which: int, content: bytes | None
) -> None:
    """A file that is not there, empty, or something else."""
    pair = pki.client("agent")
    files = [Path(pair.cert), Path(pair.key), Path(pki.cert)]
    files[which] = tmp_path / "bad.pem"
    if content is not None:
        files[which].write_bytes(content)
    assert inspect("x", *files).problem.startswith(str(tmp_path / "bad.pem"))


def test_unusable_files_try_nothing(tmp_path: Path) -> None:
    """What is wrong with them is said once, where they are inspected."""
    bad = tmp_path / "bad.pem"
    target = Target((HostPort("192.0.2.1", 1),), "")
    question = question_for(Secret(b"s"), ())
    assert () == try_upstream(target, ClientTls(bad, bad, bad), 1.0, question)


ALICE = PortFact("p1", "alice", "tap1", "Active", "nova", "i1", "t1", "10.0.0.5")


def test_the_question_is_signed_for_an_active_port() -> None:
    """As the agent signs: the first that is served and names instance and tenant."""
    others = (
        replace(ALICE, state="Inactive < no-dev >"),
        replace(ALICE, instance=""),
        replace(ALICE, tenant=""),
        replace(ALICE, instance="i\r\nX-Tenant-ID: other"),
    )
    question = question_for(Secret(b"s"), (*others, ALICE, replace(ALICE, id="p2")))
    assert ALICE == question.port
    assert (
        "X-Forwarded-For: 10.0.0.5\r\nX-Instance-ID: i1\r\nX-Tenant-ID: t1\r\n"
        f"X-Instance-ID-Signature: {signature(Secret(b's'), 'i1')}\r\n"
    ).encode() == question.headers


def test_without_a_port_an_instance_is_made_up() -> None:
    """Another one each time, and signed all the same."""
    one, two = question_for(Secret(b"s"), ()), question_for(Secret(b"s"), ())
    assert one.port is None
    assert one.headers != two.headers
    assert 4 == one.headers.count(b"\r\n")


class HungUp:
    """A connection whose server refused our certificate and closed at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None: ...

    def sendall(self, _data: bytes) -> None:
        raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation")

    def recv(self, _size: int) -> bytes:
        alert = ssl.SSLError(ssl.SSL_ERROR_SSL, "alert")
        alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        raise alert


def test_the_alert_of_a_server_that_hung_up_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the connection had ended before the request was sent."""

    def connect(_address: object, _timeout: object) -> HungUp:
        return HungUp()

    monkeypatch.setattr("vagent.doctor.tls.socket.create_connection", connect)
    target = Target((HostPort("192.0.2.1", 8775),), "nova")
    question = question_for(Secret(b""), ())
    (trial,) = try_upstream(target, None, 1.0, question)
    assert ("tls", True) == (trial.failed, "refused our client cert" in trial.said)
