"""Ceilings hold, are told at once, and are nobody else's business."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

from lab.agent import configuration
from lab.fabric import echo as start_echo
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from tests.system.offers import (
    ANSWER_DEADLINE,
    BOTH,
    OPEN,
    SERVICE4,
    SERVICE6,
    answered,
    datagrams,
    metric,
    offer,
    told,
    traced,
    way_to,
)

pytestmark = pytest.mark.system

LINK_LOCAL = "fe80::a9fe:a9fe"
USER_DATA = "/latest/user-data"
ADDRESS = ("169.254.169.254", 80)
FLOOD = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    guest = socket.socket()
    guest.setblocking(False)
    guest.connect_ex(("169.254.169.254", 80))
    guest.close()
"""


def limited(site: Any, flows: str) -> None:
    """Start the agent with these limits."""
    extra = f"<linklocal-flows>{flows}</linklocal-flows>"
    site.agent.config = configuration(site.folder, extra=extra)
    site.agent.start()


def connect(guest: Any, address: tuple[str, int] = ADDRESS) -> socket.socket:
    """A TCP connection from inside a guest."""
    made: socket.socket = inside(
        guest.machine.name, lambda: socket.create_connection(address, 3 * PATIENCE)
    )
    return made


def connected(guest: Any) -> socket.socket:
    """A TCP connection that the ceiling has room for. On a slow machine the guest may
    have repeated its opening packet, which counts until the kernel is asked again.
    """

    def attempt() -> socket.socket | None:
        with suppress(ConnectionRefusedError):
            return connect(guest)
        return None

    made = wait_for(attempt)
    assert made is not None
    return made


@pytest.mark.kernel
def test_a_guest_has_its_ceiling_and_its_neighbour_another(
    idle_site: Any, ask: Any
) -> None:
    """One flow too many is reset at once; the other guest is served; a flow that ends
    makes room.
    """
    site = idle_site
    limited(site, "<max-vm-flows>3</max-vm-flows>")
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    connections = [connected(alice) for _ in range(3)]
    with pytest.raises(ConnectionRefusedError):
        connect(alice)
    assert "I am bob\n" == ask(bob, USER_DATA)
    assert metric(site, 'datapath_verdicts_total{reason="guest-limit"}') >= 1
    trace = site.agent.tool("vagent.ctl", "trace", "LinkLocalFlow")
    assert "guest-limit" in trace
    for connection in connections:
        connection.close()
    wait_for(lambda: ask(alice, USER_DATA), "I am alice\n".__eq__)


def test_the_host_has_its_ceiling(idle_site: Any) -> None:
    """All guests' flows together. (Contrail: LinkLocalFlow_Fail2.)"""
    site = idle_site
    limited(
        site, "<max-system-flows>4</max-system-flows><max-vm-flows>3</max-vm-flows>"
    )
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    held = [connected(guest) for guest in (alice, alice, alice, bob)]
    with pytest.raises(ConnectionRefusedError):
        connect(bob)
    assert metric(site, 'datapath_verdicts_total{reason="host-limit"}') >= 1
    assert metric(site, "linklocal_flows_peak") >= 4
    for connection in held:
        connection.close()


@pytest.mark.kernel
def test_a_flood_of_new_flows_ends_in_the_kernel(idle_site: Any, ask: Any) -> None:
    """A guest that opens flows as fast as it can is refused without the agent; its
    neighbour is served all the while.
    """
    site = idle_site
    limited(site, "<max-vm-new-flows>50</max-vm-new-flows>")
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    flood = alice.machine.start([sys.executable, "-c", FLOOD, "3"])
    served = 0
    while flood.poll() is None:
        assert "I am bob\n" == ask(bob, USER_DATA)
        served += 1
        # Bob has a rate, too, and each question of his is a new flow.
        with suppress(subprocess.TimeoutExpired):
            flood.wait(0.1)
    assert (True, 0) == (served > 0, flood.returncode)
    assert site.counter("too_fast") > 100
    trapped = metric(site, 'datapath_verdicts_total{reason="metadata"}')
    assert trapped < 500, "the flood came through to the agent"
    assert "I am bob\n" == ask(bob, USER_DATA)


# -- attacks: whatever a guest does, its neighbour is served


