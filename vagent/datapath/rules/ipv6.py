"""Opens IPv6 on the host's side of the veth pair, or says why this host has none.

IPv4 does not depend on it: what the kernel refuses here is a reason, not a failure.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.render import ruleset
from vagent.datapath.state import USUAL_MTU, Services
from vagent.datapath.system import System
from vagent.errors import KernelError

_SETTINGS = (
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_dad", "0"),
    ("accept_redirects", "0"),
    ("addr_gen_mode", "1"),
    ("forwarding", "1"),
    ("disable_ipv6", "0"),
)
"""The interface gets one address, ours, and none from a router or of link-local scope.
It forwards; the rules decide what."""


async def open_ipv6(names: Names, features: Features, system: System) -> str:
    """Prepare the interface, with the listener's address, and check that the kernel
    would take the rules. Why this host cannot serve IPv6, or "".
    """
    if not features.ip6_tables:
        return "nftables has no tables for IPv6 in this kernel"
    everywhere = "net/ipv6/conf/all/disable_ipv6"
    if not system.has_sysctl(everywhere):
        return "this kernel has no IPv6"
    here = f"net/ipv6/conf/{names.host_side}"
    try:
        if system.read_sysctl(everywhere) != "0":
            return "it is disabled on this host (net.ipv6.conf.all.disable_ipv6)"
        await _open(names, features, system, here)
    except KernelError as failure:
        _close(system, here)
        return str(failure)
    return ""


async def _open(names: Names, features: Features, system: System, here: str) -> None:
    for key, value in _SETTINGS:
        system.write_sysctl(f"{here}/{key}", value)
    # Since Linux 6.17 an interface may forward alone. What other machines reply still
    # needs net.ipv6.conf.all.forwarding, which the operator has to set.
    if system.has_sysctl(f"{here}/force_forwarding"):
        system.write_sysctl(f"{here}/force_forwarding", "1")
    # The kernel's own route to the prefix would be preferred, and has no MTU.
    await system.run_ip(
        f"addr replace {names.listener_address6}/{names.identity_range6.prefixlen}"
        f" dev {names.host_side} nodad noprefixroute\n"
        f"route replace {names.identity_range6} dev {names.host_side} proto kernel"
        f" mtu lock {USUAL_MTU}\n"
    )
    script = ruleset(
        names,
        Services.of((), names, None),
        (),
        features=replace(features, ipv6=True),
    )
    await system.run_nft(script, check=True)


def _close(system: System, here: str) -> None:
    try:
        system.write_sysctl(f"{here}/disable_ipv6", "1")
    except KernelError:
        return  # nothing was open
