"""Promises of the story that explain tells: every decision, and its time."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.unit.vagent.observe.declared import declared, sample
from vagent.ctl.explaining.observed import (
    MetadataService,
    ProbeReply,
    ProbeRequest,
    ProbeResult,
    ShownPort,
    TracedEvent,
)
from vagent.ctl.explaining.step import PathStep
from vagent.ctl.explaining.tell import (
    STORIES,
    about_host,
    about_judgements,
    about_port,
    about_service,
    about_trial,
    differences,
    story,
    tell,
)
from vagent.ctl.explaining.trial import LastSeen, TapTrial
from vagent.datapath.tap.layout import DropReason, TapProbe
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.observe.facts import facts_of

PORT = ShownPort(
    id="p1",
    name="alice",
    instance="i1",
    tenant="t1",
    network="n1",
    tap="tap1",
    mac="02:00:00:00:00:01",
    address="10.0.0.5",
    identity="169.254.64.2",
    state="Active",
)
PROBE = replace(PORT, id="p2", tap="vgx1", identity="169.254.64.9")
SERVICE = MetadataService("169.254.169.254", 80, ("192.0.2.7:8775",))
ANSWERED = ProbeReply(
    arp_asked=99.0,
    arp_answered=99.001,
    arp_mac="02:00:a9:fe:a9:fe",
    began=100.0,
    connected=100.002,
    source_port=40000,
    first_byte=100.010,
    ended=100.011,
    status=200,
    length=42,
    header_names=("Content-Type", "Content-Length"),
)
AT_TAP = LastSeen("tap1", 0, False, PORT.mac, IPv4Address(PORT.address), 12.0)
LET_IN = TapProbe(IPv4Address(PROBE.identity), 9, accepted=4, answered=1)
SEEN = ProbeResult(
    asked=ProbeRequest("GET", "/latest/"),
    port=PORT,
    service=SERVICE,
    probe=PROBE,
    prepared=0.05,
    trial=TapTrial(AT_TAP, LET_IN),
    answered=ANSWERED,
    verdicts=(TracedEvent(100.001, "FlowDecided", False, {"reason": "metadata"}),),
    proxy=(TracedEvent(100.003, "RequestForwarded", False, {"port_id": "p2"}),),
    counters=(("ip refused", 2),),
)


def named(seen: ProbeResult, name: str) -> PathStep:
    (step,) = [step for step in tell(seen) if step.name == name]
    return step


def test_a_good_request_has_no_failed_step() -> None:
    """All steps in the order of the way, with times relative to the SYN."""
    steps = list(tell(SEEN))
    assert [
        *("probe", "tap", "ARP", "verdict", "connect", "request"),
        *("proxy", "response", "counter"),
    ] == [step.name for step in steps]
    assert not [step for step in steps if step.ok is False]
    assert pytest.approx(1.0) == named(SEEN, "verdict").at
    assert pytest.approx(2.0) == named(SEEN, "connect").took
    assert "200, 42 bytes" in named(SEEN, "response").detail


def test_what_was_replaced_is_said() -> None:
    """The identity and where answers go; the guest's own way is not tried."""
    detail = named(SEEN, "probe").detail
    for part in ("vgx1", "169.254.64.9", "tap1", "169.254.64.2", "Not tried"):
        assert part in detail
    assert "from 02:00:00:00:00:01 10.0.0.5, as its guest was last seen 12" in detail


def test_the_program_at_the_tap_lets_the_guest_in() -> None:
    step = named(SEEN, "tap")
    assert "tap1 lets 02:00:00:00:00:01 10.0.0.5 in" in step.detail


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"mac": "02:00:00:00:00:99"}, "another MAC address"),
        ({"address": IPv4Address("10.0.0.66")}, "another address"),
        ({"vlan": 7}, "another VLAN"),
        ({"is_service_tag": True}, "another VLAN"),
        ({"tap": "tap2"}, "another tap"),
        ({"tap": "tap2", "vlan": 7}, "another tap and another VLAN"),
    ],
)
def test_what_the_program_at_the_tap_refuses(
    changes: dict[str, Any], differs: str
) -> None:
    """What is not as registered, and what mends it; nothing else is told then."""
    seen = replace(AT_TAP, **changes)
    outcome = TapProbe(IPv4Address(PROBE.identity), 9, refused=DropReason.SPOOFED)
    steps = list(tell(replace(SEEN, trial=TapTrial(seen, outcome))))
    assert ["probe", "tap"] == [step.name for step in steps]
    step = steps[-1]
    assert step.ok is False
    assert f"at {seen.tap} refuses {seen}: spoofed ({differs})" in step.detail
    registered = "registered is 02:00:00:00:00:01 10.0.0.5 at tap1"
    assert step.detail.endswith(registered)
    assert "vagentctl port del p1" in step.remedy


