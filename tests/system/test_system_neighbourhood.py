"""What other programs put into a host does not concern the metadata service, and far
services only where the host's own policy forbids to forward.

Each recipe is what some program is known to leave: its rules, routes, marks, addresses
or settings, as far as guests' packets could meet them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lab.fabric import Fabric, echo
from lab.waiting import wait_for
from tests.system.offers import SERVICE4, SERVICE6, answered, known, offer
from tests.system.test_system_ipv6 import alice, ask6

pytestmark = [pytest.mark.system, pytest.mark.kernel]

USER_DATA = "/latest/user-data"
FAR = "169.254.1.8"
STRAY = "10.99.99.99:8181"
RECIPES = {
    "kiam": f"""nft 'table ip kiam {{
        chain pre {{ type nat hook prerouting priority -100;
        ip daddr 169.254.169.254 tcp dport 80 dnat to {STRAY}; }}; }}'""",
    "NAT before everybody's": f"""nft 'table ip early {{
        chain pre {{ type nat hook prerouting priority -199;
        ip daddr 169.254.0.0/16 tcp dport 80 dnat to {STRAY}; }}; }}'""",
    "marks, set and restored without a mask": """nft 'table inet marks {
        chain pre { type filter hook prerouting priority -149; meta mark set ct mark;
        meta mark 0 meta mark set 0x5; ct mark set meta mark; }; }'""",
    "routing by bits of marks": """ip rule add fwmark 0x20000/0x20000 lookup 99;
        ip rule add fwmark 0x40000/0x40000 lookup 99;
        ip route add blackhole default table 99""",
    "masquerade of everything": """nft 'table ip everything { chain post {
        type nat hook postrouting priority 99; oifname != "lo" masquerade; }; }'""",
    "no tracking of link-local addresses": """nft 'table ip raw { chain pre {
        type filter hook prerouting priority -300; ip daddr 169.254.169.254 notrack; };
        chain out { type filter hook output priority -300;
        ip saddr 169.254.169.254 notrack; }; }'""",
    "a strict reverse path filter": "sysctl -qw net.ipv4.conf.all.rp_filter=1",
    "bridged packets in iptables": """sysctl -qw net.bridge.bridge-nf-call-iptables=1 \
        net.bridge.bridge-nf-call-ip6tables=1 2>/dev/null || true""",
    "a bridge with 169.254.0.0/16": """ip link add cloud0 type bridge;
        ip address add 169.254.0.5/16 dev cloud0; ip link set cloud0 up""",
    "another metadata service": """ip address add 169.254.169.254/32 dev lo""",
}
AFTERWARDS = {
    "another MAC address": "ip link set vagentu address 02:11:22:33:44:55",
    "all rules flushed": "nft flush ruleset",
}
FORBIDS = """nft 'table inet docker { chain forward {
    type filter hook forward priority 0; policy drop; }; }'"""


def put(site: Any, recipe: str) -> None:
    """Into the host, as the program does it."""
    site.lab.host.run("sh", "-ec", recipe)


@pytest.fixture
def neighbour(idle_site: Any, fabric: Fabric) -> Callable[[], Any]:
    """A host that offers a service of its own and one of another machine, once its
    agent is started: its guest.
    """
    site, far = idle_site, fabric.server("far")
    far.serve(7777)
    site.started.append(echo(site.lab.host, "host", 7777, address="127.0.0.1"))

    def started() -> Any:
        site.agent.start()
        guest = alice(site)
        known(site, guest)
        site.provision()
        offer(site, "near", SERVICE4, 7, "127.0.0.1")
        offer(site, "far", FAR, 8, far.address)
        return guest

    return started


def is_served(guest: Any, ask: Any) -> bool:
    """Metadata over both families, a service of the host and one beyond, both kinds."""
    return (
        ask(guest, USER_DATA, timeout=2) == ask6(guest, USER_DATA) == "I am alice\n"
        and {answered(guest, kind, SERVICE4, 7) for kind in ("tcp", "udp")} == {"host"}
        and {answered(guest, kind, FAR, 8) for kind in ("tcp", "udp")} == {"far"}
    )


@pytest.mark.parametrize("first", ["the host", "the agent"])
def test_guests_are_served_beside_all_of_it(
    idle_site: Any, neighbour: Callable[[], Any], ask: Any, first: str
) -> None:
    """All recipes at once, in any order, before or after the agent's start."""
    site, seed = idle_site, random.randrange(1 << 32)  # noqa: S311 no secret
    print(f"seed {seed}")
    names = [*RECIPES]
    random.Random(seed).shuffle(names)  # noqa: S311 no secret
    guest = neighbour() if first == "the agent" else None
    for name in names:
        put(site, RECIPES[name])
        if guest is not None:
            assert "I am alice\n" == ask(guest, USER_DATA, timeout=2), name
    guest = guest or neighbour()
    wait_for(lambda: is_served(guest, ask))


@pytest.mark.parametrize("name", AFTERWARDS)
def test_guests_are_served_after_it(
    idle_site: Any, neighbour: Callable[[], Any], ask: Any, name: str
) -> None:
    """What happens to the agent's own while it runs: metadata goes on at once."""
    guest = neighbour()
    put(idle_site, AFTERWARDS[name])
    assert "I am alice\n" == ask(guest, USER_DATA, timeout=2)
    wait_for(lambda: is_served(guest, ask))


def test_a_host_that_forbids_to_forward(
    idle_site: Any, neighbour: Callable[[], Any], ask: Any
) -> None:
    """Guests have their metadata and the host's services; the doctor names what stops
    the others.
    """
    guest = neighbour()
    put(idle_site, FORBIDS)
    assert "I am alice\n" == ask(guest, USER_DATA, timeout=2)
    assert "host" == answered(guest, "tcp", SERVICE4, 7)
    said = idle_site.agent.tool("vagent.ctl", "doctor", check=False)
    assert (
        "inet docker forward: its policy drops a guest's packet to service far" in said
    )


def test_a_neighbour_of_both_families(
    idle_site: Any, neighbour: Callable[[], Any], ask: Any
) -> None:
    """A table that drops all link-local addresses of the host's own, both ways."""
    guest = neighbour()
    put(
        idle_site,
        "nft 'table inet strict { chain pre { type filter hook prerouting priority"
        " -400; ip daddr 169.254.169.254 drop; ip6 daddr fe80::a9fe:a9fe drop;"
        f" ip6 daddr {SERVICE6} drop; }}; }}'",
    )
    assert "I am alice\n" == ask(guest, USER_DATA, timeout=2)
    assert "I am alice\n" == ask6(guest, USER_DATA)
