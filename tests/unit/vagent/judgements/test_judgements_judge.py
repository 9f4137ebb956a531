"""What follows from the snapshots of endpoints, and from what nova-api refused."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vagent.judgements.judge import judge, of_endpoints, of_ports, of_refusing
from vagent.judgements.judgement import JudgementKind, Severity, Subject, SubjectKind
from vagent.metadata import request_id
from vagent.metadata.events import Caller
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot, ProbeSnapshot
from vagent.metadata.upstream.refusal import (
    CERTIFICATE_REMEDY,
    SIGNATURE_REMEDY,
    read_refusal,
)
from vagent.metadata.upstream.refusal_record import PortRefusal, RefusalRecord
from vagent.ports.port import PROBE_AUTHOR, Port, Registration

UP = EndpointSnapshot("192.0.2.1:8775", "nova", BreakerState.UP, 0, 0, 0, None)
DOWN = replace(UP, address="192.0.2.2:8775", state=BreakerState.DOWN, problem="refused")
PORT = Port("p", "i", "t", "", "web", "tap1", "", IPv4Address("10.0.0.3"), None)
CALLER = Caller("p", "tap1", "10.0.0.3")
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))
SIGNATURE = read_refusal(403, b"Invalid proxy request signature.", b"/openstack")
UNKNOWN = read_refusal(404, b"The resource could not be found.", b"/openstack")


@pytest.mark.parametrize(
    ("others", "severity"),
    [((), Severity.WRONG), ((UP,), Severity.WARNING)],
)
def test_an_endpoint_that_is_down(
    others: tuple[EndpointSnapshot, ...], severity: Severity
) -> None:
    """With its last error; guests are served as long as another one is not down."""
    (found,) = of_endpoints((*others, DOWN))
    assert (JudgementKind.ENDPOINT_DOWN, severity) == (found.kind, found.severity)
    assert "endpoint 192.0.2.2:8775" == str(found.subject)
    assert "down: refused" == found.text
    assert "vagentctl doctor" in found.remedy


def test_an_endpoint_that_refuses_our_certificate() -> None:
    """Another kind, with another remedy."""
    refusing = replace(DOWN, is_refused=True, problem="our client certificate was …")
    (found,) = of_endpoints((refusing,))
    assert JudgementKind.CERTIFICATE_REFUSED is found.kind
    assert CERTIFICATE_REMEDY == found.remedy
    assert found.text.endswith(refusing.problem)


@pytest.mark.parametrize(
    ("state", "problem", "judged"),
    [
        (BreakerState.SUSPECT, "status 500", True),
        (BreakerState.SUSPECT, "", False),
        (BreakerState.UP, "status 500", False),
    ],
)
def test_an_endpoint_that_fails_health_checks(
    state: BreakerState, problem: str, *, judged: bool
) -> None:
    """No request of a guest can have brought that about, so it is told; not once a
    guest has got its answer.
    """
    one = replace(UP, state=state, last_probe=ProbeSnapshot(1.0, problem))
    found = [*of_endpoints((one,))]
    assert judged is bool(found)
    if judged:
        assert JudgementKind.ENDPOINT_FAILS_PROBES is found[0].kind
        assert Severity.WARNING is found[0].severity
        assert "the health check failed: status 500" == found[0].text


@pytest.mark.parametrize("state", [BreakerState.UP, BreakerState.SUSPECT])
def test_an_endpoint_that_is_used_is_not_judged(state: BreakerState) -> None:
    """A request that failed may be the guest's own doing."""
    assert [] == [*of_endpoints((replace(DOWN, state=state),))]
    assert [] == [*of_endpoints(())]


def test_an_endpoint_that_refuses_every_guest() -> None:
    """It is wrong even beside others: its share of the requests fails."""
    assert SIGNATURE is not None
    shown = replace(UP, certificate="/etc/client.pem, CN=agent")
    (found,) = of_refusing({"192.0.2.1:8775": SIGNATURE}, (shown,))
    assert JudgementKind.SIGNATURE_REFUSED is found.kind
    assert Severity.WRONG is found.severity
    assert "endpoint 192.0.2.1:8775" == str(found.subject)
    assert "nova-api refused our signature: the shared secrets differ" == found.text
    assert SIGNATURE_REMEDY == found.remedy


@pytest.mark.parametrize(
    ("certificate", "end"),
    [("/etc/client.pem, CN=agent", ": /etc/client.pem, CN=agent"), ("", "certificate")],
)
def test_a_certificate_that_is_refused_over_http(certificate: str, end: str) -> None:
    """nginx does so; it is named, if one is shown at all."""
    refusal = read_refusal(400, b"The SSL certificate error", b"/openstack")
    assert refusal is not None
    endpoints = (replace(UP, certificate=certificate),)
    (found,) = of_refusing({"192.0.2.1:8775": refusal}, endpoints)
    assert JudgementKind.CERTIFICATE_REFUSED is found.kind
    assert found.text.endswith(end)
    assert found.text.startswith("the web server in front of nova-api refused our")


@pytest.mark.parametrize(("name", "shown"), [("web", "web"), ("", "tap1")])
def test_a_port_that_nova_does_not_know(name: str, shown: str) -> None:
    """By the name that people gave it, else by its tap."""
    assert UNKNOWN is not None
    refused = {"p": PortRefusal(CALLER, "nova", UNKNOWN, 7)}
    named = replace(REGISTRATION, port=replace(PORT, display_name=name))
    (found,) = of_ports(refused, {"p": named}.get)
    assert JudgementKind.INSTANCE_UNKNOWN is found.kind
    subject = Subject(SubjectKind.PORT, "p", shown, PORT.instance_id, "tap1")
    assert (subject, request_id.shown(7)) == (found.subject, found.request)


def test_all_of_it_together() -> None:
    """Endpoints, what they refuse, and ports, of one moment."""
    record = RefusalRecord(lambda _event: None)
    for status, body, endpoint in (
        (403, b"Invalid proxy request signature.", "192.0.2.1:8775"),
        (404, b"The resource could not be found.", "192.0.2.3:8775"),
    ):
        record.note(
            endpoint,
            status,
            body,
            request_id=1,
            caller=Caller("p", "tap1", "10.0.0.3"),
            path=b"/openstack",
        )
    found = judge((UP, DOWN), record, {"p": REGISTRATION}.get)
    assert [
        JudgementKind.ENDPOINT_DOWN,
        JudgementKind.SIGNATURE_REFUSED,
        JudgementKind.INSTANCE_UNKNOWN,
    ] == [one.kind for one in found]


def test_the_probe_of_explain_is_not_judged() -> None:
    """It stands for a port, of which explain tells; it goes at once."""
    assert UNKNOWN is not None
    refused = {"p": PortRefusal(CALLER, "nova", UNKNOWN, 7)}
    probe = replace(PORT, author=f"{PROBE_AUTHOR} 4711")
    assert [] == [*of_ports(refused, {"p": replace(REGISTRATION, port=probe)}.get)]


def test_a_port_that_is_gone_is_not_judged() -> None:
    """Whatever was refused to its guest."""
    assert UNKNOWN is not None
    refused = {"p": PortRefusal(CALLER, "nova", UNKNOWN, 7)}
    assert [] == [*of_ports(refused, lambda _: None)]
