"""What Prometheus reads of a running agent: each phase of a request, by its end."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.waiting import wait_for
from tests.system.test_system_judgements import PATH, asks

pytestmark = pytest.mark.system

METRICS = "http://127.0.0.1:8085/metrics"
WHOLE = "metadata_request_seconds"
HELD = "metadata_held_seconds"
CONNECT = "metadata_upstream_connect_seconds"
UPSTREAM = "metadata_upstream_seconds"
PHASES = (WHOLE, HELD, CONNECT, UPSTREAM)


def samples(site: Any) -> dict[tuple[str, str], float]:
    """Values by name and by the value of their label, "" without one."""
    return {
        (one.name, one.labels.get("outcome", one.labels.get("status", ""))): one.value
        for family in text_string_to_metric_families(site.agent.get(METRICS))
        for one in family.samples
        if "le" not in one.labels
    }


def counted(site: Any) -> dict[tuple[str, str], int]:
    """How often each phase has ended in which way, where it has."""
    series = {f"vagent_{phase}_count": phase for phase in PHASES}
    return {
        (series[name], outcome): int(value)
        for (name, outcome), value in samples(site).items()
        if name in series
    }


def test_every_phase_is_timed_by_outcome(idle_site: Any) -> None:
    """In seconds, from the start on; an outage is seen in each phase that it reaches:
    the guest that gets 503 has waited for as long as its request was held.
    """
    site = idle_site
    site.agent.config = site.agent.config.replace(
        "<use-ssl>", "<hold-time>1</hold-time><cache-ttl>0</cache-ttl><use-ssl>", 1
    )
    site.agent.start()
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    outcomes = ("answered", "sent", "connected", "answered")
    nothing = {*zip(PHASES, outcomes, strict=True)} | {
        (one, "failed") for one in PHASES
    }
    assert dict.fromkeys(nothing, 0) == counted(site)
    assert ["200", "404"] == [asks(alice), asks(alice, "/nowhere")]
    well = counted(site)
    assert 2 == well[WHOLE, "answered"] == well[UPSTREAM, "answered"]
    # Both are of the first request: it had to wait for the connection.
    assert 1 == well[HELD, "sent"] == well[CONNECT, "connected"]
    assert 0 == sum(well[phase, "failed"] for phase in PHASES)
    site.provision("--ipfabric_service_port", "9")
    assert "503" == asks(alice, PATH)
    after = counted(site)
    assert [1, 1, 0] == [after[one, "failed"] for one in (WHOLE, HELD, UPSTREAM)]
    assert after[CONNECT, "failed"] > 1
    assert 2 == after[WHOLE, "answered"] == after[UPSTREAM, "answered"]
    found = samples(site)
    for phase in (WHOLE, HELD):
        assert 1 <= found[f"vagent_{phase}_sum", "failed"] < 8
    assert found[f"vagent_{WHOLE}_sum", "answered"] < 1
    for name in ("vagent_ready", "vagent_metadata_upstream_endpoints"):
        assert 1 == found[name, ""]
    for status in ("200", "404", "503"):
        assert 1 == found["vagent_metadata_responses_total", status]


def test_what_is_not_ready_says_so(site: Any) -> None:
    """As /readyz does: without its pair of interfaces the agent serves nobody."""
    site.lab.host.run("ip", "link", "delete", "vagent0")
    wait_for(lambda: not samples(site)["vagent_ready", ""])
    assert 0 == samples(site)["vagent_metadata_upstream_endpoints", ""]
