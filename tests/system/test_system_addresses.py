"""A port with several addresses of both families: each is answered as itself."""

from __future__ import annotations

import json
import signal
import socket
import sys
from dataclasses import replace
from typing import Any

import pytest

from lab.agent import port_add
from lab.guests import Guest
from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for
from tests.system.offers import metric
from tests.system.test_system_ipv6 import SHARED, alice, ask6, bob, traced
from tests.system.test_system_life import more
from tests.system.test_system_limits import connect, limited

pytestmark = pytest.mark.system

USER_DATA = "/latest/user-data"
LOCAL_IPV4 = "/latest/meta-data/local-ipv4"
MORE = ("10.0.0.6", "10.0.0.7")
MORE6 = ("2001:db8::6", "2001:db8::7")


def register(site: Any, guest: Guest, *further: str) -> dict[str, Any]:
    """The guest's port with more addresses; as `port show` shows it then."""
    options = [
        option
        for address in further
        for option in ("--ip6" if ":" in address else "--ip", address)
    ]
    site.agent.tool(*port_add(guest), *options)
    shown = site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    found: dict[str, Any] = json.loads(shown)
    return found


def with_addresses(site: Any, guest: Guest) -> dict[str, Any]:
    """All of MORE and MORE6, registered and on its interface."""
    site.introduce(guest)
    for address in MORE:
        guest.machine.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    for address in MORE6:
        guest.machine.run(
            "ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"
        )
    return register(site, guest, *MORE, *MORE6)


@pytest.mark.kernel
def test_each_address_is_answered_as_itself(site: Any, ask: Any) -> None:
    """The guest gets its own from each, Nova is told which one asked, and a neighbour
    with the same addresses is somebody else.
    """
    guest, other = alice(site), bob(site)
    shown = with_addresses(site, guest)
    with_addresses(site, other)
    site.provision()
    identities = {shown["mdata-ip"], *shown["further-mdata-ips"]}
    assert 5 == len(identities)
    assert [*MORE, *MORE6] == shown["further-addresses"]
    for each in (guest, other):
        for address in (each.address, *MORE):
            got = ask(each, USER_DATA, "--interface", address)
            assert f"I am {each.name}\n" == got
            assert traced(site, f"GET request for VM : {address}")
        for address in (SHARED, *MORE6):
            assert f"I am {each.name}\n" == ask6(
                each, USER_DATA, "--interface", address
            )
            assert traced(site, f"GET request for VM : {address}")
    flows = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "flow", "list"))
    assert {guest.address, SHARED, *MORE, *MORE6} == {
        flow["guest_address"] for flow in flows
    }


def test_kept_replies_are_of_the_address_that_asked(site: Any, ask: Any) -> None:
    """What one address was told, another is not."""
    guest = alice(site)
    with_addresses(site, guest)
    site.provision()
    for _ in range(2):
        for address in (guest.address, *MORE):
            assert address == ask(guest, LOCAL_IPV4, "--interface", address)


def test_identities_survive_a_kill(site: Any, ask: Any) -> None:
    """All of them, each with its address."""
    guest = alice(site)
    before = with_addresses(site, guest)
    site.provision()
    site.agent.stop(signal.SIGKILL)
    site.agent.start()
    shown = site.agent.tool("vagent.ctl", "-o", "json", "port", "show", guest.port_id)
    assert before == json.loads(shown)
    assert "I am alice\n" == ask(guest, USER_DATA, "--interface", MORE[1])


OPEN_IN_TURN = """
import socket, sys
rounds, refused = int(sys.argv[1]), 0
for _ in range(rounds):
    for source in sys.argv[3:]:
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET) as one:
            one.bind((source, 0))
            try:
                one.connect((sys.argv[2] if ":" not in source else "fd00:ec2::254", 80))
            except ConnectionRefusedError:
                refused += 1
print(refused)
"""
SEND_IN_TURN = """
import socket, sys
for _ in range(int(sys.argv[1])):
    for source in sys.argv[3:]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((source, 0))
            one.sendto(b"quiet", (sys.argv[2], 7))
"""


