"""Part A3: requests through the proxy, beside Neutron's agent and beside its haproxy.

Neutron's agent asks for a port at each request; that costs nothing here. And it has the
backlog that its option promises: with the one that it comes with, 503 is the answer to
most of 64 connections, and sending those takes the CPU that it needs. So its figures
are the best it can reach.
"""

from __future__ import annotations

from bench.clients.crowd import crowd
from bench.neutron import neutron
from bench.parts.proxying import COLUMNS, EACH, SIXTY_FOUR, take_turns
from bench.report.figures import Part
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.contestants import UNLIMITED, loopback_proxy
from bench.scene.stage import NGINX, Contestant, Stage

OURS, CACHED = "vagent", "vagent, cached"
OUR_PORT, CACHED_PORT, AGENT_PORT, HAPROXY_PORT = 18297, 18397, 18497, 18597
ROUNDS = 2
SHAPES = (SIXTY_FOUR, EACH)
HOST_GUESTS = 99
"""Other guests of the host, whose haproxy has a rule for each; ours is amid them."""
TIMES = 60.0
"""Goal: how many times the requests per second of Neutron's agent."""
GOALS = tuple(
    Goal(SIXTY_FOUR.name, ours, "rate", at_least=TIMES, rival=neutron.AGENT)
    for ours in (OURS, CACHED)
)


def measure_beside_neutron(stage: Stage, pace: Pace, *, tls: bool) -> Part:
    """Ours, forwarding or answering from its cache, and Neutron's two ways."""
    upstream = "mutual TLS" if tls else "plain"
    part = Part(
        "A3",
        f"Proxy alone on loopback, upstream {upstream}: vagent beside Neutron",
        COLUMNS,
        rivals=(neutron.AGENT, neutron.IN_HAPROXY),
        goals=GOALS,
    )
    everybody = _contestants(stage, tls=tls)
    if not neutron.is_installed():
        part.notes.append("Neutron is not installed; `make bench` does it.")
    take_turns(stage, pace, part, stage.host, everybody, SHAPES, rounds=ROUNDS)
    return part


def _contestants(stage: Stage, *, tls: bool) -> list[Contestant]:
    to = NGINX[tls]
    ours = [
        loopback_proxy(stage, OUR_PORT + tls, to, UNLIMITED),
        loopback_proxy(
            stage, CACHED_PORT + tls, to, UNLIMITED, "--cache-ttl", "15", name=CACHED
        ),
    ]
    if not neutron.is_installed():
        return ours
    theirs = [neutron.agent(stage, AGENT_PORT + tls, to, backlog=neutron.BACKLOG)]
    if not tls:
        guests = crowd(HOST_GUESTS)
        theirs.append(neutron.in_haproxy(stage, HAPROXY_PORT, to, crowd=guests))
    return ours + theirs
