"""A clean stop loses no request: guests that boot meanwhile get their documents."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from lab.agent import PROVISION
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for

pytestmark = pytest.mark.system

SLOW_PORT = "8779"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


def slow_site(site: Any, seconds: float) -> Any:
    """A guest whose metadata comes from an upstream with slow answers; the guest."""
    site.agent.config = (
        site.agent.config.replace("<use-ssl>true", "<use-ssl>false").replace(
            "<enabled>true", "<enabled>false"
        )
    ).replace("</metadata-proxy>", "<cache-ttl>0</cache-ttl></metadata-proxy>")
    site.agent.start()
    alice = site.alice()
    site.agent.register(alice)
    site.start_on_host(
        [
            *(sys.executable, "-m", "lab.slow_server"),
            *("--port", SLOW_PORT, "--seconds", str(seconds)),
        ]
    )
    wait_for(lambda: f":{SLOW_PORT}" in site.lab.host.run("ss", "-ltn"))
    site.agent.tool(*PROVISION[:-1], SLOW_PORT)
    wait_for(lambda: "metadata" in site.agent.tool("vagent.ctl", "service", "list"))
    return alice


def asking(guest: Any, *options: str) -> subprocess.Popen[bytes]:
    """Clients of this guest that do not repeat a request."""
    started: subprocess.Popen[bytes] = guest.machine.start(
        [sys.executable, "-m", "lab.asking", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    return started


def outcome(clients: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Let them end; what became of their requests."""
    said, _ = clients.communicate(timeout=60 * PATIENCE)
    found: dict[str, Any] = json.loads(said)
    return found


def asked(site: Any) -> int:
    """Requests that the agent has read since its start."""
    page = site.agent.get("http://127.0.0.1:8085/metrics")
    [line] = [
        one
        for one in page.splitlines()
        if one.startswith("vagent_metadata_requests_total")
    ]
    return int(float(line.split()[-1]))


def connect(guest: Any) -> socket.socket:
    """A connection of the guest to its metadata service."""
    return inside(
        guest.machine.name,
        lambda: socket.create_connection(("169.254.169.254", 80), 20 * PATIENCE),
    )


def everything(connection: socket.socket) -> bytes:
    """What still comes over it until it is closed; a reset raises."""
    with connection:
        return b"".join(iter(lambda: connection.recv(4096), b""))


def ready_page(site: Any) -> str:
    """What `/readyz` says, and its status."""
    return str(site.agent.get("http://127.0.0.1:8085/readyz", "-w", " %{http_code}"))


def test_restarts_lose_no_request(idle_site: Any) -> None:
    """Clients that never repeat a request, a quarter of them slow, connections kept and
    not: five clean restarts under them, and each gets its answer within 10 s.
    """
    alice = slow_site(idle_site, 0.5)
    clients = asking(alice)
    for _ in range(5):
        before = wait_for(lambda: asked(idle_site))
        wait_for(lambda seen=before: asked(idle_site) > seen + 40)  # type: ignore[misc]
        assert 0 == idle_site.agent.stop()
        idle_site.agent.start()
    found = outcome(clients)
    assert (0, []) == (found["failed"], found["errors"])
    assert found["asked"] > 200
    assert 5 == idle_site.agent.log.read_text().count("requests of guests are answered")


def test_while_it_waits_for_a_slow_answer_others_are_served(idle_site: Any) -> None:
    """`/readyz` says 503, a new guest is answered at once, and both have FIN at the
    end; the fourth answer is the slow one.
    """
    alice = slow_site(idle_site, 4.0)
    with connect(alice) as used:
        for _ in range(3):
            used.sendall(GET)
            assert used.recv(4096).endswith(b"an answer\n")
        slow = connect(alice)
        slow.sendall(GET)
        wait_for(lambda: 4 == asked(idle_site))
        idle_site.agent.process.send_signal(signal.SIGTERM)
        wait_for(lambda: ready_page(idle_site), lambda page: page.endswith(" 503"))
        assert "stopping" in ready_page(idle_site)
        late = connect(alice)
        late.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert everything(late).endswith(b"an answer\n")
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)
        slow.settimeout(20 * PATIENCE)
        assert everything(slow).endswith(b"an answer\n")
        assert b"" == used.recv(1)
    assert 0 == idle_site.agent.process.wait(20 * PATIENCE)
    idle_site.agent.process = None


def test_the_embedded_server_answers_to_the_end(site: Any) -> None:
    """A request of which the first half came before the signal, over a connection to
    the embedded server that is opened after it.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    connection = connect(alice)
    request = GET.replace(b"/a", b"/latest/user-data")
    connection.sendall(request[:10])
    established = ("ss", "-Htn", "state", "established", "sport", "=", ":8097")
    wait_for(lambda: site.agent.data_path.run(*established).split()[:2] == ["0", "0"])
    site.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: ready_page(site), lambda page: page.endswith(" 503"))
    connection.sendall(request[10:])
    said = everything(connection)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in said
    assert said.endswith(b"I am alice\n")
    assert 0 == site.agent.stop()


def test_what_is_held_is_answered_when_the_upstream_comes(idle_site: Any) -> None:
    """The agent stops while no upstream is there, and waits for as long as it holds."""
    alice = slow_site(idle_site, 0.0)
    [upstream] = idle_site.started
    upstream.kill()
    upstream.wait()
    held = connect(alice)
    held.sendall(GET)
    wait_for(lambda: 1 == asked(idle_site))
    idle_site.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: ready_page(idle_site), lambda page: page.endswith(" 503"))
    idle_site.start_on_host(upstream.args[4:])
    assert everything(held).endswith(b"an answer\n")
    assert 0 == idle_site.agent.stop()


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_another_signal_ends_it_at_once(idle_site: Any, again: signal.Signals) -> None:
    """What guests wait for is not waited for; the log says how many are cut."""
    alice = slow_site(idle_site, 25.0)
    waiting = connect(alice)
    for _ in range(3):
        waiting.sendall(GET)
        assert waiting.recv(4096).endswith(b"an answer\n")
    waiting.sendall(GET)
    wait_for(lambda: 4 == asked(idle_site))
    idle_site.agent.process.send_signal(signal.SIGTERM)
    wait_for(lambda: ready_page(idle_site), lambda page: page.endswith(" 503"))
    assert 0 == idle_site.agent.stop(again)
    assert "although 1 connections of guests" in idle_site.agent.log.read_text()
    waiting.close()
