"""Makes the agent's own interfaces: the veth pair."""

from __future__ import annotations

from vagent.datapath.names import SERVICE_MAC, Names
from vagent.datapath.state import USUAL_MTU
from vagent.datapath.system import System
from vagent.errors import KernelError

PAIR_MTU = 65535
"""Bytes of IP that the pair carries: taps may have any MTU. How long a packet to a
guest may be stands in its route."""
_SOMEBODY_ELSE = (
    "another program changed it; a restart of the agent mends it, and that program"
    " should be told to leave it alone"
)


async def make_pair(names: Names, system: System) -> bool:
    """Make the veth pair ready, with the listener's address. False where it was there,
    left by an agent before this one. Raises KernelError.
    """
    guest_side, host_side = names.guest_side, names.host_side
    is_new = not await _adopts_pair(names, system)
    if is_new:
        await system.run_ip(
            f"link add {guest_side} mtu {PAIR_MTU} type veth"
            f" peer name {host_side} mtu {PAIR_MTU}\n"
        )
        for side in (guest_side, host_side):
            # No router or neighbour discovery on interfaces without neighbours, and no
            # IPv6 at all before `open_ipv6`.
            _disable_ipv6(side, system)
    # A fabric endpoint 127.0.0.1 means this host; only translated flows get there.
    system.write_sysctl(f"net/ipv4/conf/{host_side}/route_localnet", "1")
    system.write_sysctl(f"net/ipv4/conf/{host_side}/forwarding", "1")
    await system.run_ip(
        f"link set {guest_side} mtu {PAIR_MTU} up\n"
        f"link set {host_side} address {SERVICE_MAC} mtu {PAIR_MTU} arp off up\n"
        f"addr replace {names.listener_interface} dev {host_side}\n"
        f"route replace {names.identity_range} dev {host_side} proto kernel scope link"
        f" src {names.listener_address} mtu {USUAL_MTU}\n"
    )
    return is_new


def trouble_with_pair(names: Names, system: System) -> str:
    """Why no packet gets through the pair, or "". Other programs that manage interfaces
    may have touched it.
    """
    for name in (names.guest_side, names.host_side):
        if system.ifindex(name) is None:
            return f"interface {name} is gone: {_SOMEBODY_ELSE}"
        if not system.is_up(name):
            return f"interface {name} is down: {_SOMEBODY_ELSE}"
    address = system.address(names.host_side)
    if address != names.listener_interface:
        return (
            f"interface {names.host_side} has the address {address}, not"
            f" {names.listener_interface}: {_SOMEBODY_ELSE}"
        )
    return ""


async def remove_former(names: Names, system: System) -> None:
    """Remove what an earlier version made beside the pair. Raises KernelError."""
    for name in names.former:
        if system.ifindex(name) is None:
            continue
        if system.linked(name) == system.ifindex(names.guest_side):
            await system.run_ip(f"link del {name}\n")


async def _adopts_pair(names: Names, system: System) -> bool:
    """Is the pair of an earlier agent there, so that it can be used without a gap? One
    that is half made, or is of another identity range, is taken away with its routes.
    Raises KernelError where an interface of such a name is somebody else's.
    """
    tied = {
        names.guest_side: names.host_side,
        names.host_side: names.guest_side,
        **dict.fromkeys(names.former, names.guest_side),
    }
    there = [name for name in tied if system.ifindex(name) is not None]
    for name in there:
        if system.linked(name) != system.ifindex(tied[name]):
            raise KernelError(
                f"interface {name} is not ours, as it is not tied to {tied[name]};"
                " rename it, or choose another <name> in <data-path>"
            )
    if not there:
        return False
    if system.address(names.host_side) == names.listener_interface:
        return True
    await system.run_ip(f"link del {names.guest_side}\n")
    return False


def _disable_ipv6(interface: str, system: System) -> None:
    key = f"net/ipv6/conf/{interface}/disable_ipv6"
    # There is no such key where the kernel has no IPv6.
    if system.has_sysctl(key):
        system.write_sysctl(key, "1")
