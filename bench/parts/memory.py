"""Part M: memory of the agent: when it has started, and while connections idle."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

from bench.report.figures import Column, Part
from bench.report.goals import Goal
from bench.report.pace import Pace
from bench.scene.service import METADATA, pinned, start_agent
from bench.scene.stage import Stage
from bench.scene.usage import usage
from lab.namespaces import inside

CONNECTIONS = 1000
REQUEST = b"GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
ANSWER_SECONDS = 5.0
OURS = "vagent"
STARTED, SERVING, IDLE = "started", "serving", "1,000 idle connections"
WITH_SERVER = "started, with the embedded server"
AT_START, FOR_IDLE = 60.0, 40.0
"""Goals in MiB."""
ROOM = f"<max-guest-connections>{CONNECTIONS + 1}</max-guest-connections>"
"""One guest holds here what many do; what is kept of a guest is little beside it."""
_SERVER = "<metadata-server>\n    <enabled>true"


def measure_memory(stage: Stage, pace: Pace) -> Part:
    """Two agents, one after the other: with the embedded server over TLS and without
    it. The one without serves a guest over mutual TLS, then many connections idle.
    """
    part = Part(
        "M",
        "Memory of the agent, all of it over TLS",
        (
            Column("resident", "RSS MiB", digits=1),
            Column("more", "more MiB", digits=1),
        ),
        goals=(
            Goal(WITH_SERVER, OURS, "resident", at_most=AT_START),
            Goal(STARTED, OURS, "resident", at_most=AT_START),
            Goal(IDLE, OURS, "more", at_most=FOR_IDLE),
        ),
    )
    pace.say(f"{part.letter}  {part.title}")
    configured = stage.agent.config
    stage.agent.start()
    part.add(WITH_SERVER, OURS, {"resident": usage(pinned(stage)).resident})
    stage.agent.stop()
    stage.agent.config = configured.replace(
        _SERVER, _SERVER.replace("true", "false")
    ).replace("</metadata-proxy>", f"{ROOM}</metadata-proxy>")
    try:
        _without_server(stage, part)
    finally:
        stage.agent.config = configured
    return part


def _without_server(stage: Stage, part: Part) -> None:
    stage.agent.start()
    part.add(STARTED, OURS, {"resident": usage(pinned(stage)).resident})
    stage.agent.stop()
    agent = start_agent(stage)
    stage.check_echo(stage.guest.machine, agent)
    before = usage(*agent.pids).resident
    part.add(SERVING, OURS, {"resident": before})
    with ExitStack() as held:
        _raise_file_limit()
        inside(stage.guest.machine.name, lambda: _hold(held))
        after = usage(*agent.pids).resident
    part.add(IDLE, OURS, {"resident": after, "more": after - before})
    stage.agent.stop()


def _hold(held: ExitStack) -> None:
    """Open the connections, and have one request answered on each."""
    for _ in range(CONNECTIONS):
        one = held.enter_context(
            socket.create_connection((METADATA, 80), ANSWER_SECONDS)
        )
        one.sendall(REQUEST)
        one.recv(4096)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