SPOOFED_PORTS = """
import random, socket, struct, sys, time
source, target = sys.argv[2:4]
mac = bytes.fromhex(sys.argv[4].replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("eth0", 0))
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
ends = socket.inet_aton(source) + socket.inet_aton(target)
ip = struct.pack("!BBHHHBBH", 69, 0, 40, 1, 0, 64, 6, 0) + ends
ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
ether = bytes.fromhex("02deadbeef99") + mac + b"\\x08\\x00"
sent, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    ports = random.randrange(1024, 65536), 80
    start = random.getrandbits(32)
    tcp = struct.pack("!HHIIBBHHH", *ports, start, 0, 80, 2, 9000, 0, 0)
    whole = checksum(ends + struct.pack("!HH", 6, 20) + tcp)
    raw.send(ether + ip + tcp[:16] + struct.pack("!H", whole) + tcp[18:])
    sent += 1
print(sent)
"""
DATAGRAMS = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as guest:
        try:
            guest.sendto(b"quiet", (sys.argv[2], 7))
        except OSError:
            pass
"""


@pytest.fixture
def pair(idle_site: Any) -> Any:
    """Alice may have 100 flows and open 200 in a second; so may bob."""
    site = idle_site
    limited(
        site,
        "<max-vm-flows>100</max-vm-flows><max-vm-new-flows>200</max-vm-new-flows>",
    )
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    echo = start_echo(site.lab.host, "host", 7777, address="127.0.0.1")
    offer(site, "echo", SERVICE4, 7, "127.0.0.1")
    yield site, alice, bob
    echo.kill()
    echo.wait()


def attack(alice: Any, bob: Any, ask: Any, *program: str) -> None:
    """Alice runs a program; each of bob's requests and echoes has its answer while it
    goes on.
    """
    with alice.machine.start([sys.executable, "-c", *program]) as running:
        try:
            served = 0
            while running.poll() is None:
                assert "I am bob\n" == ask(bob, USER_DATA)
                for kind in ("tcp", "udp"):
                    assert "host" == answered(bob, kind, SERVICE4, 7)
                served += 1
                with suppress(subprocess.TimeoutExpired):
                    running.wait(0.2)
            assert served > 0
            assert 0 == running.returncode
        finally:
            running.kill()


def entries(site: Any, guest: Any) -> int:
    """What conntrack holds of a guest, live or not."""
    shown: str = site.agent.data_path.run("cat", "/proc/net/nf_conntrack")
    return shown.count(f"src={site.identity(guest)} ")


def test_a_guest_at_its_ceiling_floods(pair: Any, ask: Any) -> None:
    """All its flows are open and it asks for more, without end."""
    site, alice, bob = pair
    held = [connect(alice, (SERVICE4, 7)) for _ in range(100)]
    attack(alice, bob, ask, FLOOD, "4")
    assert metric(site, 'datapath_verdicts_total{reason="guest-limit"}') > 0
    assert metric(site, "linklocal_flows_refused") > 0
    assert metric(site, "linklocal_flows_peak") >= 100
    for each in held:
        each.close()


def test_a_guest_floods_with_spoofed_ports(pair: Any, ask: Any) -> None:
    """Opening packets that it never goes on with, from all ports: half-open flows stay
    few, as they are forgotten soon: at most ten seconds' worth of the rate.
    """
    site, alice, bob = pair
    attack(alice, bob, ask, SPOOFED_PORTS, "4", alice.address, ADDRESS[0], alice.mac)
    assert site.counter("too_fast") > 1000
    assert entries(site, alice) <= 100 + 10 * 200
    wait_for(lambda: entries(site, alice), lambda n: n == 0, seconds=20)


def test_a_guest_opens_datagram_flows_by_the_thousand(pair: Any, ask: Any) -> None:
    """That nobody answers. It is told so, and they are forgotten soon."""
    site, alice, bob = pair
    attack(alice, bob, ask, DATAGRAMS, "4", SERVICE4)
    assert entries(site, alice) <= 100
    for reason in ("guest-limit", "guest-rate"):
        assert metric(site, f'datapath_verdicts_total{{reason="{reason}"}}') > 0
    wait_for(lambda: entries(site, alice), lambda n: n == 0, seconds=20)


def test_a_repeated_opening_packet_opens_nothing(pair: Any) -> None:
    """A datagram that nobody answered, sent again, belongs to the flow that there is:
    it has its verdict, counts once, and keeps its endpoint.
    """
    site, alice, _ = pair
    with OPEN["udp"](alice, SERVICE4, 7) as flow:
        flow.send(b"quiet")
        wait_for(lambda: entries(site, alice) == 1)
        for _ in range(100):
            flow.send(b"quiet")
        assert b"host HELLO" == told(flow)
    assert 1 == metric(site, 'datapath_verdicts_total{reason="service"}')
    assert 0 == site.counter("too_fast")


AT_ONCE = 8


def begun(guest: Any, kind: str) -> socket.socket:
    """A flow of which nobody has said anything yet: TCP's kernel repeats its SYN."""
    if kind == "udp":
        made = datagrams(guest, SERVICE4, 7)
        for text in (b"hello", b"hello"):
            made.send(text)
        return made
    made = inside(guest.machine.name, socket.socket)
    made.setblocking(False)
    made.connect_ex((SERVICE4, 7))
    made.settimeout(ANSWER_DEADLINE)
    return made


