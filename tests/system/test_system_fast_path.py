"""The fast path: a short cut for flows with many packets that changes nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import openvswitch
from lab.agent import SOURCE, configuration
from lab.fabric import Fabric, Server
from lab.guests import Guest, Wiring
from lab.namespaces import PATIENCE, Machine, inside
from lab.waiting import wait_for
from tests.system.tap_counts import programs_at
from vagent.datapath.flows.reader import kernel_dump
from vagent.kernel import bpf
from vagent.kernel import tc as traffic_control
from vagent.kernel.bpf_assembler import Code, Op
from vagent.kernel.conntrack import Tracked, encode_dump
from vagent.kernel.namespace import OwnNetwork

pytestmark = [pytest.mark.system, pytest.mark.kernel]

NO_SWITCH = openvswitch.missing()
SERVICE = ("169.254.1.7", 7)
PORT = 7777
BULK = 20 * 1024 * 1024
ROUND = 40
"""Packets of one exchange, there and back."""
MIRROR = """
import socket, threading, time
def flood(guest):
    while True:
        server.sendto(b"flood", guest)
        time.sleep(0.001)
def mirror(guest):
    while data := guest.recv(65536):
        guest.sendall(data)
    guest.close()
def streams():
    listener = socket.create_server(("", 7777))
    while True:
        threading.Thread(target=mirror, args=(listener.accept()[0],)).start()
threading.Thread(target=streams).start()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 7777))
while True:
    data, guest = server.recvfrom(65536)
    server.sendto(b"%d " % guest[1] + data, guest)
    if data == b"flood":
        threading.Thread(target=flood, args=(guest,)).start()
"""


@pytest.fixture
def fast(idle_site: Any, fabric: Fabric) -> Iterator[Any]:
    """An agent with the fast path, a service beyond the fabric, a guest."""
    yield from started(idle_site, fabric, "true")


def started(site: Any, fabric: Fabric, switch: str) -> Iterator[Any]:
    site.agent.config = configuration(
        site.folder,
        extra=f"<data-path><fast-path>{switch}</fast-path></data-path>",
    )
    site.agent.start()
    site.server = fabric.server("mirror")
    process = site.server.machine.start([sys.executable, "-c", MIRROR])
    wait_for(lambda: site.server.machine.run("ss", "-ltunH").count(f":{PORT} ") == 2)
    offer(site, site.server)
    site.guest = site.alice()
    site.introduce(site.guest)
    yield site
    process.kill()
    process.wait()


def offer(site: Any, server: Server) -> None:
    """The mirror, at the service address."""
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "mirror"),
        *("--linklocal_service_ip", SERVICE[0]),
        *("--linklocal_service_port", str(SERVICE[1])),
        *("--ipfabric_service_ip", server.address),
        *("--ipfabric_service_port", str(PORT)),
    )


def stream(guest: Guest) -> socket.socket:
    """A connection of the guest to the service."""
    return inside(
        guest.machine.name, lambda: socket.create_connection(SERVICE, 5 * PATIENCE)
    )


def datagrams(guest: Guest, port: int = 0) -> socket.socket:
    """A flow of the guest to the service."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(1 * PATIENCE)
        made.bind(("", port))
        made.connect(SERVICE)
        return made

    return inside(guest.machine.name, make)


def exchange(connection: socket.socket) -> bool:
    """Some packets there and back, one after another."""
    for number in range(ROUND):
        connection.send(b"%08d" % number)
        assert connection.recv(1000).endswith(b"%08d" % number)
    return True


def listed(site: Any) -> list[dict[str, Any]]:
    """What the agent says of the flows."""
    text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list")
    flows: list[dict[str, Any]] = json.loads(text)
    return [flow for flow in flows if flow["service_address"] == SERVICE[0]]


def on_fast_path(site: Any) -> bool:
    """Is the guest's one flow there?"""
    return [flow["fast_path"] for flow in listed(site)] == ["true"]


