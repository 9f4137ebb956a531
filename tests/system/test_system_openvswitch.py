"""A tap that is a port of Open vSwitch's kernel datapath is served like any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import openvswitch
from lab.guests import Guest, Wiring
from lab.namespaces import Machine
from lab.openvswitch import Switch

MISSING = openvswitch.missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.kernel,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING}; see make test-stock-kernel"),
]

USER_DATA = "/latest/user-data"
WATCH = """
table netdev watch {
  chain arriving {
    type filter hook ingress device eth0 priority 0;
    ip daddr 169.254.169.254 counter comment "service"
    arp daddr ip 169.254.169.254 counter comment "question for service"
    ip daddr 10.0.0.1 counter comment "gateway"
  }
}
"""


@pytest.fixture
def switch(site: Any, tmp_path: Path) -> Iterator[Switch]:
    """Open vSwitch on the lab's host, with two bridges that have a gateway each."""
    with openvswitch.running(site.lab.host, tmp_path / "ovs") as switch:
        for bridge in ("red", "gold"):
            site.lab.bridge(bridge, "10.0.0.1/24", switch)
        yield switch


def plugged(site: Any, name: str, bridge: str) -> Guest:
    """A guest on a bridge of the switch; all of them have one address."""
    guest: Guest = site.lab.guest(
        name,
        Wiring.SWITCHED,
        address="10.0.0.5/24",
        gateway="10.0.0.1",
        bridge=bridge,
    )
    return guest


def test_guests_of_a_switch_get_their_own(site: Any, switch: Switch, ask: Any) -> None:
    """Two guests with one address on two bridges of the switch, and a third on a Linux
    bridge: each gets its own documents.
    """
    guests = (plugged(site, "dave", "red"), plugged(site, "erin", "gold"), site.alice())
    site.introduce(*guests)
    site.provision()
    for guest in guests:
        assert f"I am {guest.name}\n" == ask(guest, USER_DATA)


def test_the_switch_sees_everything_else(site: Any, switch: Switch, ask: Any) -> None:
    """Nothing for the service gets to the guest's network; what is not for the service
    goes through the switch's kernel datapath as before.
    """
    dave = plugged(site, "dave", "red")
    gateway = Machine(site.gateway("red"))
    gateway.run("nft", "-f", "-", text=WATCH)
    site.introduce(dave)
    site.provision()
    assert "I am dave\n" == ask(dave, USER_DATA)
    assert "" == ask(dave, ":81/", timeout=2)
    # Nobody listens there; that it is asked at all shows that the way is open.
    dave.machine.run("curl", "-s", "-m", "5", "http://10.0.0.1/", check=False)
    seen = gateway.run("nft", "list", "table", "netdev", "watch")
    counted = {
        line.split('"')[1]: int(line.split("packets ")[1].split()[0])
        for line in seen.splitlines()
        if "counter" in line
    }
    assert (0, 0) == (counted["service"], counted["question for service"])
    assert counted["gateway"] > 0
    assert "eth_type(0x0800)" in switch.flows()


def test_a_tap_may_change_its_switch(site: Any, switch: Switch, ask: Any) -> None:
    """The guest is known by its tap, not by what the tap is plugged into."""
    dave = plugged(site, "dave", "red")
    site.introduce(dave)
    site.provision()
    assert "I am dave\n" == ask(dave, USER_DATA)
    switch.change("del-port", "red", dave.tap)
    switch.port("gold", dave.tap)
    assert "I am dave\n" == ask(dave, USER_DATA)
