"""An observation becomes the story of a request: each decision, its time, its outcome.

Pure. What a guest would be told of a body, header or secret is not in here: status,
length and names of headers are all that is shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from vagent.ctl.explaining.observed import Observation, PortRecord, Service, Trace
from vagent.ctl.explaining.step import Step

_MEANING = {
    "metadata": "to the metadata proxy",
    "not-provisioned": "refused: no service is provisioned at this address and port",
    "no-endpoint": "refused: the service has no endpoint",
    "unknown-guest": "dropped: the identity belongs to no port",
    "guest-limit": "refused: the guest is at its limit of flows",
    "host-limit": "refused: the host is at its limit of flows",
    "protocol": "refused: the service does not speak this protocol",
}


def about_port(port: PortRecord) -> Step:
    """What is registered, and whether the kernel serves it."""
    return Step(
        "port",
        port.state == "Active" and port.has_address,
        f"{port.name or port.id}: tap {port.tap}, {port.mac}, {port.address},"
        f" identity {port.identity}, instance {port.instance}: {port.state}",
    )


def about_host(port: PortRecord, *, host_to_guest: bool) -> Step:
    """Whether processes of this host get to the guest; the probe does not try."""
    if not host_to_guest:
        detail = "host-to-guest is false: no process of this host opens flows to guests"
    else:
        detail = f"host-to-guest is true: this host reaches it at {port.identity}"
    return Step("host", None, detail)


def about_service(service: Service | None) -> Step:
    """What is provisioned."""
    if service is None:
        return Step("service", ok=False, detail="no metadata service is provisioned")
    to = " or ".join(service.endpoints) or "no endpoint"
    where = f"{service.address}:{service.port}"
    return Step("service", bool(service.endpoints), f"metadata at {where} -> {to}")


def tell(seen: Observation) -> Iterator[Step]:
    """The steps from the probe's tap on, in the order of time."""
    yield _replaced(seen)
    yield _arp(seen)
    yield from _verdict(seen)
    yield _connected(seen)
    if not seen.answered.connected:
        yield from _counters(seen)
        return
    yield Step(
        "request",
        None,
        f"{seen.asked.method} {seen.asked.path} sent",
        _at(seen, seen.answered.connected),
    )
    for trace in seen.metadata:
        failed = "Error" in trace.text or "failed" in trace.text
        yield Step("proxy", not failed, trace.text, _at(seen, trace.time))
    yield _response(seen)
    yield from _counters(seen)


def _replaced(seen: Observation) -> Step:
    probe, port = seen.probe, seen.port
    return Step(
        "probe",
        probe.state == "Active",
        f"tap {probe.tap} and identity {probe.identity} stand for {port.tap} and"
        f" {port.identity}; instance, tenant, address and MAC are the port's own."
        " Not tried: the guest itself, its route, its bridge",
        took=seen.prepared * 1000,
    )


def _arp(seen: Observation) -> Step:
    got = seen.answered
    if not got.arp_answered:
        return Step("ARP", ok=False, detail="no answer at the tap")
    return Step(
        "ARP",
        True,
        f"{_address(seen)} is at {got.arp_mac}, answered at the tap",
        _at(seen, got.arp_asked),
        (got.arp_answered - got.arp_asked) * 1000,
    )


def _verdict(seen: Observation) -> Iterator[Step]:
    if not seen.flows:
        yield Step(
            "verdict",
            ok=False,
            detail="the agent saw no SYN: it was dropped before the queue, or nobody"
            " reads the queue",
        )
    for trace in seen.flows:
        yield _one_verdict(seen, trace)


def _one_verdict(seen: Observation, trace: Trace) -> Step:
    what = trace.text.partition(": ")[2]
    reason, _, rest = what.partition(" ")
    meaning = _MEANING.get(reason, "")
    detail = f"{reason}: {meaning}" if meaning else what
    good = reason in ("metadata", "service")
    return Step("verdict", good, f"{detail} ({rest.strip()})", _at(seen, trace.time))


def _connected(seen: Observation) -> Step:
    got = seen.answered
    if got.connected:
        return Step(
            "connect",
            True,
            f"{seen.probe.identity}:{got.source_port} connected to {_address(seen)}",
            0.0,
            (got.connected - got.began) * 1000,
        )
    return Step("connect", False, got.failure, 0.0, (got.ended - got.began) * 1000)


def _response(seen: Observation) -> Step:
    got = seen.answered
    if not got.status:
        took = (got.ended - got.connected) * 1000
        return Step("response", False, got.failure, _at(seen, got.ended), took)
    names = ", ".join(got.header_names)
    cut = f"; then {got.failure}" if got.failure else ""
    return Step(
        "response",
        got.status < 500 and not got.failure,
        f"{got.status}, {got.length} bytes, headers: {names}{cut}",
        _at(seen, got.first_byte),
        (got.ended - got.connected) * 1000,
    )


def _counters(seen: Observation) -> Iterator[Step]:
    """Counters are the host's: other guests move them, too."""
    for name, packets in seen.counters:
        yield Step("counter", None, f"{name} +{packets}")


def _address(seen: Observation) -> str:
    return seen.service.address if seen.service else "169.254.169.254"


def _at(seen: Observation, time: float) -> float:
    return (time - seen.answered.began) * 1000
