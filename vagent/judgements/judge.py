"""Snapshots of the rooms become judgements. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.metadata.request_id import shown
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot
from vagent.metadata.upstream.refusal import CERTIFICATE_REMEDY, UpstreamRefusal
from vagent.metadata.upstream.refusal_record import PortRefusal, RefusalRecord
from vagent.ports.port import PROBE_AUTHOR, Registration

_DOWN_REMEDY = (
    "look whether nova-api runs and listens there, and whether a firewall is between;"
    " vagentctl doctor tries the endpoint from this host"
)


_PROBE_REMEDY = (
    "look into the log of nova-api there, and of the web server in front of it"
)


def judge(
    endpoints: Sequence[EndpointSnapshot],
    refusals: RefusalRecord,
    find: Callable[[str], Registration | None],
) -> Iterator[Judgement]:
    """Everything that is wrong now. What another room can tell is added here. `find`
    gives the registration of a port.
    """
    yield from of_endpoints(endpoints)
    yield from of_refusing(refusals.endpoints, endpoints)
    yield from of_ports(refusals.ports, find)


def stops_all(found: Iterable[Judgement]) -> bool:
    """Does one of these say of an endpoint that guests fail?"""
    return any(
        one.severity is Severity.WRONG and one.subject.kind is SubjectKind.ENDPOINT
        for one in found
    )


def of_endpoints(endpoints: Sequence[EndpointSnapshot]) -> Iterator[Judgement]:
    """Those that are down, with their last error, and those that answer health checks
    with one. As long as another one is not down, guests are served.
    """
    down = [one for one in endpoints if one.state is BreakerState.DOWN]
    severity = Severity.WARNING if len(down) < len(endpoints) else Severity.WRONG
    for one in down:
        kind, remedy = JudgementKind.ENDPOINT_DOWN, _DOWN_REMEDY
        if one.is_refused:
            kind, remedy = JudgementKind.CERTIFICATE_REFUSED, CERTIFICATE_REMEDY
        yield Judgement(
            kind,
            severity,
            Subject(SubjectKind.ENDPOINT, one.address),
            f"down: {one.problem}",
            remedy,
        )
    for one in endpoints:
        probe = one.last_probe
        if one.state is BreakerState.SUSPECT and probe is not None and probe.problem:
            yield Judgement(
                JudgementKind.ENDPOINT_FAILS_PROBES,
                Severity.WARNING,
                Subject(SubjectKind.ENDPOINT, one.address),
                f"the health check failed: {probe.problem}",
                _PROBE_REMEDY,
            )


def of_refusing(
    refused: Mapping[str, UpstreamRefusal], endpoints: Sequence[EndpointSnapshot]
) -> Iterator[Judgement]:
    """Endpoints that answer, and refuse what the agent does for every guest. Where that
    is the client certificate, it is named.
    """
    shown = {one.address: one.certificate for one in endpoints}
    for address, refusal in refused.items():
        one = _of_refusal(refusal, Subject(SubjectKind.ENDPOINT, address))
        if one.kind is JudgementKind.CERTIFICATE_REFUSED and shown.get(address):
            one = replace(one, text=f"{one.text}: {shown[address]}")
        yield one


def of_ports(
    refused: Mapping[str, PortRefusal], find: Callable[[str], Registration | None]
) -> Iterator[Judgement]:
    """Registered ports whose guests nova-api does not serve. `find` gives the
    registration of a port.
    """
    for port_id, found in refused.items():
        registration = find(port_id)
        if registration is not None and not _is_probe(registration):
            port = registration.port
            name = port.display_name or port.tap
            subject = Subject(
                SubjectKind.PORT, port_id, name, port.instance_id, port.tap
            )
            request = shown(found.request_id)
            yield replace(_of_refusal(found.refusal, subject), request=request)


def _is_probe(registration: Registration) -> bool:
    """Does it stand for another port for a moment, which explain tries?"""
    return registration.port.author.startswith(PROBE_AUTHOR)


def _of_refusal(refusal: UpstreamRefusal, subject: Subject) -> Judgement:
    kind = JudgementKind(refusal.kind.value)
    return Judgement(kind, Severity.WRONG, subject, refusal.text, refusal.remedy)