def test_what_a_port_opens_is_one_sum(idle_site: Any) -> None:
    """In a second, over all its addresses and both families; its neighbour with the
    same addresses has another.
    """
    site = idle_site
    limited(site, "<max-vm-new-flows>20</max-vm-new-flows>")
    guest, other = alice(site), bob(site)
    for each in (guest, other):
        with_addresses(site, each)
    site.provision()
    sources = (guest.address, *MORE, SHARED, *MORE6)

    def refused(which: Guest, rounds: int, *own: str) -> int:
        program = (sys.executable, "-c", OPEN_IN_TURN)
        return int(which.machine.run(*program, str(rounds), "169.254.169.254", *own))

    # Each address stays below the rate; what is let in is the burst of 20 and what the
    # rate adds meanwhile.
    assert 30 < refused(guest, 15, *sources)
    assert 0 == refused(other, 3, *sources)


def test_what_a_port_is_told_is_one_sum(idle_site: Any) -> None:
    """Datagrams over the rate are answered at one rate, whatever address sent them."""
    site = idle_site
    limited(site, "<max-vm-new-flows>1</max-vm-new-flows>")
    guest, other = alice(site), bob(site)
    with_addresses(site, guest)
    site.introduce(other)
    site.serve_echo()
    sources = (guest.address, *MORE)
    guest.machine.run(sys.executable, "-c", SEND_IN_TURN, "15", "169.254.1.7", *sources)
    assert 40 <= site.counter("too_fast")
    # The queue keeps the order: when his packet was judged, so were all of hers.
    connect(other, ("169.254.1.7", 7)).close()
    told = metric(site, 'datapath_verdicts_total{reason="guest-rate"}')
    assert 10 <= told < 2 * 10, "each address has its own rate"


@pytest.mark.kernel
def test_a_first_further_address_leaves_the_flows_alone(site: Any) -> None:
    """Those of the main address, when what it may open becomes a sum with another."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    site.serve_echo()
    connection = connect(guest, ("169.254.1.7", 7))
    assert b"HELLO" == more(connection, b"hello")
    for further in (MORE, ()):
        register(site, guest, *further)
        assert b"AGAIN" == more(connection, b"again")
    connection.close()


def test_an_address_goes_and_leaves_the_others_alone(site: Any, ask: Any) -> None:
    """Its flows end and it is nobody's; flows of the others go on; another may come."""
    guest = alice(site)
    with_addresses(site, guest)
    site.provision()
    site.serve_echo()

    def connect(address: str) -> socket.socket:
        return inside(
            guest.machine.name,
            lambda: socket.create_connection(
                ("169.254.1.7", 7), 5 * PATIENCE, source_address=(address, 0)
            ),
        )

    main, goes, stays = (connect(each) for each in (guest.address, *MORE))
    for connection in (main, goes, stays):
        assert b"HELLO" == more(connection, b"hello")
    shown = register(site, guest, MORE[1])
    assert [MORE[1]] == shown["further-addresses"]
    for connection in (main, stays):
        assert b"AGAIN" == more(connection, b"again")
    goes.settimeout(2)
    assert b"" == more(goes, b"again")
    assert "" == ask(guest, USER_DATA, "--interface", MORE[0], timeout=2)
    register(site, guest, *reversed(MORE))
    assert "I am alice\n" == ask(guest, USER_DATA, "--interface", MORE[0])
    assert b"LAST" == more(stays, b"last")
    for connection in (main, goes, stays):
        connection.close()


def test_a_further_address_is_nobody_elses_on_the_tap(site: Any) -> None:
    """A second port of the guest may not claim it; the message names the first."""
    guest = alice(site)
    with_addresses(site, guest)
    second = replace(guest, port_id="0" * 8 + guest.port_id[8:], address6="")
    for address in (*MORE, guest.address):
        said = site.agent.tool(*port_add(replace(second, address=address)), check=False)
        assert "" == said
    listed = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "port", "list"))
    assert [guest.port_id] == [port["id"] for port in listed]
    wait_for(lambda: listed[0]["state"], "Active".__eq__)