def test_a_refusal_of_what_is_as_registered() -> None:
    """Also where the same port was let in: the last word counts."""
    outcome = LET_IN._replace(refused=DropReason.MALFORMED)
    step = about_trial(PORT, TapTrial(AT_TAP, outcome))
    assert (step.ok, "malformed; registered" in step.detail) == (False, True)
    assert "what each reason means" in " ".join(step.remedy.split())


def test_a_probe_that_met_no_program() -> None:
    """None was sent, with the reason, or none came."""
    for trial, said in (
        (TapTrial(AT_TAP, missing="no such tap"), "no such tap"),
        (TapTrial(AT_TAP), "no frame of the probe met the agent's program at tap1"),
        (TapTrial(AT_TAP, LET_IN._replace(accepted=0)), "no frame of the probe"),
    ):
        step = about_trial(PORT, trial)
        assert step.ok is False
        assert step.detail.startswith(said)
        assert "vagentctl doctor" in step.remedy


def test_what_is_registered_is_written_with_its_vlan() -> None:
    port = replace(PORT, vlan=7, further=("10.0.0.6",))
    assert str(port) == "02:00:00:00:00:01 10.0.0.5, 10.0.0.6 VLAN 7 at tap1"
    other = replace(AT_TAP, vlan=7, address=IPv4Address("10.0.0.6"))
    assert [] == list(differences(port, other))


@pytest.mark.parametrize("fault", [True, False])
@pytest.mark.parametrize(
    "reason",
    ["metadata", "service", "not-provisioned", "no-endpoint", "unknown-guest",
     "guest-limit", "something-new"],
)  # fmt: skip
def test_the_verdict_is_the_agents(reason: str, fault: bool) -> None:
    """Its reason is repeated, and whether it is good is not guessed from that."""
    facts = {"reason": reason, "service": "x", "endpoint_number": 1}
    event = TracedEvent(100.0, "FlowDecided", fault, facts)
    step = named(replace(SEEN, verdicts=(event,)), "verdict")
    assert step.ok is not fault
    assert reason in step.detail
    assert step.detail.endswith("(service x, endpoint 1)")


@pytest.mark.parametrize(("fault", "ok"), [(False, True), (True, False)])
def test_what_the_proxy_did_for_the_probe_counts(fault: bool, ok: bool) -> None:
    """Whatever it is called and whatever else it says."""
    event = TracedEvent(100.003, "Whatever", fault, {"port_id": "p2"})
    assert ok is named(replace(SEEN, proxy=(event,)), "proxy").ok


def test_what_all_guests_share_is_told_but_does_not_count() -> None:
    """An endpoint may have failed another guest's request."""
    facts = {"endpoint": "10.0.0.5:8775", "detail": "timeout"}
    event = TracedEvent(100.003, "UpstreamEndpointFailed", True, facts)
    step = named(replace(SEEN, proxy=(event,)), "proxy")
    assert step.ok is None
    assert "endpoint 10.0.0.5:8775 failed a request: timeout" == step.detail


def test_an_unknown_event_is_told_by_its_facts() -> None:
    """Those of the probe itself are known already; a known event may lack a fact."""
    facts = {"port_id": "p", "tap": "t", "guest_address": "a", "x": 1, "y": ["b"]}
    assert "New: x 1, y ['b']" == story(TracedEvent(0.0, "New", False, facts))
    assert "New" == story(TracedEvent(0.0, "New", False, {}))
    lacking = TracedEvent(0.0, "ReplyRelayed", False, {"status": 200})
    assert "ReplyRelayed: status 200" == story(lacking)


@pytest.mark.parametrize("name", sorted(STORIES))
def test_every_story_is_of_an_event(name: str) -> None:
    """That the agent emits, with the facts that it has."""
    (kind,) = [each for each in declared() if each.__name__ == name]
    told = story(TracedEvent(0.0, name, False, facts_of(sample(kind))))
    assert not told.startswith(name)


def test_a_refused_connection_ends_the_story() -> None:
    """No request, no response; the connect step carries why."""
    answered = replace(ANSWERED, connected=0.0, failure="refused at once (TCP reset)")
    steps = list(tell(replace(SEEN, answered=answered)))
    names = ["probe", "tap", "ARP", "verdict", "connect", "counter"]
    assert names == [step.name for step in steps]
    assert (False, "refused at once (TCP reset)") == (steps[4].ok, steps[4].detail)


