"""The agent comes and goes, taps come and go, and guests hardly notice."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP
from scapy.packet import Packet

from lab.agent import RunningAgent, configuration
from lab.namespaces import PATIENCE, inside, run
from lab.waiting import holds, wait_for
from tests.system.test_system_flows import ECHO, ECHO_SERVER
from tests.system.test_system_identity import heard, wire

pytestmark = pytest.mark.system

USER_DATA = "/latest/user-data"
PATIENT = ("curl", "-sS", "-m", str(20 * PATIENCE), "-o")
TIMED_OUT = "28"
"""curl's exit code: neither answered nor refused (7)."""


def offer_echo(site: Any) -> None:
    """An echo of this host, TCP and UDP, that the kernel carries."""
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "echo"),
        *("--linklocal_service_ip", ECHO[0], "--linklocal_service_port", "7"),
        *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7777"),
    )
    site.start_on_host([sys.executable, "-c", ECHO_SERVER])
    wait_for(lambda: ":7777" in site.lab.host.run("ss", "-ltn"))
    wait_for(lambda: ":7777" in site.lab.host.run("ss", "-lun"))


class Talk:
    """A guest says numbers to the echo without a pause, and notes what comes back,
    while the block runs.
    """

    PAUSE = 0.001
    AHEAD = 500
    """Bytes not yet echoed: a busy echo loses datagrams that its socket cannot hold."""

    def __init__(self, guest: Any, kind: int) -> None:
        self._open = lambda: inside(guest.machine.name, lambda: self._connect(kind))
        self._ended = threading.Event()
        self._said_all = threading.Event()
        self.sent = ""
        self.echoed = ""

    @staticmethod
    def _connect(kind: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(10 * PATIENCE)
        made.connect(ECHO)
        return made

    def __enter__(self) -> Self:
        self._socket = self._open()
        self._mouth = threading.Thread(target=self._say)
        self._ear = threading.Thread(target=self._listen)
        for thread in (self._mouth, self._ear):
            thread.start()
        wait_for(lambda: self.echoed)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._mouth.join()
        last = "-1\n"
        self.sent += last
        self._said_all.set()
        with suppress(OSError):
            self._socket.sendall(last.encode())
        self._ear.join()
        self._socket.close()

    def _say(self) -> None:
        number = 0
        while not self._ended.wait(self.PAUSE):
            if len(self.sent) - len(self.echoed) < self.AHEAD:
                said = f"{number}\n"
                self.sent += said
                self._socket.sendall(said.encode())
                number += 1

    def _listen(self) -> None:
        with suppress(OSError):
            while not self._said_all.is_set() or len(self.echoed) < len(self.sent):
                self.echoed += self._socket.recv(4096).decode()


def datagram(guest: Any) -> socket.socket:
    """A socket of the guest that has asked the echo for a new flow."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.sendto(b"new", ECHO)
        return made

    return inside(guest.machine.name, make)


def to_any_service(frame: Packet) -> bool:
    """Is this a packet or a question for a link-local address?"""
    about = [frame[IP].dst] if IP in frame else []
    about += [frame[ARP].pdst] if ARP in frame else []
    return any(address.startswith("169.254.") for address in about)


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


def remove(site: Any, *options: str) -> str:
    """Take away what a stopped agent left; what was said, with the exit code."""
    argv = [sys.executable, "-m", "vagent.ctl", "data-path", "remove", *options]
    shell = ["sh", "-c", f"{shlex.join(argv)} 2>&1; echo $?"]
    said: str = site.lab.host.run(*site.lab.host.with_bpf_files(shell), check=False)
    return said


def assert_nothing_is_left(site: Any) -> None:
    """No rule, no interface, no pin."""
    assert [] == [*site.lab.host.bpf_files.iterdir()]
    assert "" == site.lab.host.run("nft", "list", "ruleset")
    assert "vagent" not in site.lab.host.run("ip", "link")
    assert site.agent.data_path.name not in run("ip", "netns", "list").split()


def test_a_clean_stop_without_ports_leaves_nothing(site: Any) -> None:
    """There is nothing to guard: no rule, no interface, exit code 0."""
    site.introduce(site.alice())
    site.provision()
    site.agent.tool("vagent.ctl", "port", "del", site.lab.guests[0].port_id)
    assert 0 == site.agent.stop()
    assert_nothing_is_left(site)


@pytest.mark.kernel
def test_a_stop_may_be_told_to_leave_nothing(idle_site: Any) -> None:
    """`when-stopped` says `remove`: then the ports do not matter."""
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra="<data-path><when-stopped>remove</when-stopped></data-path>",
    )
    idle_site.agent.start()
    idle_site.introduce(idle_site.alice())
    assert 0 == idle_site.agent.stop()
    assert_nothing_is_left(idle_site)


@pytest.mark.kernel
def test_the_guard_is_taken_away_on_purpose(site: Any) -> None:
    """`vagentctl data-path remove` says what it took, and a second time that there is
    nothing; it refuses while an agent runs or is frozen.
    """
    site.introduce(site.alice())
    for change in (signal.SIGCONT, signal.SIGSTOP, signal.SIGCONT):
        site.agent.process.send_signal(change)
        refused = remove(site, "--config", str(site.agent.conf))
        assert refused.endswith("\n1\n"), refused
        assert "stop the agent first" in refused
    assert "has NFQUEUE 8097" in refused or "listens on 169.254.64.1" in refused
    assert 0 == site.agent.stop()
    assert "table inet vagent" in site.lab.host.run("nft", "list", "ruleset")
    assert "table ip vagent" in site.agent.data_path.run("nft", "list", "ruleset")
    own = ("--config", str(site.agent.conf))
    assert [
        "programs at 2 interfaces",
        "table inet vagent",
        "interface vagent0",
        "interface vagentu",
        f"network namespace {site.agent.data_path.name}",
        "0",
    ] == remove(site, *own).splitlines()
    assert_nothing_is_left(site)
    said = remove(site, *own)
    assert "nothing of vagent is in this host's kernel\n0\n" == said


def test_only_a_pair_of_ours_is_taken_away(idle_site: Any) -> None:
    """A name that others' interfaces begin with costs them nothing."""
    host = idle_site.lab.host
    host.run("ip", "link", "add", "eth0", "type", "bridge")
    assert remove(idle_site, "--name", "eth").endswith("\n0\n")
    assert "eth0" in host.run("ip", "link", "show", "dev", "eth0")


def interfaces(host: Any) -> str:
    """Their addresses and settings, which name them all."""
    settings = host.run("sysctl", "-a", "-r", r"^net\.ipv[46]\.conf\.")
    return str(host.run("ip", "-o", "-4", "address") + settings)


@pytest.mark.parametrize("last", ["0", "u"])
def test_interfaces_of_others_are_left_alone(idle_site: Any, last: str) -> None:
    """With a name that theirs begin with the agent does not start, and nothing of them
    is changed.
    """
    site = idle_site
    theirs, host = f"eth{last}", site.lab.host
    host.run("ip", "link", "add", theirs, "type", "veth", "peer", "name", "far")
    host.run("ip", "address", "add", "169.254.64.1/18", "dev", theirs)
    before = interfaces(host)
    site.agent.config = configuration(
        site.folder, extra="<data-path><name>eth</name></data-path>"
    )
    site.agent.start(wait=False)
    assert 69 == site.agent.process.wait(20 * PATIENCE)
    site.agent.process = None
    assert f"interface {theirs} is not ours" in site.agent.log.read_text()
    assert before == interfaces(host)


def test_two_interfaces_of_others_are_left_alone(idle_site: Any) -> None:
    """Each has an end elsewhere, as in a container."""
    site, host = idle_site, idle_site.lab.host
    for number in (0, 1):
        peer = ("type", "veth", "peer", "name", f"far{number}")
        host.run("ip", "link", "add", f"eth{number}", *peer)
    site.agent.config = configuration(
        site.folder, extra="<data-path><name>eth</name></data-path>"
    )
    site.agent.start(wait=False)
    assert 69 == site.agent.process.wait(20 * PATIENCE)
    site.agent.process = None
    assert "eth0@far0" in host.run("ip", "link")


@pytest.mark.kernel
def test_another_identity_range_replaces_the_pair(site: Any, ask: Any) -> None:
    """What a guard of the old range holds is not in the way of the new one."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.stop()
    site.agent.config = site.agent.config.replace(
        "</agent>",
        "<data-path><identity-range>172.30.0.0/20</identity-range></data-path></agent>",
    )
    site.agent.start()
    assert site.identity(alice).startswith("172.30.")
    assert "I am alice\n" == ask(alice, USER_DATA)
    assert "169.254.64." not in site.lab.host.run("ip", "address")


@pytest.mark.kernel
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


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_connection_made_while_the_agent_is_away_succeeds_later(
    site: Any, how: signal.Signals
) -> None:
    """TCP repeats its SYN; the guest sees a delay, not an error."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.stop(how)
    waiting = alice.machine.start(
        [*PATIENT, str(site.folder / "late"), f"http://169.254.169.254{USER_DATA}"]
    )
    holds(lambda: waiting.poll() is None, seconds=0.5)
    site.agent.start()
    assert 0 == waiting.wait(25 * PATIENCE)
    assert "I am alice\n" == (site.folder / "late").read_text()


@pytest.mark.kernel
def test_a_frozen_agent_is_only_a_delay(site: Any, ask: Any) -> None:
    """STOP and CONT: the queue holds the SYN."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.process.send_signal(signal.SIGSTOP)
    waiting = alice.machine.start(
        [*PATIENT, str(site.folder / "late"), f"http://169.254.169.254{USER_DATA}"]
    )
    holds(lambda: waiting.poll() is None, seconds=0.5)
    site.agent.process.send_signal(signal.SIGCONT)
    assert 0 == waiting.wait(25 * PATIENCE)
    assert "I am alice\n" == (site.folder / "late").read_text()


def away(site: Any, how: signal.Signals) -> None:
    """The agent is stopped, killed or frozen."""
    if how is signal.SIGSTOP:
        site.agent.process.send_signal(how)
    else:
        site.agent.stop(how)


def back(site: Any, how: signal.Signals) -> None:
    """It is there again."""
    if how is signal.SIGSTOP:
        site.agent.process.send_signal(signal.SIGCONT)
    else:
        site.agent.start()


WAYS_TO_GO = {
    "stopped": signal.SIGTERM,
    "killed": signal.SIGKILL,
    "frozen": signal.SIGSTOP,
}


@pytest.mark.parametrize("how", WAYS_TO_GO.values(), ids=WAYS_TO_GO.keys())
def test_while_the_agent_is_away(site: Any, ask: Any, how: signal.Signals) -> None:
    """Nothing for a service address leaves the host, and a new flow is neither answered
    nor refused. What the kernel carries goes on, through the start as well: not a
    byte of a TCP stream is missing, and not one of a stream of datagrams. Then all is
    as it was, identities too.
    """
    alice, carol = site.alice(), site.carol()
    site.introduce(alice, carol)
    site.provision()
    offer_echo(site)
    uplink = site.uplink()
    before = [site.identity(guest) for guest in (alice, carol)]
    wires = [wire(site.gateway("blue")), wire(uplink)]
    with Talk(alice, socket.SOCK_STREAM) as tcp, Talk(alice, socket.SOCK_DGRAM) as udp:
        away(site, how)
        for guest in (alice, carol):
            answer = ask(guest, USER_DATA, "-w", "%{exitcode}", timeout=1)
            assert TIMED_OUT == answer
        stray = datagram(carol)
        back(site, how)
        for guest in (alice, carol):
            assert f"I am {guest.name}\n" == ask(guest, USER_DATA, timeout=20)
    assert tcp.sent == tcp.echoed
    # Two CPUs may change the order of datagrams.
    assert sorted(udp.sent.split()) == sorted(udp.echoed.split())
    assert before == [site.identity(guest) for guest in (alice, carol)]
    stray.close()
    for leak in wires:
        assert [] == heard(leak, to_any_service)
        leak.close()


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


def test_a_tap_that_is_renamed_is_the_ports_no_longer(site: Any, ask: Any) -> None:
    """Its port is Inactive, and served again when the name is back; the agent has time
    to look between the steps of the renaming.
    """
    alice = site.alice()
    host = site.lab.host
    site.introduce(alice)
    site.provision()
    host.run("ip", "link", "set", alice.tap, "down")
    assert "Active" == port_state(site, alice)
    host.run("ip", "link", "set", alice.tap, "name", "elsewhere")
    wait_for(lambda: port_state(site, alice), "Inactive < no-dev >".__eq__)
    rename(host, "elsewhere", alice.tap)
    wait_for(lambda: port_state(site, alice), "Active".__eq__)
    assert "I am alice\n" == ask(alice, USER_DATA)


@pytest.mark.kernel
def test_rules_that_somebody_flushes_come_back(site: Any, ask: Any) -> None:
    """`nft flush ruleset`, as Debian's nftables.service does at start: no guest notices
    it. Inside the namespace it is noticed, too.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    assert "I am alice\n" == ask(alice, USER_DATA)
    for machine in (site.lab.host, site.agent.data_path):
        machine.run("nft", "flush", "ruleset")
        if machine is site.lab.host:
            assert "I am alice\n" == ask(alice, USER_DATA, timeout=1)
        wait_for(
            lambda: ask(alice, USER_DATA, timeout=1), "I am alice\n".__eq__, seconds=20
        )
        wait_for(lambda: "took them away" in site.agent.log.read_text())


@pytest.mark.kernel
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
    own = site.agent.config.replace(f"{site.folder}/state", f"{tmp_path}/own-state")
    second = RunningAgent(site.lab, tmp_path / "second", own)
    second.start(wait=False)
    assert second.process is not None
    assert 69 == second.process.wait(20 * PATIENCE)
    assert "cannot start: metadata server: Couldn't listen" in second.log.read_text()
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
