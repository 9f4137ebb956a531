"""A healthy host, which tests make sick in one way each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from vagent.config.model import AgentConfig
from vagent.doctor.facts import (
    AccessFacts,
    AgentFacts,
    Configuration,
    Host,
    HostFacts,
    HostInterface,
    HostRoute,
    Inside,
    KernelTrial,
    Ours,
    PortFact,
    Process,
    Queue,
    RouteTrial,
    TlsPair,
    UpstreamTrial,
)
from vagent.doctor.rules import Ruleset
from vagent.linklocal.service import LinkLocalService

AGENT = Process(10, "vagent")
METADATA = LinkLocalService(
    "metadata",
    IPv4Address("169.254.169.254"),
    80,
    (IPv4Address("192.0.2.7"),),
    8775,
)
FAR = LinkLocalService(
    "ntp", IPv4Address("169.254.1.123"), 123, (IPv4Address("192.0.2.9"),), 123
)


def healthy() -> dict[str, Any]:
    """The facts of a host on which nothing is wrong."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    ours = Ours.of(AgentConfig())
    address = IPv4Interface("169.254.64.1/18")
    outer, inner = IPv4Interface("169.254.0.0/31"), IPv4Interface("169.254.0.1/31")
    return {
        "now": now,
        "ours": ours,
        "configuration": Configuration("/etc/vagent/agent.conf"),
        "host": Host(
            tools={"nft": True, "ip": True},
            trials=(KernelTrial("nf_tables", "CONFIG_NF_TABLES", "nf_tables", ""),),
            ruleset=Ruleset(tables=frozenset({("inet", "vagent")})),
            inside=Inside(
                links=(
                    HostInterface("vagent1", up=True, addresses=(address,)),
                    HostInterface("vagent2", up=True, addresses=(inner,)),
                ),
                tables=frozenset({("ip", "vagent"), ("ip6", "vagent")}),
            ),
            links=(
                HostInterface("vagent0", up=True),
                HostInterface("vagentu", up=True, addresses=(outer,)),
            ),
            routes=(
                HostRoute(IPv4Network("0.0.0.0/0"), "eth0", "main", "unicast"),
                HostRoute(IPv4Network("169.254.0.0/16"), "eth0", "main", "unicast"),
                HostRoute(IPv4Network("169.254.0.0/31"), "vagentu", "main", "unicast"),
                HostRoute(IPv4Network("169.254.0.0/32"), "vagentu", "local", "local"),
            ),
            route_trials=(RouteTrial(IPv4Address("192.0.2.9"), device="eth0"),),
            sysctl={
                "net/netfilter/nf_conntrack_count": "10",
                "net/netfilter/nf_conntrack_max": "1000",
            },
            queue=Queue(8097, 0, 0, AGENT),
            synchronised=True,
        ),
        "agent": AgentFacts(
            process=AGENT,
            holder=AGENT,
            readiness="ready",
            ports=(PortFact("p1", "alice", "tap1", "Active", "nova"),),
            services=(METADATA, FAR),
            open_files=30,
            max_files=1024,
        ),
        "access": AccessFacts(users=("alice",), open=("introspect",)),
        "tls": (
            TlsPair(
                role="metadata proxy",
                cert="/etc/client.pem",
                key="/etc/client.key",
                ca="/etc/ca.pem",
                valid_from=now - timedelta(days=30),
                valid_until=now + timedelta(days=31),
                ca_until=now + timedelta(days=31),
            ),
        ),
        "upstream": (UpstreamTrial("192.0.2.7:8775", "192.0.2.7"),),
    }


@pytest.fixture(name="healthy")
def healthy_fixture() -> dict[str, Any]:
    """The facts of a healthy host."""
    return healthy()


@pytest.fixture
def facts(healthy: dict[str, Any]) -> HostFacts:
    """A healthy host."""
    return HostFacts(**healthy)
