"""Promises of what explain finds in the traces, in services and in counters."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from introspect import trace_json
from tests.unit.vagent.observe.declared import declared
from vagent.ctl.explaining.observed import (
    MetadataService,
    ProbeReply,
    ProbeRequest,
    ProbeResult,
    ShownPort,
    TracedEvent,
    moved,
    proxy_events,
    read_counters,
    read_service,
    read_trace,
    verdicts,
)
from vagent.ctl.explaining.tell import tell
from vagent.ctl.explaining.trial import LastSeen, TapTrial
from vagent.datapath.tap.layout import TapProbe
from vagent.datapath.trap.decide import NOT_PROVISIONED, Reason, Verdict
from vagent.datapath.trap.events import FlowDecided
from vagent.errors import WireError
from vagent.kernel.ip_packet import OpeningPacket
from vagent.metadata import events
from vagent.metadata.upstream.events import ForwardFailed, UpstreamEndpointFailed
from vagent.observe.event import Event
from vagent.observe.observer import Observer
from vagent.ports.port import Port, Registration

SERVICE = MetadataService("169.254.169.254", 80, ("192.0.2.7:8775",))
ADDRESS = "10.0.0.5"
PORT = ShownPort(
    *("guest", "alice", "i1", "t1", "n1", "tap1", "02:00:00:00:00:01", ADDRESS),
    *("169.254.64.2", "Active"),
)
ALICE = events.Caller("probe", "vgx1", ADDRESS)
BOB = events.Caller("other", "tap2", ADDRESS)


class Agent:
    """The traces of an agent, read as the tool reads them."""

    def __init__(self) -> None:
        self.time = 100.0
        self.observer = Observer(now=lambda: self.time, log_level="critical")

    def emit(self, time: float, *happened: Event) -> None:
        self.time = time
        for event in happened:
            self.observer.emit(event)

    def trace(self, buffer: str) -> tuple[TracedEvent, ...]:
        path = f"{trace_json.PATH}/{buffer}"
        status, body = trace_json.answer(self.observer.traces, path, "")
        assert 200 == status
        return read_trace(json.loads(body))


def registration(port_id: str) -> Registration:
    """Of a guest with the address that all have."""
    address = IPv4Address(ADDRESS)
    port = Port(port_id, "i", "t", "", "", f"tap-{port_id}", "", address, None)
    return Registration(port, 9, IPv4Address("169.254.64.9"))


def decided(port_id: str, source_port: int, verdict: Verdict) -> FlowDecided:
    """A verdict on a packet of the identity that `registration` has."""
    packet = OpeningPacket(6, 0xA9FE4009, 0xA9FEA9FE, source_port, 80)
    return FlowDecided(packet, verdict, registration(port_id))


METADATA = Verdict(1, Reason.METADATA, "metadata")


def busy_agent() -> Agent:
    """Two guests with one address: all that the probe asks for goes well, nothing that
    the other one does, from the same source port, at the same time.
    """
    agent = Agent()
    agent.emit(99.0, UpstreamEndpointFailed("192.0.2.7:8775", "long ago"))
    agent.emit(
        100.001,
        decided("probe", 40000, METADATA),
        decided("probe", 4000, NOT_PROVISIONED),
        decided("other", 40000, NOT_PROVISIONED),
    )
    agent.emit(
        100.003,
        events.RequestForwarded(1, ALICE, b"GET", b"/latest/"),
        events.RequestForwarded(2, BOB, b"GET", b"/latest/"),
        ForwardFailed(2, BOB, "timeout", "no reply in time"),
        UpstreamEndpointFailed("192.0.2.7:8775", "no reply in time"),
        events.GuestUnknown(3, events.Caller("", "", ADDRESS)),
        events.ReplyRelayed(1, ALICE, 200, 42, 0.0075),
    )
    return agent


def explained(agent: Agent) -> list[dict[str, Any]]:
    """All that is told of the probe."""
    reply = ProbeReply(
        arp_asked=99.9,
        arp_answered=99.91,
        began=100.0,
        connected=100.002,
        source_port=40000,
        first_byte=100.01,
        ended=100.011,
        status=200,
    )
    seen = ProbeResult(
        asked=ProbeRequest("GET", "/latest/"),
        port=PORT,
        service=SERVICE,
        probe=replace(PORT, id="probe", tap="vgx1", identity="169.254.64.9"),
        prepared=0.05,
        trial=TapTrial(
            LastSeen("tap1", 0, False, PORT.mac, IPv4Address(PORT.address)),
            TapProbe(IPv4Address("169.254.64.9"), 9, accepted=1),
        ),
        answered=reply,
        verdicts=verdicts(agent.trace("LinkLocalFlow"), "probe", 40000),
        proxy=proxy_events(agent.trace("Metadata"), "probe", 100.0, 100.2),
    )
    return [asdict(step) for step in tell(seen)]


def test_nothing_of_another_guest_is_told() -> None:
    """It has the same address, the same source port, and fails at the same time."""
    steps = explained(busy_agent())
    assert not [step for step in steps if step["ok"] is False]
    assert ["verdict"] == [s["name"] for s in steps if s["name"] == "verdict"]
    proxy = [(step["ok"], step["detail"]) for step in steps if step["name"] == "proxy"]
    assert [
        (True, "GET /latest/ accepted as request 0000000000000001"),
        (None, "endpoint 192.0.2.7:8775 failed a request: no reply in time"),
        (True, "200, 42 bytes to request 0000000000000001 after 0.007 s"),
    ] == proxy


def test_what_fails_is_told_of_the_guest_that_it_fails_for() -> None:
    """The other way round: the probe's own failure is found."""
    agent = busy_agent()
    agent.emit(100.004, ForwardFailed(1, ALICE, "broken-reply", "closed early"))
    (failed,) = [step for step in explained(agent) if step["ok"] is False]
    assert "no reply from the upstream: broken-reply: closed early" == failed["detail"]


