"""Each alert is provoked, and an agent that is well sets off none.

Pages of `/metrics` are made from the events that the agent reports, and taken from a
running agent; promtool judges both by the rules, as if one page came each minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from introspect.prometheus import exposition
from tests.clients.alert_series import RULES, Series, group, write_tests
from tests.clients.test_clients_prometheus import METRICS, promtool
from tests.unit.vagent.observe.declared import declared, sample
from vagent.datapath.trap.decide import Reason, Verdict
from vagent.metadata.upstream.times import UpstreamTimes
from vagent.observe.observer import Observer

pytestmark = pytest.mark.system

SAMPLES: dict[str, Any] = {kind.__name__: sample(kind) for kind in declared()}
DAY = 86_400.0
BEGINS, ENDS, OVER = 20, 40, 65
"""Minutes: before the first and after the last all is well."""


class Agent:
    """The statistics of an agent whose guests ask each minute."""

    def __init__(self) -> None:
        self._observer = Observer(now=lambda: 0.0, log_level="critical")
        statistics = self._observer.statistics
        self._observer.expect(*declared())
        self.upstream = UpstreamTimes()
        self.upstream.show(statistics)
        self.gauges = {
            "ready": 1.0,
            "judgements_wrong": 0.0,
            "metadata_upstream_endpoints": 2.0,
            "metadata_upstream_up_endpoints": 2.0,
            "linklocal_flows_refused": 0.0,
            "metadata_client_cert_expiry_timestamp_seconds": 90 * DAY,
            "metadata_ca_cert_expiry_timestamp_seconds": 900 * DAY,
        }
        for name in (
            *("queue_drops", "spoofed", "claimed", "stacked_tags"),
            "foreign_identity",
        ):
            self.gauges[f"datapath_{name}_packets"] = 0.0
        for name in self.gauges:
            statistics.gauge(name, lambda name=name: self.gauges[name])  # type: ignore[misc]
        self.is_up = True

    def serve(self) -> None:
        """Ten requests are answered, as in each minute."""
        for _ in range(10):
            self.tell("ReplyRelayed", status=200, seconds=0.01)
            self.upstream.answered.observe(0.01)

    def tell(self, name: str, **fields: Any) -> None:
        """Report an event of this class."""
        self._observer.emit(replace(SAMPLES[name], **fields))

    def page(self) -> str:
        """What Prometheus reads; "" where nobody answers."""
        snapshot = self._observer.statistics.snapshot()
        return exposition(snapshot, version="1").decode() if self.is_up else ""


Fault = Callable[[Agent], object]


def event(name: str, **fields: Any) -> Fault:
    """The fault that this event tells of."""
    return lambda agent: agent.tell(name, **fields)


def gauge(name: str, value: float) -> Fault:
    """The fault that a gauge has this value."""
    return lambda agent: agent.gauges.update({name: value})


def growing(name: str) -> Fault:
    """The fault that a gauge grows each minute."""
    return lambda agent: agent.gauges.update({name: agent.gauges[name] + 3})


def slowly(agent: Agent) -> None:
    """A tenth of what is asked upstream takes long."""
    agent.upstream.answered.observe(9.0)


def down(agent: Agent) -> None:
    """The agent does not answer."""
    agent.is_up = False


def refused(agent: Agent) -> None:
    """The agent answers with errors of its own that are the guests'."""
    agent.tell("RequestFailed", status=429, seconds=0.0)


END = "metadata_{}_expiry_timestamp_seconds"
FAULTS: list[tuple[str, Fault]] = [
    ("VagentDown", down),
    ("VagentNotReady", gauge("ready", 0)),
    ("VagentGuestsFail", gauge("judgements_wrong", 1)),
    ("VagentServerErrors", event("ReplyRelayed", status=500, seconds=0.01)),
    ("VagentRequestsFail", refused),
    ("VagentUpstreamSlow", slowly),
    ("VagentEndpointDown", gauge("metadata_upstream_up_endpoints", 1)),
    ("VagentUpstreamRefuses", event("UpstreamRefused")),
    ("VagentCertificateEnds", gauge(END.format("client_cert"), 20 * DAY)),
    ("VagentCertificateEnds", gauge(END.format("ca_cert"), 20 * DAY)),
    ("VagentTlsFilesRefused", event("TlsFilesRefused")),
    ("VagentRulesLost", event("RulesLost")),
    ("VagentRulesRefused", event("RulesRefused")),
    ("VagentRulesRefused", event("FlowsNotEnded")),
    ("VagentRulesRefused", event("PortsUnsettled")),
    ("VagentQueueOverrun", event("QueueOverrun")),
    ("VagentQueueOverrun", growing("datapath_queue_drops_packets")),
    ("VagentSpoofing", growing("datapath_spoofed_packets")),
    ("VagentSpoofing", growing("datapath_claimed_packets")),
    ("VagentSpoofing", growing("datapath_stacked_tags_packets")),
    ("VagentSpoofing", growing("datapath_foreign_identity_packets")),
    ("VagentFlowsLimited", growing("linklocal_flows_refused")),
    (
        "VagentNoLiveEndpoint",
        event("FlowDecided", verdict=Verdict(1, Reason.NO_LIVE_ENDPOINT, "dns")),
    ),
    ("VagentVendorDataFails", event("InstanceMarkedFailed")),
    ("VagentVendorDataFails", event("CredentialsFailed")),
    ("VagentStateNotKept", event("PortJournalFailed")),
    ("VagentStateNotKept", event("AnswersNotStored")),
    ("VagentStateNotKept", event("IdentityKeysNotKept")),
    ("VagentStateNotKept", event("SessionKeysNotKept")),
    ("VagentFault", event("VerdictFailed")),
    ("VagentFault", event("ApiFailed")),
    ("VagentFault", event("PageFailed")),
    ("VagentFault", event("NovaFailed")),
]


