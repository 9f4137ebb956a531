"""The agent comes and goes, taps come and go, and guests hardly notice."""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.agent import RunningAgent
from lab.namespaces import PATIENCE, inside, run
from lab.waiting import wait_for

pytestmark = pytest.mark.system

USER_DATA = "/latest/user-data"
PATIENT = ("curl", "-sS", "-m", str(20 * PATIENCE), "-o")
TIMED_OUT = "28"
"""curl's exit code: neither answered nor refused (7)."""
SLOW_SERVER = """
import socket, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 7777))
listener.listen()
while True:
    guest, _ = listener.accept()
    while data := guest.recv(100):
        guest.sendall(data.upper())
"""


def more(connection: socket.socket, request: bytes) -> bytes:
    """What a connection still answers; b"" when it is dead."""
    try:
        connection.sendall(request)
        return connection.recv(1000)
    except OSError:
        return b""


def rename(host: Any, old: str, new: str) -> None:
    """Give an interface another name; before Linux 6.2 only one that is down has it."""
    for change in (("down",), ("name", new)):
        host.run("ip", "link", "set", old, *change)
    host.run("ip", "link", "set", new, "up")


def port_state(site: Any, guest: Any) -> str:
    shown = site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    state: str = json.loads(shown)["state"]
    return state


def test_a_clean_stop_leaves_nothing(site: Any) -> None:
    """No rule, no interface, exit code 0."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    assert 0 == site.agent.stop()
    assert "" == site.lab.host.run("nft", "list", "ruleset")
    assert "vagent" not in site.lab.host.run("ip", "link")


def test_kill_9_loses_nothing(site: Any, ask: Any) -> None:
    """Ports, identities, services and instances are there after the restart; in
    between, a new flow waits in the dark: neither answered nor leaked nor refused.
    """
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    before = [site.identity(guest) for guest in (alice, bob)]
    site.agent.stop(signal.SIGKILL)
    assert TIMED_OUT == ask(alice, USER_DATA, "-w", "%{exitcode}", timeout=2)
    site.agent.start()
    assert before == [site.identity(guest) for guest in (alice, bob)]
    assert "I am alice\n" == ask(alice, USER_DATA)
    assert "I am bob\n" == ask(bob, USER_DATA)


def test_a_connection_made_while_the_agent_is_away_succeeds_later(
    site: Any, ask: Any
) -> None:
    """TCP repeats its SYN; the guest sees a delay, not an error."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.stop(signal.SIGKILL)
    waiting = alice.machine.start(
        [*PATIENT, str(site.folder / "late"), f"http://169.254.169.254{USER_DATA}"]
    )
    time.sleep(0.5)
    site.agent.start()
    assert 0 == waiting.wait(25 * PATIENCE)
    assert "I am alice\n" == (site.folder / "late").read_text()


