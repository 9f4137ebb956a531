"""Which interfaces of a host look like guests' and have no port."""

from __future__ import annotations

from dataclasses import dataclass

from vagent.datapath.tap.who.unregistered import unregistered
from vagent.kernel.rtnl_link import Link

BRIDGE, OTHER_BRIDGE, OVS = 10, 11, 12


@dataclass(frozen=True)
class Host:
    """A host with many interfaces: an uplink, VPNs, its own containers, a bridge with
    guests.
    """

    links: tuple[Link, ...] = (
        Link(1, "lo", "", is_up=True),
        Link(2, "eth0", "", is_up=True, master=BRIDGE),
        Link(3, "wg0", "wireguard", is_up=True),
        Link(4, "tun0", "tun", is_up=True),
        Link(5, "tap0", "tun", is_up=True, is_tap=True),
        Link(6, "vethdocker", "veth", is_up=True, master=OTHER_BRIDGE, is_away=True),
        Link(7, "veth0", "veth", is_up=True, tied=8),
        Link(8, "veth1", "veth", is_up=True, master=BRIDGE, tied=7),
        Link(9, "bond0", "bond", is_up=True),
        Link(BRIDGE, "br0", "bridge", is_up=True),
        Link(OTHER_BRIDGE, "docker0", "bridge", is_up=True),
        Link(OVS, "ovs-system", "openvswitch", is_up=True),
        Link(13, "vagent0", "veth", is_up=True, tied=14),
        Link(14, "vagent1", "veth", is_up=True, tied=13),
        Link(15, "tap1", "tun", is_up=True, master=BRIDGE, is_tap=True),
        Link(16, "eth0.100", "vlan", is_up=True, tied=2),
    )


def found(*more: Link, registered: tuple[str, ...] = ("tap1",)) -> tuple[str, ...]:
    return unregistered((*Host().links, *more), registered, ("vagent0", "vagent1"))


def test_a_host_with_many_interfaces_of_other_kinds() -> None:
    """None of them looks like a guest's."""
    assert () == found()


def test_names_of_libvirt_and_nova() -> None:
    """On tap devices, whatever bridge they are in; not on anything else."""
    taps = (
        Link(20, "vnet0", "tun", is_up=True, is_tap=True, master=OVS),
        Link(21, "tap0c5d1c2a-3f", "tun", is_up=True, is_tap=True),
    )
    assert ("tap0c5d1c2a-3f", "vnet0") == found(*taps)
    assert () == found(*taps, registered=("vnet0", "tap0c5d1c2a-3f"))
    others = (
        Link(20, "vnet0", "veth", is_up=True),
        Link(21, "vnet1", "tun", is_up=True),
        Link(22, "tap12", "tun", is_up=True, is_tap=True),
        Link(23, "vnet2x", "tun", is_up=True, is_tap=True),
        Link(24, "vnet3", "tun", is_up=False, is_tap=True),
    )
    assert () == found(*others)


def test_beside_a_registered_port() -> None:
    """Tap devices, and what leads to another namespace, in the same bridge."""
    beside = (
        Link(20, "guest2", "tun", is_up=True, is_tap=True, master=BRIDGE),
        Link(21, "vethc", "veth", is_up=True, is_away=True, tied=2, master=BRIDGE),
        Link(
            22, "vethd", "veth", is_up=True, is_away=True, tied=2, master=OTHER_BRIDGE
        ),
        Link(23, "dummy0", "dummy", is_up=True, is_away=True, master=BRIDGE),
    )
    assert ("guest2", "vethc") == found(*beside)
    assert ("tap1",) == found(*beside, registered=("guest2", "vethc"))
    assert () == found(*beside, registered=())


def test_a_tap_whose_vlan_is_registered() -> None:
    """The port is at the VLAN interface on it."""
    tap = Link(20, "vnet0", "tun", is_up=True, is_tap=True)
    vlan = Link(21, "vnet0.100", "vlan", is_up=True, tied=20)
    assert () == found(tap, vlan, registered=("tap1", "vnet0.100"))
    away = Link(21, "vnet0.100", "veth", is_up=True, tied=20, is_away=True)
    assert ("vnet0",) == found(tap, away, registered=("tap1", "vnet0.100"))
