"""Taps that are replaced, guests with odd routes, and identities from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from lab.agent import configuration
from lab.guests import Guest
from lab.waiting import wait_for
from tests.system.tap_counts import programs_at
from tests.system.test_system_identity import heard, wire
from tests.system.test_system_ipv6 import EC2, alice, ask6

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
PORT = 4242


def ifindex(site: Any, tap: str) -> int:
    """The number of an interface of the host."""
    (shown,) = json.loads(site.lab.host.run("ip", "-j", "link", "show", tap))
    found: int = shown["ifindex"]
    return found


def test_a_tap_that_is_replaced_in_one_go(site: Any, ask: Any) -> None:
    """Gone and back under the same name before anybody looks: it is another interface,
    and it is served.
    """
    guest = site.alice()
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)
    before = ifindex(site, guest.tap)
    machine = guest.machine.name
    site.lab.host.run(
        *("ip", "-batch", "-"),
        text=f"link del {guest.tap}\n"
        f"link add {guest.tap} type veth peer name eth0 address {guest.mac}"
        f" netns {machine}\n"
        f"link set {guest.tap} master blue up\n",
    )
    assert before != ifindex(site, guest.tap)
    guest.machine.run(
        *("ip", "-batch", "-"),
        text="link set eth0 up\naddr add 10.0.0.5/24 dev eth0\n"
        "route add default via 10.0.0.1\n",
    )
    wait_for(lambda: ask(guest, USER_DATA, timeout=1), "I am alice\n".__eq__)
    assert 1 == programs_at(site.lab.host, guest.tap)


def test_taps_that_change_names_change_guests(site: Any, ask: Any) -> None:
    """The name is what was registered: whoever is behind it is that port's guest, with
    its MAC and address; the interface that had it before is nobody's.
    """
    one, two = site.alice(), site.bob()
    site.introduce(one)
    site.provision()
    assert "I am alice\n" == ask(one, USER_DATA)
    site.lab.host.run(
        *("ip", "-batch", "-"),
        text=f"link set {one.tap} down\nlink set {two.tap} down\n"
        f"link set {one.tap} name elsewhere\nlink set {two.tap} name {one.tap}\n"
        f"link set {one.tap} up\nlink set elsewhere up\n",
    )
    two.machine.run("ip", "link", "set", "eth0", "address", one.mac)
    two.machine.run("ip", "route", "replace", "169.254.0.0/16", "dev", "eth0")
    wait_for(lambda: ask(two, USER_DATA, timeout=1), "I am alice\n".__eq__)
    assert "" == ask(one, USER_DATA, timeout=2)


@pytest.mark.parametrize(
    "route",
    [
        ("169.254.0.0/16", "dev", "eth0"),
        ("169.254.169.254/32", "dev", "eth0"),
        ("169.254.169.254/32", "via", "10.0.0.1"),
        ("169.254.169.254/32", "via", "10.0.0.99"),
    ],
)
def test_a_guest_without_a_default_gateway(
    site: Any, ask: Any, route: tuple[str, ...]
) -> None:
    """An on-link route, or a host route, by a gateway that may not even be there."""
    guest = site.alice()
    guest.machine.run("ip", "route", "del", "default")
    guest.machine.run("ip", "route", "add", *route)
    if "10.0.0.99" in route:
        lladdr = ("lladdr", "02:de:ad:be:ef:99", "dev", "eth0", "nud", "permanent")
        guest.machine.run("ip", "neigh", "add", "10.0.0.99", *lladdr)
    site.introduce(guest)
    site.provision()
    assert "I am alice\n" == ask(guest, USER_DATA)


def test_a_guest_with_ipv6_alone(site: Any) -> None:
    """No IPv4 address, no default route: its own, by a host route."""
    guest = alice(site)
    site.introduce(guest)
    site.provision()
    guest.machine.run("ip", "-4", "address", "flush", "dev", "eth0")
    assert "I am alice\n" == ask6(guest, USER_DATA, service=EC2)


@pytest.fixture
def with_host_to_guest(idle_site: Any) -> Any:
    """A host whose processes reach guests by their identities."""
    idle_site.agent.config = configuration(
        idle_site.folder,
        extra="<data-path><host-to-guest>true</host-to-guest></data-path>",
    )
    idle_site.agent.start()
    return idle_site


def from_elsewhere(site: Any, sender: Guest, victim: Guest, mac: str) -> list[Packet]:
    """Packets to the victim's identities."""
    shown = site.agent.tool("vagent.ctl", "-o", "json", "port", "show", victim.port_id)
    identity = json.loads(shown)["mdata-ip"]
    number = int(identity.rpartition(".")[2])
    identity6 = f"fd40:140:{number:x}::1"
    ether = Ether(src=sender.mac, dst=mac)
    return [
        ether / IP(src=sender.address, dst=identity) / UDP(dport=PORT),
        ether / IPv6(src="2001:db8::9", dst=identity6) / UDP(dport=PORT),
    ]


@pytest.mark.parametrize("registered", [True, False])
def test_the_identity_range_is_reached_from_nowhere_else(
    with_host_to_guest: Any, registered: bool
) -> None:
    """A guest that the host routes, or any machine at another interface of the host,
    gets no packet to an identity, also where the host itself does.
    """
    site = with_host_to_guest
    victim, sender = alice(site), site.carol()
    site.introduce(victim)
    if registered:
        site.introduce(sender)
    host = site.lab.host
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    (link,) = json.loads(host.run("ip", "-j", "link", "show", sender.tap))
    raw, heard_by = wire(sender.machine.name), wire(victim.machine.name)
    lies = from_elsewhere(site, sender, victim, link["address"])
    for lie in lies:
        raw.send(bytes(lie))
    assert [] == heard(heard_by, lambda frame: UDP in frame and frame.dport == PORT)
    assert len(lies) == site.counter("foreign_identity")
    raw.close()
    heard_by.close()


def test_a_bridge_of_the_host_is_elsewhere_too(with_host_to_guest: Any) -> None:
    """A neighbour on a bridge where the host has an address."""
    site = with_host_to_guest
    victim, other = alice(site), site.bob()
    site.introduce(victim)
    host = site.lab.host
    host.run("ip", "address", "add", "10.0.0.254/24", "dev", "green")
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    (link,) = json.loads(host.run("ip", "-j", "link", "show", "green"))
    raw, heard_by = wire(other.machine.name), wire(victim.machine.name)
    lies = from_elsewhere(site, other, victim, link["address"])
    for lie in lies:
        raw.send(bytes(lie))
    assert [] == heard(heard_by, lambda frame: UDP in frame and frame.dport == PORT)
    assert len(lies) == site.counter("foreign_identity")
    raw.close()
    heard_by.close()