def test_a_frozen_agent_is_only_a_delay(site: Any, ask: Any) -> None:
    """STOP and CONT: the queue holds the SYN."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.process.send_signal(signal.SIGSTOP)
    waiting = alice.machine.start(
        [*PATIENT, str(site.folder / "late"), f"http://169.254.169.254{USER_DATA}"]
    )
    time.sleep(0.5)
    assert waiting.poll() is None
    site.agent.process.send_signal(signal.SIGCONT)
    assert 0 == waiting.wait(25 * PATIENCE)
    assert "I am alice\n" == (site.folder / "late").read_text()


def test_flows_of_other_services_outlive_the_agent(site: Any) -> None:
    """The kernel carries them: killing the agent does not disturb an echo."""
    alice = site.alice()
    site.introduce(alice)
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "echo"),
        *("--linklocal_service_ip", "169.254.1.7", "--linklocal_service_port", "7"),
        *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7777"),
    )
    site.start_on_host([sys.executable, "-c", SLOW_SERVER])
    wait_for(lambda: ":7777" in site.lab.host.run("ss", "-ltn"))
    guest = inside(
        alice.machine.name,
        lambda: socket.create_connection(("169.254.1.7", 7), 5 * PATIENCE),
    )
    guest.sendall(b"before")
    assert b"BEFORE" == guest.recv(100)
    site.agent.stop(signal.SIGKILL)
    guest.sendall(b"after")
    assert b"AFTER" == guest.recv(100)
    guest.close()


def test_a_port_may_be_registered_before_its_tap(site: Any, ask: Any) -> None:
    """It waits, and is served as soon as the tap is there; a tap that vanishes and
    comes back is served again.
    """
    alice = site.alice()
    host = site.lab.host
    rename(host, alice.tap, "elsewhere")
    site.introduce(alice)
    site.provision()
    assert "Inactive < no-dev >" == port_state(site, alice)
    rename(host, "elsewhere", alice.tap)
    wait_for(lambda: port_state(site, alice), "Active".__eq__)
    assert "I am alice\n" == ask(alice, USER_DATA)
    host.run("ip", "link", "del", alice.tap)
    wait_for(lambda: port_state(site, alice), "Inactive < no-dev >".__eq__)
    run(
        *("ip", "link", "add", alice.tap, "netns", host.name, "type", "veth"),
        *("peer", "name", "eth0", "address", alice.mac),
        *("netns", alice.machine.name),
    )
    host.run("ip", "link", "set", alice.tap, "master", "blue", "up")
    alice.machine.run("ip", "address", "add", "10.0.0.5/24", "dev", "eth0")
    alice.machine.run("ip", "link", "set", "eth0", "up")
    alice.machine.run("ip", "route", "add", "default", "via", "10.0.0.1")
    wait_for(lambda: port_state(site, alice), "Active".__eq__)
    assert "I am alice\n" == ask(alice, USER_DATA)


def test_rules_that_somebody_flushes_come_back(site: Any, ask: Any) -> None:
    """`nft flush ruleset`, as Debian's nftables.service does at start, is noticed."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.lab.host.run("nft", "flush", "ruleset")
    wait_for(
        lambda: ask(alice, USER_DATA, timeout=1), "I am alice\n".__eq__, seconds=20
    )
    assert "somebody else took them away" in site.agent.log.read_text()


def test_a_deleted_port_is_served_no_more(site: Any, ask: Any) -> None:
    """Its kept-alive connection ends, and a new one is not answered; the neighbour is
    not disturbed.
    """
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()

    def connect(guest: Any) -> socket.socket:
        return inside(
            guest.machine.name,
            lambda: socket.create_connection(("169.254.169.254", 80), 5 * PATIENCE),
        )

    request = f"GET {USER_DATA} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    hers, his = connect(alice), connect(bob)
    for connection in (hers, his):
        connection.sendall(request)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
    his.sendall(request)
    assert his.recv(1000).startswith(b"HTTP/1.1 200")
    hers.settimeout(2 * PATIENCE)
    assert not more(hers, request), "her connection was answered"
    assert "" == ask(alice, USER_DATA, timeout=2)
    hers.close()
    his.close()


def test_a_second_agent_says_what_is_taken(site: Any, tmp_path: Path) -> None:
    """Same queue, same ports: exit code 69 and a message that names the reason."""
    second = RunningAgent(site.lab, tmp_path / "second", site.agent.config)
    second.start(wait=False)
    assert second.process is not None
    assert 69 == second.process.wait(20 * PATIENCE)
    assert "cannot start" in second.log.read_text()
    alice = site.alice()
    site.introduce(alice)


def test_a_wrong_configuration_does_not_start(idle_site: Any) -> None:
    """Exit code 78, and each problem on its own line with file and line."""
    idle_site.agent.config = (
        "<config><agent>\n<bogus/>\n<log-level>loud</log-level>\n</agent></config>"
    )
    idle_site.agent.start(wait=False)
    assert 78 == idle_site.agent.process.wait(20 * PATIENCE)
    idle_site.agent.process = None
    said = idle_site.agent.log.read_text()
    assert f"{idle_site.agent.conf}:2: " in said
    assert f"{idle_site.agent.conf}:3: " in said
