"""Taps of the least MTU and of jumbo frames: whatever fits comes through both ways, and
whoever sends what does not fit is told.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

import pytest

from lab.fabric import BRIDGE, Fabric
from lab.guests import Guest
from lab.namespaces import PATIENCE
from lab.waiting import wait_for
from tests.system.offers import at, connect, datagrams, known, offer, told
from tests.system.test_system_icmp import FROM, MTU, sent_and_back
from tests.system.test_system_ipv6 import EC2, LINK_LOCAL, alice, ask6

pytestmark = [pytest.mark.system, pytest.mark.kernel]

NARROW, USUAL, JUMBO = 1280, 1500, 9000
STREAM = 300_000
DOCUMENT = "x" * 60_000
ORDER = ("ipv4", "registered", "link-local")
SIZES = (1, NARROW - 60, NARROW, USUAL, 5000, JUMBO - 60, 30_000)
SOON = 0.5 * PATIENCE
"""Seconds for the answer to a datagram, which is lost while a path's MTU is learned."""


def resize(site: Any, guest: Guest, mtu: int) -> None:
    """Both ends of the guest's tap."""
    site.lab.host.run("ip", "link", "set", guest.tap, "mtu", str(mtu))
    guest.machine.run("ip", "link", "set", "eth0", "mtu", str(mtu))


@pytest.fixture(params=[(NARROW, USUAL), (USUAL, JUMBO), (JUMBO, USUAL)])
def sized(request: Any, site: Any, fabric: Fabric) -> tuple[Any, Guest, int]:
    """A guest whose tap has one MTU, and an echo on a fabric of another, for both
    families; and the lesser one.
    """
    guest, (mtu, beyond) = alice(site), request.param
    resize(site, guest, mtu)
    known(site, guest)
    site.provision()
    server = fabric.server("far")
    for name in (f"fab-{server.name}", BRIDGE):
        site.lab.host.run("ip", "link", "set", name, "mtu", str(beyond))
    server.machine.run("ip", "link", "set", "eth0", "mtu", str(beyond))
    server.serve(7777)
    for address in {address for address, _ in FROM.values()}:
        offer(site, f"echo{address}", address, 7, at(server, address))
    return site, guest, min(mtu, beyond)


def comes_back(flow: socket.socket, size: int) -> None:
    """A datagram that is sent again until its echo is there."""
    wait_for(lambda: echoed(flow, size), size.__eq__)


def echoed(flow: socket.socket, size: int) -> int:
    """How many bytes of a datagram come back; 0 where it, or its answer, is lost."""
    flow.settimeout(SOON)
    with suppress(TimeoutError, OSError):
        flow.send(b"x" * size)
        return flow.recv(65_535).count(b"X")
    return 0


def refused(site: Any) -> dict[str, int]:
    """What the taps' programs dropped of fragments."""
    return {each: site.counter(each) for each in ("spoofed", "fragment", "malformed")}


def long_document(site: Any, guest: Guest) -> None:
    """User data of many segments."""
    file = site.folder / "long.json"
    document = {"uuid": guest.instance_id, "tenant_id": guest.tenant_id}
    file.write_text(json.dumps({**document, "user_data": DOCUMENT}))
    site.agent.tool("vagent.ctl", "instance", "add", str(file))


def test_documents_and_long_requests_fit(
    sized: tuple[Any, Guest, int], ask: Any
) -> None:
    """Of the metadata service, at all of its addresses."""
    site, guest, _ = sized
    long_document(site, guest)
    wait_for(guest.link_local)
    request = ("/latest/user-data", "-H", f"X-Long: {'y' * 6000}")
    assert DOCUMENT == ask(guest, *request)
    for service in (EC2, LINK_LOCAL):
        assert DOCUMENT == ask6(guest, *request, service=service)


def test_a_far_service_gets_and_sends_everything(
    sized: tuple[Any, Guest, int],
) -> None:
    """Streams, and datagrams of any length: those that are longer than the way between
    are cut by their sender, once it was told. The guest knows what fits.
    """
    site, guest, mtu = sized
    before = refused(site)
    for address, prepare in map(FROM.__getitem__, ORDER):
        prepare(guest)
        assert STREAM == sent_and_back(guest, address, STREAM)
        with datagrams(guest, address, 7) as flow:
            for size in SIZES:
                comes_back(flow, size)
            assert mtu == flow.getsockopt(*MTU[flow.family])
    assert before == refused(site)


def test_a_tap_that_becomes_narrow(site: Any, fabric: Fabric) -> None:
    """Flows of before go on, in smaller packets: their far end is told."""
    guest, server = alice(site), fabric.server("far")
    known(site, guest)
    server.serve(7777)
    streams, flows = [], []
    for address, prepare in map(FROM.__getitem__, ORDER):
        prepare(guest)
        offer(site, f"echo{address}", address, 7, at(server, address))
        streams.append(connect(guest, address, 7))
        assert b"far HELLO" == told(streams[-1])
        flows.append(datagrams(guest, address, 7))
        comes_back(flows[-1], USUAL - 60)
    resize(site, guest, NARROW)
    for stream in streams:
        back = b""
        stream.sendall(b"x" * 20_000)
        while back.count(b"X") < 20_000:
            back += stream.recv(65_535)
        stream.close()
    for flow in flows:
        comes_back(flow, 5000)
        flow.close()
