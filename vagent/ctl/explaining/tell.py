"""What was seen of a probe becomes the story of its request, step by step.

Pure. It reads facts, never texts, so an agent's words may change. Of a reply only
status, length and names of headers are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.ctl.explaining.observed import (
    MetadataService,
    ProbeResult,
    ShownPort,
    TracedEvent,
    is_shared,
)
from vagent.ctl.explaining.step import PathStep
from vagent.ctl.explaining.trial import LastSeen, TapTrial
from vagent.judgements.judgement import Judgement, SubjectKind

_MEANING = {
    "metadata": "to the metadata proxy",
    "not-provisioned": "refused: no service is provisioned at this address and port",
    "no-endpoint": "refused: the service has no endpoint",
    "unknown-guest": "dropped: the identity belongs to no port",
    "service": "to the service's endpoint",
    "no-live-endpoint": "to an endpoint, though none of the service seems to live",
    "guest-limit": "refused: the guest is at its limit of flows",
    "guest-rate": "refused: the guest opens flows too fast",
    "host-limit": "refused: the host is at its limit of flows",
    "stopping": "dropped: the agent stops; the next one answers",
    "protocol": "refused: the service does not speak this protocol",
}

_NO_PROGRAM = (
    "the agent puts its program back within seconds; where it does not stay,"
    " vagentctl doctor names who else is at the tap"
)
_UNREGISTERED = (
    "register what the guest uses (vagentctl port del {port}, then port add; the"
    " orchestrator), or let it use what is registered"
)
_OTHER_REFUSAL = (
    "vagentctl port show lists what was refused; docs/operations.md says what each"
    " reason means"
)

STORIES = {
    "RequestForwarded": "{method} {path} accepted as request {request}",
    "ReplyRelayed": "{status}, {size} bytes to request {request} after {seconds:.3f} s",
    "StaleServed": "the reply is from the cache and expired {seconds_late:.0f} s ago",
    "CoalescedFailed": "{status}: it shared request {forwarded}, which failed",
    "ServiceUnknown": "refused: there is no metadata service with an endpoint",
    "RequestRefused": "refused with {status}: {reason}",
    "GuestLimited": "refused with {status}: over the guest's quota ({reason})",
    "AnswerWithheld": "closed instead of 503, after which its cloud-init asks no more",
    "GuestCut": "the connection was cut: {reason}",
    "UpstreamRefused": "{endpoint} answered {status}: {detail}",
    "ForwardFailed": "no reply from the upstream: {reason}: {detail}",
    "TokenRefused": "refused with {status}: session token: {reason}",
    "TokenMissed": "required session tokens would have refused it: {reason}",
    "UpstreamEndpointFailed": "endpoint {endpoint} failed a request: {detail}",
    "UpstreamEndpointChanged": "endpoint {endpoint} is {state}: {detail}",
    "TlsFilesRefused": "the TLS files cannot be used: {detail}",
    "TlsFilesLoaded": "the TLS files were read: {subject}, valid until {until}",
}
"""What events of the proxy mean for the probe, told with their facts."""


def about_port(port: ShownPort) -> PathStep:
    """What is registered, and whether the kernel serves it."""
    return PathStep(
        "port",
        port.state == "Active" and port.has_address,
        f"{port.name or port.id}: tap {port.tap}, {port.mac}, {port.address},"
        f" identity {port.identity}, instance {port.instance}: {port.state}",
    )


def about_host(port: ShownPort, *, host_to_guest: bool) -> PathStep:
    """Whether processes of this host get to the guest; the probe does not try."""
    if not host_to_guest:
        detail = "host-to-guest is false: no process of this host opens flows to guests"
    else:
        detail = f"host-to-guest is true: this host reaches it at {port.identity}"
    return PathStep("host", None, detail)


def about_service(service: MetadataService | None) -> PathStep:
    """What is provisioned."""
    if service is None:
        return PathStep(
            "service", ok=False, detail="no metadata service is provisioned"
        )
    to = " or ".join(service.endpoints) or "no endpoint"
    where = f"{service.address}:{service.port}"
    return PathStep("service", bool(service.endpoints), f"metadata at {where} -> {to}")


def about_judgements(
    judgements: Iterable[Judgement], port: ShownPort
) -> Iterator[PathStep]:
    """What the agent says is wrong of this port, and of what all ports share; not what
    is to be seen of other ports and taps. It may be mended since: the probe will tell.
    """
    others = (SubjectKind.PORT, SubjectKind.HOST)
    for one in judgements:
        if one.subject.kind not in others or one.subject.id == port.id:
            detail = f"{one.severity}: {one.subject}: {one.text}"
            yield PathStep("judged", None, detail, remedy=one.remedy)


def tell(seen: ProbeResult) -> Iterator[PathStep]:
    """The steps from the guest's tap on, in the order of time."""
    yield _replaced(seen)
    at_tap = about_trial(seen.port, seen.trial)
    yield at_tap
    if not at_tap.ok:  # what follows would be about nothing but that
        return
    yield _arp(seen)
    yield from _verdict(seen)
    yield _connected(seen)
    if not seen.answered.connected:
        yield from _counters(seen)
        return
    yield PathStep(
        "request",
        None,
        f"{seen.asked.method} {seen.asked.path} sent",
        _at(seen, seen.answered.connected),
    )
    for event in seen.proxy:
        yield _proxy(seen, event)
    yield _response(seen)
    yield from _counters(seen)


