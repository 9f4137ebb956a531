"""Thousands of ports, and hundreds of changes, beside a guest that must not notice."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import socket
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import pytest

from lab.guests import Guest
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from tests.system.offers import SERVICE4, connect, offer, told
from tests.system.tap_counts import pinned_map
from tests.system.test_system_life import Talk, offer_echo

pytestmark = pytest.mark.system

PORT_API = ("127.0.0.1", 9091)
MANY = int(2000 / PATIENCE)
CHANGES = int(200 / PATIENCE)
"""Fewer on a machine that is known to be slow: an emulated one makes ten taps a second.
"""
PORT = 7777
Port = dict[str, object]


class Calls:
    """Calls of the running agent's port API, each over a connection of its own."""

    def __init__(self, site: Any) -> None:
        self._host = site.lab.host.name

    def add(self, ports: Port | Sequence[Port]) -> None:
        self._call("POST", "/port", json.dumps(ports))

    def delete(self, ports: Iterable[Port]) -> None:
        for each in ports:
            self._call("DELETE", f"/port/{each['id']}")

    def states(self) -> set[str]:
        """Of all ports, in Contrail's words."""
        return {each["state"] for each in json.loads(self._call("GET", "/ports"))}

    def refusal(self, method: str, path: str, body: str) -> str:
        """What it says against a call."""
        status, said = self._answer(method, path, body)
        assert http.client.INTERNAL_SERVER_ERROR == status
        return said.decode()

    def _call(self, method: str, path: str, body: str = "") -> bytes:
        status, said = self._answer(method, path, body)
        assert http.client.OK == status, said
        return said

    def _answer(self, method: str, path: str, body: str) -> tuple[int, bytes]:
        client = http.client.HTTPConnection(*PORT_API)
        client.sock = inside(
            self._host, lambda: socket.create_connection(PORT_API, 60 * PATIENCE)
        )
        with closing(client):
            client.request(method, path, body)
            answer = client.getresponse()
            return answer.status, answer.read()


@pytest.fixture
def calls(site: Any) -> Calls:
    """The running agent's port API."""
    return Calls(site)


def port(number: int, **more: object) -> Port:
    """Of a guest that nobody runs, at `tap-<number>`."""
    identity = str(uuid.UUID(int=number + 1))
    values: Port = {
        "id": identity,
        "instance-id": identity,
        "vn-id": identity,
        "vm-project-id": identity,
        "display-name": f"guest {number}",
        "ip-address": f"10.9.{number >> 8}.{number & 255}",
        "ip6-address": "::",
        "type": 0,
        "system-name": f"tap-{number}",
        "mac-address": f"02:09:00:00:{number >> 8:02x}:{number & 255:02x}",
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
    }
    return values | more


def make_taps(site: Any, ports: Iterable[Port]) -> None:
    lines = (f"link add {each['system-name']} type veth\n" for each in ports)
    site.lab.host.run("ip", "-batch", "-", text="".join(lines))


def remove_taps(site: Any, ports: Iterable[Port]) -> None:
    lines = (f"link del {each['system-name']}\n" for each in ports)
    site.lab.host.run("ip", "-batch", "-", text="".join(lines))


def served(site: Any) -> int:
    """How many ports the kernel has."""
    held = pinned_map(site.lab.host.bpf_files, "reply")
    count = sum(1 for _ in held.elements())
    held.close()
    return count


def uuid_of(ask: Any, guest: Guest) -> str:
    """The instance that the guest is told it is, by its metadata service."""
    said = ask(guest, "/openstack/latest/meta_data.json")
    return str(json.loads(said)["uuid"]) if said else said