def waiting(site: Any) -> int:
    """Packets in the agent's queue."""
    shown = site.agent.data_path.run("cat", "/proc/net/netfilter/nfnetlink_queue")
    return int(shown.split()[2])


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_waits_in_the_queue_twice_is_one_flow(
    fabric: Any, idle_site: Any, kind: str
) -> None:
    """A SYN that is repeated while the agent is busy, and datagrams in a row: the last
    flow that a guest may have is not refused, and all of it has one endpoint.
    """
    site = idle_site
    servers = [fabric.server(name) for name in ("one", "two")]
    for server in servers:
        server.serve(7777)
    limited(site, f"<max-vm-flows>{AT_ONCE}</max-vm-flows>")
    alice = site.alice()
    site.introduce(alice)
    offer(site, "echo", SERVICE4, 7, *(server.address for server in servers))
    site.agent.process.send_signal(signal.SIGSTOP)
    try:
        flows = [begun(alice, kind) for _ in range(AT_ONCE)]
        wait_for(lambda: waiting(site), lambda count: count >= 2 * AT_ONCE)
    finally:
        site.agent.process.send_signal(signal.SIGCONT)
    for flow in flows:
        with flow:
            said = [told(flow)] if kind == "tcp" else [flow.recv(99) for _ in range(2)]
            assert 1 == len(set(said)), "one flow has two endpoints"
    assert 0 == metric(site, "linklocal_flows_refused")


@pytest.mark.kernel
def test_ended_flows_do_not_fill_conntrack(pair: Any) -> None:
    """A guest that opens and closes connections leaves no more than ten seconds of
    them: they do not count for its ceiling.
    """
    site, alice, _ = pair
    for _ in range(60):
        connect(alice).close()
    assert entries(site, alice) > 0
    wait_for(lambda: entries(site, alice), lambda n: n == 0, seconds=25)


@pytest.mark.kernel
def test_ended_flows_do_not_fill_the_host_s_conntrack(pair: Any) -> None:
    """Those to services beyond the agent's namespace, which the host has, too."""
    site, alice, _ = pair

    def of_host() -> int:
        shown: str = site.lab.host.run("cat", "/proc/net/nf_conntrack")
        return shown.count("src=169.254.0.1 ")

    for _ in range(60):
        connect(alice, (SERVICE4, 7)).close()
    assert of_host() > 0
    wait_for(of_host, lambda n: n == 0, seconds=25)


def test_both_families_are_one_guest(idle_site: Any) -> None:
    """What a guest opens over IPv4 and IPv6 in a second is one sum; another guest has
    one of its own.
    """
    site = idle_site
    limited(site, "<max-vm-new-flows>20</max-vm-new-flows>")
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    wait_for(alice.link_local)
    where = f"{LINK_LOCAL}%eth0"
    program = [sys.executable, "-c", BURST]
    told = alice.machine.run(*program, "60", ADDRESS[0], where)
    refused4, refused6 = (int(each) for each in told.split())
    # What is let in is the burst of 20 and what the rate adds while the burst lasts.
    assert 120 - refused4 - refused6 < 60, "each family has its own rate"
    assert 0 < refused4
    assert 0 < refused6
    assert "0\n" == bob.machine.run(*program, "15", ADDRESS[0])