def about_trial(port: ShownPort, trial: TapTrial) -> PathStep:
    """What the program at the tap says to what the guest was last seen to use."""
    seen = trial.seen
    if trial.missing:
        return PathStep("tap", False, trial.missing, remedy=_NO_PROGRAM)
    if trial.was_let_in and not trial.refusal:
        return PathStep("tap", True, f"the program at {seen.tap} lets {seen} in")
    if not trial.refusal:
        detail = f"no frame of the probe met the agent's program at {seen.tap}"
        return PathStep("tap", False, detail, remedy=_NO_PROGRAM)
    differs = " and ".join(f"another {each}" for each in differences(port, seen))
    why = f" ({differs})" if differs else ""
    return PathStep(
        "tap",
        False,
        f"the program at {seen.tap} refuses {seen}: {trial.refusal}{why}; registered is"
        f" {port}",
        remedy=_UNREGISTERED.format(port=port.id) if differs else _OTHER_REFUSAL,
    )


def differences(port: ShownPort, seen: LastSeen) -> Iterator[str]:
    """What of a guest is not as registered."""
    compared = (
        ("tap", seen.tap != port.tap),
        ("VLAN", seen.is_service_tag or seen.vlan != port.vlan),
        ("MAC address", seen.mac != port.mac),
        ("address", str(seen.address) not in port.addresses),
    )
    return (name for name, differs in compared if differs)


def _replaced(seen: ProbeResult) -> PathStep:
    probe, port, trial = seen.probe, seen.port, seen.trial
    return PathStep(
        "probe",
        probe.state == "Active",
        f"sends into {trial.seen.tap} from {trial.seen}, {trial.seen.since};"
        f" identity {probe.identity} stands for {port.identity}, so answers go to the"
        f" probe ({probe.tap}) and nothing is counted for the guest. Not tried: the"
        " guest itself, its route",
        took=seen.prepared * 1000,
    )


def _arp(seen: ProbeResult) -> PathStep:
    got = seen.answered
    if not got.arp_answered:
        return PathStep("ARP", ok=False, detail="no answer at the tap")
    return PathStep(
        "ARP",
        True,
        f"{_address(seen)} is at {got.arp_mac}, answered at the tap",
        _at(seen, got.arp_asked),
        (got.arp_answered - got.arp_asked) * 1000,
    )


def _verdict(seen: ProbeResult) -> Iterator[PathStep]:
    if not seen.verdicts:
        yield PathStep(
            "verdict",
            ok=False,
            detail="the agent saw no SYN: it was dropped before the queue, or nobody"
            " reads the queue",
        )
    for event in seen.verdicts:
        yield _one_verdict(seen, event)


def _one_verdict(seen: ProbeResult, event: TracedEvent) -> PathStep:
    reason = str(event.facts.get("reason", ""))
    meaning = _MEANING.get(reason)
    detail = f"{reason}: {meaning}" if meaning else reason
    service = event.facts.get("service")
    if service:
        number = event.facts.get("endpoint_number")
        detail += f" (service {service}, endpoint {number})"
    return PathStep("verdict", not event.is_fault, detail, _at(seen, event.time))


def _proxy(seen: ProbeResult, event: TracedEvent) -> PathStep:
    """What it did for the probe is good or bad; what all guests share is neither: it
    says something of the probe only if that has failed, too.
    """
    ok = None if is_shared(event) else not event.is_fault
    remedy = str(event.facts.get("remedy", ""))
    at = _at(seen, event.time)
    return PathStep("proxy", ok, story(event), at, remedy=remedy)


def story(event: TracedEvent) -> str:
    """An event of the proxy in a sentence; one that is not known here, by its facts."""
    form = STORIES.get(event.name)
    if form is not None:
        try:
            return form.format_map(event.facts)
        except (LookupError, ValueError, TypeError):
            pass  # another agent's facts: shown as they are
    own = ("port_id", "tap", "guest_address")
    facts = [f"{k} {v}" for k, v in event.facts.items() if k not in own]
    return f"{event.name}: {', '.join(facts)}" if facts else event.name


def _connected(seen: ProbeResult) -> PathStep:
    got = seen.answered
    if got.connected:
        return PathStep(
            "connect",
            True,
            f"{seen.probe.identity}:{got.source_port} connected to {_address(seen)}",
            0.0,
            (got.connected - got.began) * 1000,
        )
    return PathStep("connect", False, got.failure, 0.0, (got.ended - got.began) * 1000)


def _response(seen: ProbeResult) -> PathStep:
    got = seen.answered
    if not got.status:
        took = (got.ended - got.connected) * 1000
        return PathStep("response", False, got.failure, _at(seen, got.ended), took)
    names = ", ".join(got.header_names)
    cut = f"; then {got.failure}" if got.failure else ""
    ok = got.status < 400 and not got.failure
    return PathStep(
        "response",
        ok,
        f"{got.status}, {got.length} bytes, headers: {names}{cut}",
        _at(seen, got.first_byte),
        (got.ended - got.connected) * 1000,
        "" if ok else _remedy(seen),
    )


def _remedy(seen: ProbeResult) -> str:
    """What mends the error that the guest gets: as nova-api's refusal says; else a 404
    with which nothing is wrong but the path.
    """
    for event in seen.proxy:
        if not is_shared(event) and event.facts.get("remedy"):
            return str(event.facts["remedy"])
    relayed = any(event.name == "ReplyRelayed" for event in seen.proxy)
    if seen.answered.status == 404 and relayed:
        return (
            "nova-api has no such document for this instance; ask for one that every"
            " instance has, e.g. GET /openstack"
        )
    return ""


def _counters(seen: ProbeResult) -> Iterator[PathStep]:
    """Counters are the host's: other guests move them, too."""
    for name, packets in seen.counters:
        yield PathStep("counter", None, f"{name} +{packets}")


def _address(seen: ProbeResult) -> str:
    return seen.service.address if seen.service else str(METADATA_ADDRESS)


def _at(seen: ProbeResult, time: float) -> float:
    return (time - seen.answered.began) * 1000
