"""Ceilings hold, are told at once, and are nobody else's business."""

from __future__ import annotations

import re
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import pytest

from lab.agent import configuration
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for

pytestmark = pytest.mark.system

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

    made: socket.socket = wait_for(attempt)
    return made


def metric(site: Any, name: str) -> float:
    """One number of /metrics."""
    page = site.agent.get("http://127.0.0.1:8085/metrics")
    found = re.search(rf"^vagent_{re.escape(name)} (\S+)$", page, re.MULTILINE)
    assert found is not None, f"no {name} in /metrics"
    return float(found[1])


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
    """All guests' flows together."""
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
    for _ in range(10):
        assert "I am bob\n" == ask(bob, USER_DATA)
        time.sleep(0.1)
    assert 0 == flood.wait(20 * PATIENCE)
    assert site.counter("too_fast") > 100
    trapped = metric(site, 'datapath_verdicts_total{reason="metadata"}')
    assert trapped < 500, "the flood came through to the agent"
    assert "I am bob\n" == ask(bob, USER_DATA)


def test_a_refused_datagram_is_told(site: Any) -> None:
    """UDP to a service address where nothing is provisioned: ICMP port unreachable
    reaches the guest's socket at once.
    """
    bob = site.bob()
    site.introduce(bob)
    guest = inside(
        bob.machine.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    )
    guest.settimeout(3 * PATIENCE)
    guest.connect(("169.254.169.254", 53))
    guest.send(b"question")
    with pytest.raises(ConnectionRefusedError):
        guest.recv(100)
    guest.close()
