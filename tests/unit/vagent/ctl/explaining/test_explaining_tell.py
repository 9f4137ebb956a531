"""Promises of the story that explain tells: every decision, and its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vagent.ctl.explaining.observed import (
    Answered,
    Asked,
    Observation,
    PortRecord,
    Service,
    Trace,
    flow_lines,
    metadata_lines,
    moved,
    read_counters,
    read_service,
    read_trace,
)
from vagent.ctl.explaining.step import Step
from vagent.ctl.explaining.tell import about_host, about_port, about_service, tell

PORT = PortRecord(
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
SERVICE = Service("169.254.169.254", 80, ("192.0.2.7:8775",))
ANSWERED = Answered(
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
SEEN = Observation(
    asked=Asked("GET", "/latest/"),
    port=PORT,
    service=SERVICE,
    probe=PROBE,
    prepared=0.05,
    answered=ANSWERED,
    flows=(Trace(100.001, "169.254.64.9:40000 -> x: metadata metadata endpoint 1"),),
    metadata=(Trace(100.003, "GET request for VM : 10.0.0.5 URL : latest/"),),
    counters=(("ip refused", 2),),
)


def named(seen: Observation, name: str) -> Step:
    (step,) = [step for step in tell(seen) if step.name == name]
    return step


def test_a_good_request_has_no_failed_step() -> None:
    """All steps in the order of the way, with times relative to the SYN."""
    steps = list(tell(SEEN))
    assert [
        *("probe", "ARP", "verdict", "connect", "request"),
        *("proxy", "response", "counter"),
    ] == [step.name for step in steps]
    assert not [step for step in steps if step.ok is False]
    assert pytest.approx(1.0) == named(SEEN, "verdict").at
    assert pytest.approx(2.0) == named(SEEN, "connect").took
    assert "200, 42 bytes" in named(SEEN, "response").detail


def test_what_was_replaced_is_said() -> None:
    """The probe's tap and identity are its own, and the guest's way is not tried."""
    detail = named(SEEN, "probe").detail
    for part in ("vgx1", "169.254.64.9", "tap1", "169.254.64.2", "Not tried"):
        assert part in detail


@pytest.mark.parametrize(
    ("reason", "good"),
    [("metadata", True), ("service", True), ("not-provisioned", False),
     ("no-endpoint", False), ("unknown-guest", False), ("guest-limit", False),
     ("something-new", False)],
)  # fmt: skip
def test_the_verdict_is_the_agents(reason: str, good: bool) -> None:
    """Its reason is repeated, and only a way that leads somewhere is good."""
    seen = replace(SEEN, flows=(Trace(100.0, f"a:1 -> b:80 protocol 6: {reason} x 1"),))
    step = named(seen, "verdict")
    assert (good, True) == (step.ok, reason in step.detail)


def test_a_refused_connection_ends_the_story() -> None:
    """No request, no response; the connect step carries why."""
    answered = replace(ANSWERED, connected=0.0, failure="refused at once (TCP reset)")
    steps = list(tell(replace(SEEN, answered=answered)))
    assert ["probe", "ARP", "verdict", "connect", "counter"] == [s.name for s in steps]
    assert (False, "refused at once (TCP reset)") == (steps[3].ok, steps[3].detail)


def test_silence_is_told_as_silence() -> None:
    """No ARP answer, no verdict, no reply: each fails in its own step."""
    mute = replace(ANSWERED, arp_answered=0.0, status=0, failure="no answer in time")
    seen = replace(SEEN, answered=mute, flows=())
    assert [False] * 3 == [named(seen, n).ok for n in ("ARP", "verdict", "response")]


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, True), (500, False)])
def test_only_a_server_error_fails_the_response(status: int, ok: bool) -> None:
    """404 is an answer of Nova."""
    seen = replace(SEEN, answered=replace(ANSWERED, status=status))
    assert ok == named(seen, "response").ok


def test_a_cut_response_failed() -> None:
    """Though its status was good."""
    seen = replace(SEEN, answered=replace(ANSWERED, failure="IncompleteRead"))
    assert named(seen, "response").ok is False


@pytest.mark.parametrize(
    ("changes", "ok"),
    [({}, True), ({"state": "Inactive"}, False), ({"address": "0.0.0.0"}, False)],
)  # fmt: skip
def test_a_port_is_judged(changes: dict[str, str], ok: bool) -> None:
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


def test_a_service_is_judged() -> None:
    """It must be there, and lead somewhere."""
    assert about_service(SERVICE).ok
    assert not about_service(None).ok
    assert not about_service(replace(SERVICE, endpoints=())).ok


def test_traces_are_read() -> None:
    """Microseconds become seconds; source and line are left out."""
    line = "1500000 MetadataTrace: GET request for VM : 10.0.0.5 a/b.py 56"
    assert Trace(1.5, "GET request for VM : 10.0.0.5") == read_trace(line)
    assert read_trace("nonsense") is None


def test_only_our_own_flow_counts() -> None:
    """By identity and port; a longer port number is another flow."""
    lines = [
        f"1000000 LinkLocalFlowTrace: 169.254.64.9:{port} -> b:80: metadata x.py 1"
        for port in (40000, 4000, 400001)
    ]
    assert 1 == len(flow_lines(lines, PROBE, 40000))


def test_only_lines_of_the_guest_and_the_time_count() -> None:
    """Neither another address that begins alike nor an earlier request."""
    texts = ["VM : 10.0.0.5 Response", "VM : 10.0.0.55 Response", "upstream x is down"]
    lines = [
        f"{time}000000 MetadataTrace: {t} x.py 1" for t in texts for time in (5, 9)
    ]
    found = metadata_lines(lines, "10.0.0.5", 8, 10)
    assert [texts[0], texts[2]] == [trace.text for trace in found]


def test_the_service_is_read_from_the_config_api() -> None:
    """Fabric addresses, else the name; None if it is not there."""
    raw = {
        "linklocal_service_name": "metadata",
        "linklocal_service_ip": "169.254.169.254",
        "linklocal_service_port": 80,
        "ip_fabric_service_ip": ["192.0.2.7"],
        "ip_fabric_service_port": 8775,
        "ip_fabric_DNS_service_name": "",
    }
    assert SERVICE == read_service({"services": [raw]})
    by_name = {**raw, "ip_fabric_service_ip": [], "ip_fabric_DNS_service_name": "nova"}
    found = read_service({"services": [by_name]})
    assert found is not None
    assert ("nova:8775",) == found.endpoints
    assert read_service({"services": []}) is None


def test_counters_that_moved() -> None:
    """Ours only, and only those that grew."""
    text = """{"nftables": [{"counter": {"family": "ip", "table": "vagent",
    "name": "refused", "packets": 3}}, {"counter": {"family": "ip", "table": "x",
    "name": "other", "packets": 9}}]}"""
    after = read_counters(text, "vagent")
    assert {"ip refused": 3} == after
    assert (("ip refused", 2),) == moved({"ip refused": 1}, after)
    assert () == moved(after, after)
    assert {} == read_counters("", "vagent")