@pytest.mark.parametrize("wording", ["", "Error failed upstream VM : 10.0.0.5", "x"])
def test_no_wording_matters(monkeypatch: pytest.MonkeyPatch, wording: str) -> None:
    """Whatever the agent says in words, what is told stays the same."""
    expected = explained(busy_agent())
    for kind in declared():
        monkeypatch.setattr(kind, "text", lambda _event: wording)
    assert expected == explained(busy_agent())


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"version": 2, "entries": []},
        {"version": 1},
        {"version": 1, "entries": [{}]},
        {"version": 1, "entries": [{"time": "x", "event": "E", "fault": False}]},
        {"version": 1, "entries": [7]},
    ],
)
def test_traces_of_another_form_are_refused(document: Any) -> None:
    """Rather than told wrongly."""
    with pytest.raises(WireError):
        read_trace(document)


def test_an_entry_is_read() -> None:
    """Time, event and fault; the other members but the text are its facts."""
    entry = {"time": 1.5, "event": "E", "fault": True, "text": "t", "port_id": "p"}
    document = {"version": 1, "entries": [entry]}
    assert (TracedEvent(1.5, "E", True, {"port_id": "p"}),) == read_trace(document)


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


def test_a_port_keeps_its_tenant_letter_for_letter() -> None:
    """Where it is no UUID, which Contrail's member cannot say."""
    nil = "00000000-0000-0000-0000-000000000000"
    shown = ShownPort.of({"vm-project-id": nil, "project-id": "Demo_1"})
    assert (nil, "Demo_1") == (shown.tenant, shown.project)
    assert "" == ShownPort.of({"vm-project-id": nil}).project


def test_vlan_and_addresses_of_a_port() -> None:
    """-1 and 0 are no VLAN."""
    more = {"ip-address": "10.0.0.5", "further-addresses": ["10.0.0.6"]}
    for said, vlan in ((-1, 0), (0, 0), (7, 7)):
        assert ShownPort.of({"rx-vlan-id": said}).vlan == vlan
    assert ShownPort.of(more).addresses == ("10.0.0.5", "10.0.0.6")
    assert ShownPort.of({}).vlan == 0
