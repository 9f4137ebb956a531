"""Other link-local services: offered, changed, deleted, each without the others."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from lab.fabric import HOST4, HOST6, Fabric, Server, echo
from lab.namespaces import PATIENCE
from lab.waiting import wait_for
from tests.system.offers import (
    BOTH,
    OPEN,
    SERVICE4,
    SERVICE6,
    answered,
    at,
    connect,
    datagrams,
    known,
    offer,
    offer_by_name,
    told,
    traced,
    withdraw,
)

pytestmark = pytest.mark.system

KINDS = ("tcp", "udp")
ROUNDS = 20


@pytest.fixture
def servers(fabric: Fabric) -> tuple[Server, Server]:
    """Two machines of the fabric that serve on two ports."""
    made = fabric.server("one"), fabric.server("two")
    for server in made:
        server.serve(7777)
        server.serve(7778)
    return made


@pytest.fixture
def serve(idle_site: Any) -> Iterator[Callable[[str], None]]:
    """Start an echo server of the host itself, at an address."""
    running = []
    yield lambda address: running.append(
        echo(idle_site.lab.host, "host", 7777, address=address)
    )
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.kernel
@pytest.mark.parametrize("by_name", [False, True], ids=["address", "name"])
def test_a_service_of_this_host(
    site: Any, serve: Callable[[str], None], *, by_name: bool
) -> None:
    """One entry serves both protocols; 127.0.0.1 and a name for it are this host.
    (Contrail: LinkLocalReqTest, LinkLocalFlow_loopback_1.)
    """
    serve("127.0.0.1")
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    if by_name:
        offer_by_name(site, "echo", SERVICE4, 7, "localhost")
    else:
        offer(site, "echo", SERVICE4, 7, "127.0.0.1")
    for guest in (alice, bob):
        for kind in KINDS:
            assert "host" == answered(guest, kind, SERVICE4, 7)


@pytest.mark.kernel
def test_an_ipv6_service_of_this_host(site: Any, serve: Callable[[str], None]) -> None:
    """At an address of the host, without any forwarding."""
    lo = ("ip", "address", "add", f"{HOST6}/128", "dev", "lo")
    site.lab.host.run(*lo)
    serve(HOST6)
    alice = site.alice()
    known(site, alice)
    offer(site, "echo6", SERVICE6, 7, HOST6)
    forwarding = ("sysctl", "-n", "net.ipv6.conf.all.forwarding")
    assert "0\n" == site.lab.host.run(*forwarding)
    for kind in KINDS:
        assert "host" == answered(alice, kind, SERVICE6, 7)


@pytest.mark.kernel
@pytest.mark.parametrize("address", BOTH)
def test_services_of_other_machines(
    site: Any, servers: tuple[Server, Server], address: str
) -> None:
    """Several services on one address, over TCP and UDP, several endpoints each. The
    flow table says which endpoint a flow has. (Contrail: LinkLocalFlow_1.)
    """
    one, two = servers
    alice, bob = site.alice(), site.bob()
    known(site, alice, bob)
    offer(site, "first", address, 7, at(one, address))
    offer(site, "second", address, 8, at(two, address), fabric_port=7778)
    offer(site, "either", address, 9, at(one, address), at(two, address))
    for guest in (alice, bob):
        for kind in KINDS:
            assert "one" == answered(guest, kind, address, 7)
            assert "two" == answered(guest, kind, address, 8)
            names = {answered(guest, kind, address, 9) for _ in range(20)}
            assert {"one", "two"} == names
    with connect(alice, address, 8) as flow:
        told(flow)
        port = flow.getsockname()[1]
        text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list")
        (row,) = [
            each
            for each in json.loads(text)
            if (each["source_port"], each["guest"]) == (port, "alice")
        ]
    expected = ("second", at(two, address), 7778, "ESTABLISHED")
    shown = ("service", "endpoint_address", "endpoint_port", "state")
    assert expected == tuple(row[each] for each in shown)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", BOTH)
def test_a_change_of_one_service_leaves_the_others_alone(
    site: Any, servers: tuple[Server, Server], address: str, kind: str
) -> None:
    """One is deleted: its flows have ended when the deletion is answered. One moves: so
    do its flows. The third, on the same address, goes on.
    (Contrail: LinkLocalChangeTest.)
    """
    one, two = servers
    alice = site.alice()
    known(site, alice)
    offer(site, "kept", address, 7, at(one, address))
    offer(site, "doomed", address, 8, at(two, address))
    offer(site, "moved", address, 9, at(two, address), fabric_port=7778)
    kept, doomed, moved = (OPEN[kind](alice, address, port) for port in (7, 8, 9))
    assert [b"one", b"two", b"two"] == [
        told(flow).split()[0] for flow in (kept, doomed, moved)
    ]
    withdraw(site, "doomed", address, 8)
    offer(site, "moved", address, 9, at(one, address), fabric_port=7778)
    doomed.settimeout(1)
    assert has_ended(doomed)
    assert b"one AGAIN" == told(kept, b"again")
    assert "one" == answered(alice, kind, address, 9)
    with pytest.raises(ConnectionRefusedError), OPEN[kind](alice, address, 8) as flow:
        told(flow)
    for flow in (kept, doomed, moved):
        flow.close()


def test_a_change_is_in_force_when_it_is_answered(
    site: Any, servers: tuple[Server, Server]
) -> None:
    """Guests that ask at once get an answer from a new service, and from a deleted one
    none; a flow of the deleted one has ended.
    """
    alice = site.alice()
    known(site, alice)
    offer(site, "kept", SERVICE4, 9, servers[1].address)
    for _ in range(ROUNDS):
        offer(site, "echo", SERVICE4, 7, servers[0].address)
        for kind in KINDS:
            assert "one" == answered(alice, kind, SERVICE4, 7)
        with connect(alice, SERVICE4, 7) as flow:
            told(flow)
            withdraw(site, "echo", SERVICE4, 7)
            for kind in KINDS:
                assert "" == answered(alice, kind, SERVICE4, 7)
            flow.settimeout(0.2)
            assert has_ended(flow)


def has_ended(flow: socket.socket) -> bool:
    """Is there no answer any more?"""
    try:
        told(flow)
    except OSError as failure:
        said = str(failure)
        return re.search(r"timed out|reset|refused|Broken pipe", said) is not None
    return False


@pytest.mark.parametrize("address", BOTH)
def test_a_name_is_followed_by_its_ttl(
    zone: Path, site: Any, servers: tuple[Server, Server], address: str
) -> None:
    """It moves within seconds (Contrail: 15 minutes); when the name server fails, the
    last good answer stays (Contrail clears it).
    """
    one, two = servers
    zone.write_text(f"{one.address}\n{one.address6}")
    alice = site.alice()
    known(site, alice)
    offer_by_name(site, "echo", address, 7, "echo.example.net")
    for kind in KINDS:
        assert "one" == answered(alice, kind, address, 7)
    zone.write_text(f"{two.address}\n{two.address6}")
    wait_for(lambda: answered(alice, "tcp", address, 7) == "two", seconds=20)
    assert "two" == answered(alice, "udp", address, 7)
    zone.unlink()
    wait_for(lambda: "the last good answer stays" in traced(site, "LinkLocal"))
    for kind in KINDS:
        assert "two" == answered(alice, kind, address, 7)


def test_a_flow_table_without_its_guest(
    site: Any, servers: tuple[Server, Server]
) -> None:
    """A port that is deleted takes its flows along; another's stay.
    (Contrail: LinkLocalFlow_VmiDel_1.)
    """
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    offer(site, "echo", SERVICE4, 7, servers[0].address)
    flows: list[socket.socket] = []
    for guest in (alice, bob):
        flows += [connect(guest, SERVICE4, 7), datagrams(guest, SERVICE4, 7)]
    for flow in flows:
        assert b"one HELLO" == told(flow)
    site.agent.tool("vagent.ctl", "port", "del", alice.port_id)

    def guests() -> list[str]:
        text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list")
        return [each["guest"] for each in json.loads(text)]

    wait_for(guests, lambda names: names == ["bob", "bob"])
    for flow in flows[2:]:
        assert b"one STILL" == told(flow, b"still")
    for flow in flows:
        flow.close()


FORGET = """
import socket
from vagent.kernel.conntrack import encode_end
from vagent.kernel.netlink import transact
transact(encode_end(0, 0), "everything")
"""


@pytest.mark.kernel
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_that_the_kernel_forgot_goes_on(
    site: Any, servers: tuple[Server, Server], kind: str
) -> None:
    """Somebody flushes conntrack: the next packet opens the flow anew; it is one then,
    not two. (Contrail: LinkLocalFlow_Eviction_1, LinkLocalFlow_RevEviction_1.)
    """
    alice = site.alice()
    site.introduce(alice)
    offer(site, "echo", SERVICE4, 7, servers[0].address)
    with OPEN[kind](alice, SERVICE4, 7) as flow:
        assert b"one HELLO" == told(flow)
        site.lab.host.run(sys.executable, "-c", FORGET)
        assert b"one AGAIN" == told(flow, b"again")
        text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list")
        assert 1 == len(json.loads(text))


@pytest.mark.kernel
def test_a_flow_from_before_the_service_becomes_one_of_it(
    site: Any, servers: tuple[Server, Server]
) -> None:
    """What the guest sent to its gateway goes to the service as soon as there is one.
    (Contrail: LinkLocalFlow_update; linklocal_l2: the guest is a bridge port.)
    """
    alice = site.alice()
    site.introduce(alice)
    with datagrams(alice, SERVICE4, 7) as flow:
        flow.send(b"early")
        offer(site, "echo", SERVICE4, 7, servers[0].address)
        assert b"one HELLO" == told(flow)


def test_a_port_of_which_nothing_is_known_but_its_addresses(
    site: Any, servers: tuple[Server, Server]
) -> None:
    """A guest whose instance nobody described has its flows all the same.
    (Contrail: LinkLocalFlow_NoVm_1.)
    """
    alice = site.alice()
    site.agent.register(alice)
    offer(site, "echo", SERVICE4, 7, servers[0].address)
    for kind in KINDS:
        assert "one" == answered(alice, kind, SERVICE4, 7)


def test_services_are_for_guests_only(
    site: Any, servers: tuple[Server, Server]
) -> None:
    """A machine of the fabric that sends packets for a service address, or for the
    identity of a guest, to this host gets nothing. (Contrail: Mdata_FabricToServer_1.)
    """
    one, two = servers
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    offer(site, "echo", SERVICE4, 7, two.address)
    identity = site.identity(alice)
    for address in ("169.254.169.254", SERVICE4, identity):
        one.machine.run("ip", "route", "add", address, "via", HOST4)
    for url in ("169.254.169.254", f"{SERVICE4}:7", f"{identity}:22"):
        code = one.machine.run(
            *("curl", "-s", "-m", "1", "-w", "%{http_code}", f"http://{url}/"),
            check=False,
        )
        assert "000" == code
    text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list")
    assert [] == json.loads(text)


def test_every_http_answer_has_a_date(site: Any, ask: Any) -> None:
    """RFC 9110 §6.6.1: of the embedded server by way of the proxy, of the proxy itself,
    and of the agent's three APIs; the host's time, once.
    """
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    answers = [
        ask(alice, "/latest/user-data", "-i"),
        ask(alice, "/latest/nothing", "-i"),
        ask(alice, "/latest/user-data", "-i", "-H", "Host;"),
        *(
            site.agent.get(f"http://127.0.0.1:{page}", "-i")
            for page in ("8085/readyz", "8082/", f"9091/port/{alice.port_id}")
        ),
    ]
    now = datetime.now(UTC)
    for answer in answers:
        [date] = re.findall("^Date: (.*)$", answer, re.MULTILINE)
        age = (now - parsedate_to_datetime(date)).total_seconds()
        assert abs(age) < 60 * PATIENCE, answer
