"""Makes the network namespace of guests' flows, and the two veth pairs into it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from vagent.datapath.names import SERVICE_MAC, Names
from vagent.datapath.state import USUAL_MTU
from vagent.datapath.system import System
from vagent.errors import KernelError
from vagent.kernel.namespace import Namespace

PAIR_MTU = 65535
"""Bytes of IP that the pairs carry: taps, and interfaces to the fabric, may have any
MTU. How long a packet to a guest may be stands in its route."""
_SOMEBODY_ELSE = (
    "another program changed it; a restart of the agent mends it, and that program"
    " should be told to leave it alone"
)
_LOOPBACK = "lo"
_SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_local": "0",
    "net/ipv4/conf/all/log_martians": "0",
    "net/ipv4/ip_early_demux": "1",
    "net/netfilter/nf_conntrack_acct": "1",
    "net/netfilter/nf_conntrack_timestamp": "1",
}
"""Settings of the namespace. A new one has copies of some of the host's."""


class _Pair(NamedTuple):
    """A veth pair: its end on the host, and the one in the namespace."""

    outer: str
    inner: str


async def make_namespace(names: Names, host: System, namespace: Namespace) -> None:
    """Make the namespace, if it is not there, and take hold of it. Raises
    KernelError.
    """
    if namespace.path.exists() and not namespace.is_named():
        # What is left when a namespace was made in a mount namespace that has ended.
        await host.run_ip(f"netns del {names.namespace}\n")
    if not namespace.path.exists():
        await host.run_ip(f"netns add {names.namespace}\n")
    namespace.open()


async def make_pairs(names: Names, host: System, inside: System) -> bool:
    """Make both veth pairs ready, with the listener's address. False where that to the
    taps was there, left by an agent before this one. Raises KernelError.
    """
    for key, value in _SETTINGS.items():
        if inside.has_sysctl(key):
            inside.write_sysctl(key, value)
    to_taps, to_fabric = _pairs(names)
    await _remove_former_layout(names, host)
    # Nothing is made before it is known that no name is somebody else's.
    adopts = await _adopts(to_taps, host, inside)
    has_uplink = await _adopts(to_fabric, host, inside)
    if adopts and inside.address(names.inner_side) != names.listener_interface:
        await host.run_ip(f"link del {names.guest_side}\n")
        adopts = False
    if not adopts:
        await _make(to_taps, host, inside)
    await inside.run_ip(
        f"link set {_LOOPBACK} up\n"
        f"link set {names.inner_side} address {SERVICE_MAC} mtu {PAIR_MTU} arp off up\n"
        f"addr replace {names.listener_interface} dev {names.inner_side}\n"
        f"route replace {names.identity_range} dev {names.inner_side} proto kernel"
        f" scope link src {names.listener_address} mtu {USUAL_MTU}\n"
    )
    await host.run_ip(f"link set {names.guest_side} mtu {PAIR_MTU} up\n")
    if not has_uplink:
        await _make(to_fabric, host, inside)
    await _open_uplink(names, host, inside)
    return not adopts


async def _open_uplink(names: Names, host: System, inside: System) -> None:
    outer, inner = names.uplink_address, names.uplink_address + 1
    # A fabric endpoint 127.0.0.1 means this host; only translated flows get there.
    for key, value in (("route_localnet", "1"), ("forwarding", "1")):
        host.write_sysctl(f"net/ipv4/conf/{names.uplink}/{key}", value)
    await host.run_ip(
        f"link set {names.uplink} mtu {PAIR_MTU} up\n"
        f"addr replace {outer}/31 dev {names.uplink} scope link\n"
        + (
            f"route replace {names.identity_range} via {inner} dev {names.uplink}"
            f" src {outer} mtu {USUAL_MTU}\n"
            if names.host_to_guest
            else ""
        )
    )
    await inside.run_ip(
        f"link set {names.inner_uplink} mtu {PAIR_MTU} up\n"
        f"addr replace {inner}/31 dev {names.inner_uplink}\n"
        f"route replace default via {outer} dev {names.inner_uplink}\n"
    )


def trouble_with_pairs(names: Names, host: System, inside: System) -> str:
    """Why no packet gets through the pairs, or "". Other programs that manage
    interfaces may have touched them.
    """
    for system, name in (
        (host, names.guest_side),
        (inside, names.inner_side),
        (host, names.uplink),
        (inside, names.inner_uplink),
    ):
        if system.ifindex(name) is None:
            return f"interface {name} is gone: {_SOMEBODY_ELSE}"
        if not system.is_up(name):
            return f"interface {name} is down: {_SOMEBODY_ELSE}"
    address = inside.address(names.inner_side)
    if address != names.listener_interface:
        return (
            f"interface {names.inner_side} has the address {address}, not"
            f" {names.listener_interface}: {_SOMEBODY_ELSE}"
        )
    return ""


async def remove_all(names: Names, host: System) -> None:
    """Remove the pairs, and the namespace if this process may, as far as they are
    there. Raises KernelError.
    """
    await host.run_ip(
        "".join(
            f"link del {name}\n"
            for name in (names.guest_side, names.uplink)
            if host.ifindex(name) is not None
        )
    )
    if Namespace(names.namespace).path.exists():
        # A unit's sandbox does not let it. The namespace has no interface any more.
        with suppress(KernelError):
            await host.run_ip(f"netns del {names.namespace}\n")


def _pairs(names: Names) -> tuple[_Pair, _Pair]:
    return (
        _Pair(names.guest_side, names.inner_side),
        _Pair(names.uplink, names.inner_uplink),
    )


async def _make(pair: _Pair, host: System, inside: System) -> None:
    # Made from inside, so that it does not depend on the namespace's name.
    await inside.run_ip(
        f"link add {pair.inner} mtu {PAIR_MTU} type veth"
        f" peer name {pair.outer} mtu {PAIR_MTU} netns {os.getpid()}\n"
    )
    # No router or neighbour discovery on interfaces without neighbours, and no IPv6 at
    # all before `open_ipv6`.
    for system, side in ((host, pair.outer), (inside, pair.inner)):
        _disable_ipv6(side, system)


async def _adopts(pair: _Pair, host: System, inside: System) -> bool:
    """Is the pair of an earlier agent there, so that it can be used without a gap? One
    that is half there is taken away. Raises KernelError where an interface of such a
    name is somebody else's.
    """
    outer, inner = host.ifindex(pair.outer), inside.ifindex(pair.inner)
    if (
        outer is not None
        and inner is not None
        and host.linked_elsewhere(pair.outer) == inner
        and inside.linked_elsewhere(pair.inner) == outer
    ):
        return True
    if outer is not None:
        raise KernelError(
            f"interface {pair.outer} is not ours, as it is not tied to {pair.inner} in"
            " our namespace; rename it, or choose another <name> in <data-path>"
        )
    if inner is not None:
        await inside.run_ip(f"link del {pair.inner}\n")
    return False


async def _remove_former_layout(names: Names, host: System) -> None:
    """Remove the pair that an earlier version had in the host's own network."""
    ours = host.ifindex(names.guest_side), host.ifindex(names.inner_side)
    if None not in ours and ours == (
        host.linked(names.inner_side),
        host.linked(names.guest_side),
    ):
        await host.run_ip(f"link del {names.guest_side}\n")


def _disable_ipv6(interface: str, system: System) -> None:
    key = f"net/ipv6/conf/{interface}/disable_ipv6"
    # There is no such key where the kernel has no IPv6.
    if system.has_sysctl(key):
        system.write_sysctl(key, "1")