def promote(site: Any, connection: socket.socket) -> None:
    """Exchange packets until the flow is on the fast path. A datagram may be lost when
    a program is attached to an interface for the first time.
    """

    def is_there() -> bool:
        with suppress(TimeoutError):
            return exchange(connection) and on_fast_path(site)
        return False

    wait_for(is_there)


def tracked(site: Any) -> list[Tracked]:
    """What conntrack says of them."""

    def dump() -> list[Tracked]:
        question = encode_dump(family=socket.AF_INET)
        return [
            each
            for each in kernel_dump(OwnNetwork(), question, clock=time.monotonic)
            if str(each.original.destination) == SERVICE[0]
        ]

    return inside(site.agent.data_path.name, dump)


def seen(site: Any) -> int:
    """Packets that the guest sent through the rules."""
    (flow,) = tracked(site)
    assert flow.sent is not None
    return flow.sent.packets


def programs(site: Any, interface: str) -> int:
    return programs_at(site.lab.host, interface)


def test_a_stream_is_carried_whole_and_counted(fast: Any) -> None:
    """20 MiB there and back are what they were; nearly none of it met conntrack, and
    the flow list has it all. The connection ends as any other.
    """
    with stream(fast.guest) as connection:
        promote(fast, connection)
        before = seen(fast)
        data = os.urandom(BULK)
        writer = threading.Thread(target=connection.sendall, args=(data,))
        writer.start()
        digest, left = hashlib.sha256(), BULK
        while left:
            piece = connection.recv(min(left, 1 << 20))
            assert piece
            digest.update(piece)
            left -= len(piece)
        writer.join()
        assert digest.digest() == hashlib.sha256(data).digest()
        (flow,) = listed(fast)
        assert flow["sent_bytes"] > BULK
        assert flow["received_bytes"] > BULK
        assert seen(fast) - before < flow["sent_packets"] / 10
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    (ended,) = tracked(fast)
    assert ended.tcp_state == 7  # TIME_WAIT: conntrack saw both ends of it
    wait_for(lambda: not any(flow["fast_path"] == "true" for flow in listed(fast)))


def test_datagrams_are_carried(fast: Any) -> None:
    """Each is answered, from the service's address, and the rules see none of them."""
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        before = seen(fast)
        for _ in range(10):
            assert exchange(connection)
        assert seen(fast) == before
        (flow,) = listed(fast)
        assert flow["sent_packets"] >= before + 10 * ROUND


def carried(site: Any, guest: Guest) -> None:
    """Datagrams of this guest are answered, and the rules see none of them."""
    with datagrams(guest) as connection:
        promote(site, connection)
        before = seen(site)
        assert exchange(connection)
        assert seen(site) == before


@pytest.mark.parametrize("name", ["bob", "carol"])
def test_routed_and_on_link_guests(fast: Any, name: str) -> None:
    """One without a router, one that the host routes for; alice has another router."""
    guest = getattr(fast, name)()
    fast.introduce(guest)
    carried(fast, guest)


@pytest.mark.skipif(bool(NO_SWITCH), reason=f"{NO_SWITCH}; see make test-stock-kernel")
def test_ports_of_a_switch(fast: Any, tmp_path: Path) -> None:
    """Of Open vSwitch's kernel datapath."""
    with openvswitch.running(fast.lab.host, tmp_path / "ovs") as switch:
        fast.lab.bridge("red", "10.0.0.1/24", switch)
        guest = fast.lab.guest(
            "dave",
            Wiring.SWITCHED,
            address="10.0.0.5/24",
            gateway="10.0.0.1",
            bridge="red",
        )
        fast.introduce(guest)
        carried(fast, guest)


def test_ipsec_policies_hold(fast: Any) -> None:
    """With one, flows go the usual way, which meets it."""
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        fast.lab.host.run(
            *("ip", "xfrm", "policy", "add", "dir", "fwd", "action", "block"),
            *("src", "192.0.2.0/24", "dst", "192.0.2.0/24"),
        )
        wait_for(lambda: exchange(connection) and not on_fast_path(fast))
        before = seen(fast)
        assert exchange(connection)
        assert seen(fast) == before + ROUND


