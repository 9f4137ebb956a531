"""New flows go to endpoints that answer, and no guest decides that for another."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from lab.agent import configuration
from lab.fabric import Fabric, Server
from lab.guests import Guest
from lab.waiting import wait_for
from tests.system.offers import (
    BOTH,
    SERVICE4,
    answered,
    datagrams,
    metric,
    offer,
    traced,
    way_to,
)
from tests.system.test_system_identity import wire
from vagent.datapath.endpoints.health import FIRST_PAUSE

pytestmark = pytest.mark.system

KINDS = ("tcp", "udp")
NOTICED = 60.0
"""Seconds in which what happened to an endpoint is known: some flows have to fail."""


@pytest.fixture
def servers(fabric: Fabric) -> tuple[Server, Server]:
    """Two that serve."""
    made = fabric.server("one"), fabric.server("two")
    for server in made:
        server.serve(7777)
    return made


@pytest.fixture
def guests(site: Any, servers: tuple[Server, Server]) -> tuple[Guest, Guest]:
    """Two, offered an echo of two endpoints over both families."""
    made = site.alice(), site.bob()
    site.introduce(*made)
    offer(site, "echo", BOTH[0], 7, *(each.address for each in servers))
    offer(site, "echo6", BOTH[1], 7, *(each.address6 for each in servers))
    for guest in made:
        way_to(guest, BOTH[1])
        wait_for(guest.link_local)
    return made


def health(site: Any) -> dict[str, dict[str, str]]:
    """By fabric address, what `vagentctl service list` says of TCP and UDP."""
    text = site.agent.tool("vagent.ctl", "-o", "json", "service", "list")
    return {
        endpoint["address"]: {kind: endpoint[kind] for kind in KINDS}
        for service in json.loads(text)
        for endpoint in service["endpoints"]
    }


def fail_until_down(
    site: Any, guests: tuple[Guest, Guest], kind: str, address: str, dead: str
) -> None:
    """Use the service until the agent knows that one endpoint is dead."""

    def used() -> str:
        for guest in guests:
            answered(guest, kind, address, 7)
        return health(site)[dead][kind]

    wait_for(used, "down".__eq__, seconds=NOTICED, pause=0.2)


@pytest.mark.parametrize(
    ("address", "kind", "how"),
    [
        (BOTH[0], "tcp", "refuse"),
        (BOTH[1], "tcp", "vanish"),
        (BOTH[0], "udp", "vanish"),
        (BOTH[1], "udp", "refuse"),
    ],
)
def test_flows_avoid_a_dead_endpoint_and_find_it_again(
    site: Any,
    guests: tuple[Guest, Guest],
    servers: tuple[Server, Server],
    address: str,
    kind: str,
    how: str,
) -> None:
    """A refusal or silence takes it away from new flows; a flow that tries it brings it
    back. What is told of one protocol is not told of the other.
    """
    alive, dead = servers
    assert {"one", "two"} == {answered(guests[0], kind, address, 7) for _ in range(20)}
    if how == "refuse":
        dead.refuse(7777)
    else:
        dead.vanish()
    where = dead.address if address == SERVICE4 else dead.address6
    fail_until_down(site, guests, kind, address, where)
    other = KINDS[1 - KINDS.index(kind)]
    assert "up" == health(site)[where][other]
    began = time.monotonic()
    told = [answered(guests[0], kind, address, 7) for _ in range(10)]
    tries = 1 + int((time.monotonic() - began) / FIRST_PAUSE)
    assert told.count("one") >= 10 - tries, "more than those that may try the other"
    assert f"{kind.upper()}: down" in traced(site)
    if how == "refuse":
        dead.serve(7777)
    else:
        dead.come_back()
    wait_for(
        lambda: answered(guests[1], kind, address, 7) == dead.name, seconds=NOTICED
    )
    wait_for(lambda: health(site)[where][kind] == "up")
    assert "up" == health(site)[alive.address][kind]


def test_a_guest_alone_takes_no_endpoint_away(
    site: Any, guests: tuple[Guest, Guest], servers: tuple[Server, Server]
) -> None:
    """It opens flows and resets or ignores what comes, and sends datagrams that no
    server answers: both endpoints stay, for its neighbour, and nothing is logged.
    """
    alice, bob = guests
    raw = wire(alice.machine.name)
    head = Ether(src=alice.mac, dst="02:de:ad:be:ef:99") / IP(
        src=alice.address, dst=SERVICE4
    )
    silent = [datagrams(alice, SERVICE4, 7) for _ in range(40)]
    for number in range(40):
        ports: dict[str, Any] = {"sport": 20_000 + number, "dport": 7, "seq": 1}
        raw.send(bytes(head / TCP(flags="S", **ports)))
        raw.send(bytes(head / TCP(flags="R", **ports)))
        silent[number].send(b"quiet")
        time.sleep(0.1)
    suspicion = ("suspect", "up")
    wait_for(
        lambda: all(health(site)[each.address]["udp"] == "suspect" for each in servers)
    )
    for server in servers:
        assert health(site)[server.address]["tcp"] in suspicion
    for kind in KINDS:
        told = {answered(bob, kind, SERVICE4, 7) for _ in range(20)}
        assert {"one", "two"} == told
    assert "endpoint" not in site.agent.log.read_text()
    for each in silent:
        each.close()
    raw.close()


def test_when_all_are_dead_all_are_tried(
    site: Any, guests: tuple[Guest, Guest], servers: tuple[Server, Server]
) -> None:
    """They refuse, as they would without the agent; it is counted, and whoever comes
    back is found at once.
    """
    for server in servers:
        server.refuse(7777)
    for server in servers:
        fail_until_down(site, guests, "tcp", SERVICE4, server.address)
    assert "" == answered(guests[0], "tcp", SERVICE4, 7)
    assert metric(site, 'datapath_verdicts_total{reason="no-live-endpoint"}') >= 1
    servers[1].serve(7777)
    wait_for(lambda: answered(guests[0], "tcp", SERVICE4, 7) == "two")
    assert "no-live-endpoint" in traced(site)


CHECK = """<endpoint-check><services>echo</services><interval>0.5</interval>
<rise>2</rise><fall>2</fall></endpoint-check>"""


@pytest.mark.kernel
def test_checks_find_out_before_a_guest_does(
    idle_site: Any, servers: tuple[Server, Server]
) -> None:
    """No flow of a guest is needed to take an endpoint away or to bring it back. What
    agent.conf does not name is not checked.
    """
    site = idle_site
    site.agent.config = configuration(site.folder, extra=CHECK)
    site.agent.start()
    alice = site.alice()
    site.introduce(alice)
    addresses = [each.address for each in servers]
    offer(site, "echo", SERVICE4, 7, *addresses)
    offer(site, "unchecked", SERVICE4, 8, *addresses, fabric_port=7778)
    servers[1].refuse(7777)
    down = {"tcp": "down", "udp": "down"}

    def seen() -> list[dict[str, str]]:
        text = site.agent.tool("vagent.ctl", "-o", "json", "service", "list")
        (echo, unchecked) = json.loads(text)
        assert {"up"} == {each["tcp"] for each in unchecked["endpoints"]}
        return [{kind: each[kind] for kind in KINDS} for each in echo["endpoints"]]

    wait_for(lambda: down in seen())
    told = site.agent.tool("vagent.ctl", "service", "list")
    assert f"1 of 2 up, {addresses[1]} TCP down, {addresses[1]} UDP down" in told
    for kind in KINDS:
        assert {"one"} == {answered(alice, kind, SERVICE4, 7) for _ in range(10)}
    servers[1].serve(7777)
    wait_for(lambda: down not in seen())
    assert {"one", "two"} == {answered(alice, "tcp", SERVICE4, 7) for _ in range(20)}
    page = site.agent.get("http://127.0.0.1:8085/Snh_EndpointListReq")
    assert page.count("<EndpointData>") == 4