def test_a_neighbour_does_not_notice_two_hundred_changes(
    site: Any, calls: Calls, fabric: Any, ask: Any
) -> None:
    """Ports come, are replaced (another MAC, another instance) and go; an open
    connection of another guest goes on, its counters and its new flows too.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    server = fabric.server("server")
    server.serve(PORT)
    offer(site, "echo", SERVICE4, PORT, server.address)
    connection = connect(alice, SERVICE4, PORT)
    assert b"server HELLO" == told(connection)
    dropped = {
        name: site.counter(name)
        for name in ("spoofed", "unknown_identity", "untracked", "untranslated")
    }
    ports = [port(number) for number in range(4)]
    make_taps(site, ports)
    for number in range(CHANGES):
        one = ports[number % len(ports)]
        calls.add(one)
        calls.add(one | {"mac-address": f"02:09:00:01:00:{number:02x}"})
        calls.delete([one])
        if number % 10 == 0:
            assert b"server %d" % number == told(connection, b"%d" % number)
    assert b"server STILL HERE" == told(connection, b"still here")
    connection.close()
    assert 1 == served(site)
    assert alice.instance_id == uuid_of(ask, alice)
    assert dropped == {name: site.counter(name) for name in dropped}


def test_two_thousand_ports(site: Any, calls: Calls, ask: Any) -> None:
    """Attached in two calls, with a guest among them that is served; a thousand taps
    vanish at once, the rest are deleted one by one, and the guest is served throughout.
    """
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    crowd = [port(number) for number in range(MANY)]
    first, second = crowd[: MANY // 2], crowd[MANY // 2 :]
    make_taps(site, crowd)
    calls.add(first)
    calls.add(second)
    assert MANY + 1 == served(site)
    assert {"Active"} == calls.states()
    assert carol.instance_id == uuid_of(ask, carol)
    remove_taps(site, first)
    wait_for(lambda: served(site), lambda count: count == MANY // 2 + 1, seconds=30)
    assert carol.instance_id == uuid_of(ask, carol)
    make_taps(site, first[:50])
    wait_for(lambda: served(site), lambda count: count == MANY // 2 + 51, seconds=30)
    calls.delete(itertools.chain(first, second[:100]))
    assert MANY // 2 - 100 + 1 == served(site)
    assert carol.instance_id == uuid_of(ask, carol)


def test_a_guest_among_two_thousand_survives_a_restart(
    site: Any, calls: Calls, ask: Any
) -> None:
    """All of them are served again, each with the identity that it had. Of its flows
    that the kernel carries nothing is lost, whether the agent was stopped or killed.
    """
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    offer_echo(site)
    crowd = [port(number) for number in range(MANY)]
    make_taps(site, crowd)
    calls.add(crowd)
    identity = site.identity(carol)
    with Talk(carol, socket.SOCK_STREAM) as tcp, Talk(carol, socket.SOCK_DGRAM) as udp:
        for how in (signal.SIGTERM, signal.SIGKILL):
            site.agent.stop(how)
            site.agent.start()
            assert MANY + 1 == served(site)
            assert identity == site.identity(carol)
            assert carol.instance_id == uuid_of(ask, carol)
    assert tcp.sent == tcp.echoed
    assert sorted(udp.sent.split()) == sorted(udp.echoed.split())
    assert carol.instance_id == uuid_of(ask, carol)


def test_what_the_kernel_refuses_is_told_and_mended(
    site: Any, calls: Calls, ask: Any
) -> None:
    """Somebody put an element of ours into a map of rules. The call names it; the ports
    that were there go on being served, and the whole state replaces it a second later.
    """
    carol = site.carol()
    site.introduce(carol)
    site.provision()
    one = port(1) | {"further-addresses": ["10.8.0.1"]}
    make_taps(site, [one])
    site.agent.data_path.run("nft", "add element inet vagent port_of { 3 : 999 }")
    said = calls.refusal("POST", "/port", json.dumps(one))
    assert "map port_of, tap tap-1: File exists (EEXIST)" in said
    assert carol.instance_id == uuid_of(ask, carol)
    wait_for(calls.states, lambda states: states == {"Active"})
    assert 3 == served(site)
    assert carol.instance_id == uuid_of(ask, carol)