def rules() -> list[dict[str, Any]]:
    """The alerts as they stand in the file."""
    (found,) = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return list(found["rules"])


def told(fault: Fault, *, lasts: bool) -> Series:
    """Pages of an agent that has a fault from BEGINS to ENDS, or at BEGINS only."""
    agent, series = Agent(), Series()
    well = dict(agent.gauges)
    for minute in range(OVER + 1):
        agent.serve()
        if minute == BEGINS or (lasts and BEGINS < minute < ENDS):
            fault(agent)
        if minute == ENDS:
            agent.is_up = True
            agent.gauges.update(
                (name, value)
                for name, value in well.items()
                if not name.endswith(("_packets", "_refused"))
            )
        series.scrape(agent.page())
    return series


def test_the_rules_are_rules() -> None:
    """promtool takes the file; each alert says what is wrong and what to look at, and
    stands in docs/operations.md with every series that it asks for.
    """
    told = (RULES.parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert "" == promtool("check", "rules", str(RULES))
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == {*rule["annotations"]}
        assert f"`{rule['alert']}`" in told
        for name in re.findall(r"\bvagent_\w+", rule["expr"]):
            assert name == "vagent_build_info" or name.removesuffix("_bucket") in told


def test_each_alert_is_provoked(tmp_path: Path) -> None:
    """By each fault that it is for, alone, and it ends with the fault. What is counted
    once is enough where the alert says so.
    """
    groups = []
    for name, fault in FAULTS:
        at = {BEGINS - 1: [], ENDS - 1: [name], OVER: []}
        groups.append(group(told(fault, lasts=True), at))
    assert {rule["alert"] for rule in rules()} - {"VagentCertificateEnded"} == {
        name for name, _ in FAULTS
    }
    assert "" == promtool("test", "rules", str(write_tests(tmp_path, groups)))


def test_one_event_is_enough(tmp_path: Path) -> None:
    """Where a counter's growth is the alert, also if the series begins with it."""
    once = [
        (rule["alert"], fault)
        for rule in rules()
        for name, fault in FAULTS
        if rule["alert"] == name and "increase(" in rule["expr"]
    ]
    groups = [
        group(told(fault, lasts=False), {BEGINS + 3: [name], BEGINS + 15: []})
        for name, fault in once
    ]
    assert len(groups) > 20
    assert "" == promtool("test", "rules", str(write_tests(tmp_path, groups)))


def test_a_certificate_that_is_about_to_end(tmp_path: Path) -> None:
    """Is told of as such, too."""
    fault = gauge(END.format("client_cert"), DAY)
    at = {BEGINS - 1: [], BEGINS: ["VagentCertificateEnded", "VagentCertificateEnds"]}
    groups = [group(told(fault, lasts=True), at)]
    assert "" == promtool("test", "rules", str(write_tests(tmp_path, groups)))


@contextmanager
def briefly_held(town: Any) -> Iterator[None]:
    """The agent holds requests for a second and keeps no replies."""
    quick = "<hold-time>1</hold-time><cache-ttl>0</cache-ttl><use-ssl>true</use-ssl>"
    with town.restarted("<use-ssl>true</use-ssl>", quick):
        town.provision("nova")
        yield


def families(page: str) -> set[str]:
    """All names that a page may have, those without a value yet included."""
    return {
        name
        for one in text_string_to_metric_families(page)
        for name in (one.name, f"{one.name}_total", f"{one.name}_bucket")
    } | {f"{one.name}_count" for one in text_string_to_metric_families(page)}


def test_a_real_outage_sets_off_the_alerts_that_wake_people(
    town: Any, clients: Any, tmp_path: Path
) -> None:
    """Nova is away: guests fail, its endpoint is down, and replies are errors. None of
    it before, and none when Nova has been back for a while.
    """
    series = Series()

    def minute(status: int) -> None:
        """A guest asks and gets this, then Prometheus."""
        assert status == clients.curl("alice", "/latest/meta-data/")[0]
        series.scrape(town.agent.get(METRICS))

    with briefly_held(town):
        for _ in range(6):
            minute(200)
        well = series.minutes - 1
        with town.unreachable("nova"):
            for _ in range(9):
                minute(503)
        away = series.minutes - 1
        for _ in range(12):
            minute(200)
    wake = (
        *("VagentGuestsFail", "VagentServerErrors"),
        *("VagentEndpointDown", "VagentRequestsFail"),
    )
    at = {well: [], away: sorted(wake), series.minutes - 1: []}
    groups = [group(series, at)]
    assert "" == promtool("test", "rules", str(write_tests(tmp_path, groups)))


def test_rules_ask_for_what_the_agent_has(town: Any) -> None:
    """Each name in an expression is a metric of a running agent."""
    known = families(town.agent.get(METRICS))
    asked = {
        name for rule in rules() for name in re.findall(r"\bvagent_\w+", rule["expr"])
    }
    assert len(asked) > 20
    assert asked <= known, asked - known