def test_what_does_not_fit_through_the_fabric_goes_the_usual_way(fast: Any) -> None:
    """Which cuts it into fragments."""
    fast.server.machine.run("ip", "link", "set", "eth0", "mtu", "1200")
    for interface in ("fab-mirror", "fabric"):
        fast.lab.host.run("ip", "link", "set", interface, "mtu", "1200")
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        connection.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, DONT
        before = seen(fast)
        connection.send(b"x" * 1300)
        assert connection.recv(2000).endswith(b" " + b"x" * 1300)
        assert seen(fast) == before + 1
        assert on_fast_path(fast)


def nothing_comes(site: Any, connection: socket.socket) -> bool:
    """Though the endpoint goes on to send."""
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while connection.recv(1000):
            pass
    before = sent_by(site.server)
    wait_for(lambda: sent_by(site.server) > before + 20)
    try:
        return not connection.recv(1000)
    except BlockingIOError:
        return True


def sent_by(server: Server) -> int:
    said = server.machine.run("ip", "-j", "-s", "link", "show", "dev", "eth0")
    return int(json.loads(said)[0]["stats64"]["tx"]["packets"])


def test_a_service_that_is_removed_ends_its_flows(fast: Any) -> None:
    """At once, both directions, with those that only the fast path sees."""
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        connection.send(b"flood")
        assert connection.recv(100)
        fast.agent.tool(
            *("provision.provision_linklocal", "--oper", "delete"),
            *("--linklocal_service_name", "mirror"),
        )
        wait_for(lambda: not tracked(fast))
        assert nothing_comes(fast, connection)


def test_a_port_that_is_removed_ends_its_flows(fast: Any) -> None:
    """And its tap has no program any more."""
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        assert 1 == programs(fast, fast.guest.tap)
        connection.send(b"flood")
        assert connection.recv(100)
        fast.agent.tool("vagent.ctl", "port", "del", fast.guest.port_id)
        wait_for(lambda: not tracked(fast))
        assert nothing_comes(fast, connection)
        assert 0 == programs(fast, fast.guest.tap)


def test_a_port_registered_anew_does_not_get_the_old_ones_flow(fast: Any) -> None:
    """Same tap, MAC and address, another identity: its packets are its own."""
    with datagrams(fast.guest, 4000) as connection:
        promote(fast, connection)
        (old,) = tracked(fast)
        fast.agent.tool("vagent.ctl", "port", "del", fast.guest.port_id)
        fast.introduce(replace(fast.guest, port_id=str(uuid.uuid4())))
        wait_for(lambda: exchange(connection) and tracked(fast))
        (new,) = tracked(fast)
        assert new.original.source == old.original.source or new.mark != old.mark
        assert new.id != old.id


def test_streams_go_on_when_the_agent_is_killed(fast: Any) -> None:
    """Its lease runs out, and conntrack takes over a connection that it has not seen
    for a while.
    """
    with stream(fast.guest) as connection:
        promote(fast, connection)
        for _ in range(20):
            exchange(connection)
        before = seen(fast)
        fast.agent.stop(signal.SIGKILL)
        wait_for(lambda: exchange(connection) and seen(fast) > before)
        assert exchange(connection)
        after = seen(fast)
        assert exchange(connection)
        assert seen(fast) >= after + ROUND


def test_a_frozen_agent_does_not_bring_back_what_it_had(fast: Any) -> None:
    """What it knows is old when it thaws: flows are looked at before they get on."""
    with stream(fast.guest) as connection:
        promote(fast, connection)
        before = seen(fast)
        os.kill(fast.agent.process.pid, signal.SIGSTOP)
        wait_for(lambda: exchange(connection) and seen(fast) > before)
        os.kill(fast.agent.process.pid, signal.SIGCONT)
        promote(fast, connection)