BURST = """
import socket, sys
count, refused, held = int(sys.argv[1]), {each: 0 for each in sys.argv[2:]}, []
for _ in range(count):
    for where in sys.argv[2:]:
        try:
            held.append(socket.create_connection((where, 80), 5))
        except ConnectionRefusedError:
            refused[where] += 1
print(*refused.values())
"""


# -- refusal: at once, counted, traced; silence for who is nobody


REASONS = ("not-provisioned", "guest-limit", "guest-rate")


@pytest.fixture
def echo_pair(fabric: Any, idle_site: Any) -> Any:
    """An echo at an address of each family; a guest may have two flows, or open two in
    a second.
    """
    server = fabric.server("one")
    server.serve(7777)

    def start(flows: str) -> Any:
        limited(idle_site, flows)
        alice, bob = idle_site.alice(), idle_site.bob()
        idle_site.introduce(alice, bob)
        offer(idle_site, "echo", SERVICE4, 7, server.address)
        offer(idle_site, "echo6", SERVICE6, 7, server.address6)
        for guest in (alice, bob):
            way_to(guest, SERVICE6)
            wait_for(guest.link_local)
        return idle_site, alice, bob

    return start


def refused(guest: Any, kind: str, address: str, port: int) -> bool:
    """Is a flow refused, and its guest told?"""
    try:
        with OPEN[kind](guest, address, port) as flow:
            told(flow)
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", BOTH)
def test_what_is_not_provisioned_is_told(
    echo_pair: Any, kind: str, address: str
) -> None:
    """A reset, or ICMP port unreachable, over both families; counter and trace."""
    site, alice, _ = echo_pair("")
    assert refused(alice, kind, address, 8)
    assert metric(site, 'datapath_verdicts_total{reason="not-provisioned"}') == 1
    assert ":8 protocol" in traced(site)
    assert not refused(alice, kind, address, 7)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", BOTH)
def test_over_the_ceiling_is_told(echo_pair: Any, kind: str, address: str) -> None:
    """The same; the neighbour is served. (Contrail: LinkLocalFlow_Fail1.)"""
    site, alice, bob = echo_pair("<max-vm-flows>2</max-vm-flows>")
    held = [OPEN[kind](alice, address, 7) for _ in range(2)]
    for each in held:
        assert told(each).endswith(b"HELLO")
    assert refused(alice, kind, address, 7)
    assert metric(site, 'datapath_verdicts_total{reason="guest-limit"}') >= 1
    assert "guest-limit" in traced(site)
    assert not refused(bob, kind, address, 7)
    for each in held:
        each.close()


@pytest.mark.kernel
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("address", BOTH)
def test_over_the_rate_is_told(echo_pair: Any, kind: str, address: str) -> None:
    """The kernel refuses without the agent, and the guest is told all the same; a trace
    line says how many.
    """
    site, alice, bob = echo_pair("<max-vm-new-flows>1</max-vm-new-flows>")
    assert any(refused(alice, kind, address, 7) for _ in range(20))
    assert site.counter("too_fast") >= 1
    if kind == "udp":
        assert metric(site, 'datapath_verdicts_total{reason="guest-rate"}') >= 1
        assert "guest-rate" in traced(site)
    wait_for(lambda: "too_fast" in traced(site))
    assert not refused(bob, kind, address, 7)


@pytest.mark.kernel
def test_a_full_queue_is_survived_and_counted(idle_site: Any, ask: Any) -> None:
    """A frozen agent, more opening packets than the queue holds; afterwards
    everybody is served and the loss is a number.
    """
    site = idle_site
    data_path = "<data-path><queue-length>8</queue-length></data-path>"
    site.agent.config = configuration(site.folder, extra=data_path)
    site.agent.start()
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    site.agent.process.send_signal(signal.SIGSTOP)
    try:
        alice.machine.run(sys.executable, "-c", FLOOD, "1")
    finally:
        site.agent.process.send_signal(signal.SIGCONT)
    assert "I am bob\n" == ask(bob, USER_DATA)
    wait_for(lambda: metric(site, "datapath_queue_drops_packets") > 0)
    assert "queue_drops" in traced(site)
    assert "I am alice\n" == ask(alice, USER_DATA)