def test_silence_is_told_as_silence() -> None:
    """No ARP answer, no verdict, no reply: each fails in its own step."""
    mute = replace(ANSWERED, arp_answered=0.0, status=0, failure="no answer in time")
    seen = replace(SEEN, answered=mute, verdicts=())
    assert [False] * 3 == [named(seen, n).ok for n in ("ARP", "verdict", "response")]


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (399, True), (400, False), (500, False)]
)
def test_an_error_fails_the_response(status: int, ok: bool) -> None:
    """From 400 on, whoever it comes from."""
    seen = replace(SEEN, answered=replace(ANSWERED, status=status))
    step = named(seen, "response")
    assert (ok, "") == (step.ok, step.remedy)


def test_a_refusal_of_nova_has_its_remedy() -> None:
    """Where the proxy met it, and where the guest gets it; not that of another guest's
    endpoint.
    """
    facts = {
        "port_id": "p2",
        "endpoint": "192.0.2.7:8775",
        "status": 403,
        "detail": "nova-api refused our signature",
        "remedy": "put the secret there",
    }
    shared = TracedEvent(100.002, "Whatever", True, {"remedy": "of all guests"})
    event = TracedEvent(100.003, "UpstreamRefused", True, facts)
    answered = replace(ANSWERED, status=403)
    steps = list(tell(replace(SEEN, answered=answered, proxy=(shared, event))))
    proxy, response = [s for s in steps if s.name in ("proxy", "response")][1:]
    assert (False, "put the secret there") == (proxy.ok, proxy.remedy)
    assert "192.0.2.7:8775 answered 403: nova-api refused our signature" == proxy.detail
    assert (False, "put the secret there") == (response.ok, response.remedy)


@pytest.mark.parametrize(("relayed", "says"), [(True, True), (False, False)])
def test_404_of_nova_with_nothing_wrong_but_the_path(
    *, relayed: bool, says: bool
) -> None:
    """The remedy is another path; a 404 of the agent's own has another reason."""
    name = "ReplyRelayed" if relayed else "GuestUnknown"
    event = TracedEvent(100.003, name, False, {"port_id": "p2"})
    seen = replace(SEEN, answered=replace(ANSWERED, status=404), proxy=(event,))
    step = named(seen, "response")
    assert step.ok is False
    assert says is ("GET /openstack" in step.remedy)


def test_a_cut_response_failed() -> None:
    """Though its status was good."""
    seen = replace(SEEN, answered=replace(ANSWERED, failure="IncompleteRead"))
    assert named(seen, "response").ok is False


@pytest.mark.parametrize(
    ("changes", "ok"),
    [({}, True), ({"state": "Inactive"}, False), ({"address": "0.0.0.0"}, False)],
)  # fmt: skip
def test_a_port_is_judged(changes: dict[str, Any], ok: bool) -> None:
    """It must be active, and have an IPv4 address."""
    assert ok == about_port(replace(PORT, **changes)).ok


@pytest.mark.parametrize(
    ("host_to_guest", "said"),
    [(True, "true: this host reaches it at 169.254.64.2"), (False, "is false")],
)
def test_whether_the_host_reaches_a_guest_is_said(
    host_to_guest: bool, said: str
) -> None:
    """As it is configured; neither is a fault."""
    step = about_host(PORT, host_to_guest=host_to_guest)
    assert step.ok is None
    assert said in step.detail


def test_what_the_agent_judges_is_told_with_its_remedy() -> None:
    """Of this port and of what all share, not of another port or of taps; it fails
    nothing, as it may be mended since.
    """
    own = Subject(SubjectKind.PORT, PORT.id, "alice")
    other = Subject(SubjectKind.PORT, "p9", "bob")
    shared = Subject(SubjectKind.ENDPOINT, "192.0.2.7:8775")
    judged = [
        Judgement(JudgementKind.NOVA_FAILED, Severity.WRONG, one, "fails", "look there")
        for one in (own, other, shared, Subject(SubjectKind.HOST, "taps"))
    ]
    steps = list(about_judgements(judged, PORT))
    assert [
        "wrong: port alice (p1): fails",
        "wrong: endpoint 192.0.2.7:8775: fails",
    ] == [step.detail for step in steps]
    assert {("judged", None, "look there")} == {
        (step.name, step.ok, step.remedy) for step in steps
    }


def test_a_service_is_judged() -> None:
    """It must be there, and lead somewhere."""
    assert about_service(SERVICE).ok
    assert not about_service(None).ok
    assert not about_service(replace(SERVICE, endpoints=())).ok