def test_another_tap_and_another_mac_do_not_match(fast: Any) -> None:
    """A second guest with the same address and ports has a flow of its own; a guest
    that takes another MAC address has none.
    """
    bob = fast.bob()
    fast.introduce(bob)
    with datagrams(fast.guest, 4000) as mine, datagrams(bob, 4000) as others:
        promote(fast, mine)
        others.send(b"x")
        mine.send(b"x")
        assert others.recv(100) != mine.recv(100)  # the port that the server sees
        fast.guest.machine.run("ip", "link", "set", "eth0", "address", "02:0:0:0:9:9")
        fast.guest.machine.run(
            *("ip", "route", "replace", "default", "via", "10.0.0.1"),
        )
        spoofed = fast.counter("spoofed")
        mine.settimeout(1)
        mine.send(b"x")
        with pytest.raises(TimeoutError):
            mine.recv(100)
        assert fast.counter("spoofed") > spoofed


def test_nothing_stays(fast: Any) -> None:
    """`data-path remove` takes the programs of a killed agent away, and no others."""
    host, tap = fast.lab.host, fast.guest.tap
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
    assert 1 == programs(fast, "fabric")
    inside(host.name, lambda: attach_another(tap))
    fast.agent.stop(signal.SIGKILL)
    assert 1 == programs(fast, tap)
    take_all_away(host)
    assert [0, 0] == [programs(fast, each) for each in ("fabric", tap)]
    assert "another" in host.run("tc", "filter", "show", "dev", tap, "ingress")


def take_all_away(host: Machine) -> None:
    """As an operator does."""
    remove = ("vagent.ctl", "data-path", "remove", "--name", "vagent")
    host.run(*host.with_bpf_files([sys.executable, "-m", *remove]))


def attach_another(tap: str) -> None:
    """Somebody else's program, which lets everything pass."""
    code = Code()
    code.put(Op.MOV, 0, 0xFFFFFFFF)
    code.leave()
    program = bpf.load(code.assembled())
    traffic_control.attach(
        socket.if_nametoindex(tap),
        program,
        handle=1,
        name="another",
        is_first=False,
    )
    os.close(program)


def test_a_stop_and_a_start_without_it_take_the_programs_away(fast: Any) -> None:
    """Those of the fabric: a stop takes its own, a start what an agent that was killed
    left.
    """
    with datagrams(fast.guest) as connection:
        promote(fast, connection)
        fast.agent.stop()
        assert 0 == programs(fast, "fabric")
        fast.agent.start()
        promote(fast, connection)
        fast.agent.stop(signal.SIGKILL)
        assert 1 == programs(fast, "fabric")
        fast.agent.config = configuration(fast.folder)
        fast.agent.start()
        assert (0, 1) == (programs(fast, "fabric"), programs(fast, fast.guest.tap))


def test_without_the_switch_there_are_no_programs(
    idle_site: Any, fabric: Fabric
) -> None:
    """And every packet meets the rules."""
    for site in started(idle_site, fabric, "false"):
        with datagrams(site.guest) as connection:
            for number in range(1, 6):
                exchange(connection)
                assert seen(site) == number * ROUND
        assert 0 == programs(site, "fabric")


def test_without_the_capability_the_agent_does_not_start(fast: Any) -> None:
    """It says what is missing, with the code for that. (CAP_SYS_ADMIN has CAP_BPF in
    it.)
    """
    fast.agent.stop()
    take_all_away(fast.lab.host)
    capabilities = "+net_admin,+net_raw,+net_bind_service,+dac_read_search"
    command = [sys.executable, "-m", "vagent.cli", "--config", str(fast.agent.conf)]
    limited = ["setpriv", f"--bounding-set=-all,{capabilities}", *command]
    ended = subprocess.run(
        fast.lab.host.argv(*fast.lab.host.with_bpf_files(limited)),
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (69, True) == (ended.returncode, "CAP_SYS_ADMIN" in ended.stderr), (
        ended.stderr
    )
