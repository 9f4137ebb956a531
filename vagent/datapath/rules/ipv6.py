"""Opens IPv6 on the way from the taps to the fabric, or says why this host has none.

IPv4 does not depend on it: what the kernel refuses here is a reason, not a failure.
"""

from __future__ import annotations

from dataclasses import replace

from vagent.datapath.names import Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.render import ruleset
from vagent.datapath.rules.uplink import uplink_ruleset
from vagent.datapath.state import USUAL_MTU, Services
from vagent.datapath.system import System
from vagent.errors import KernelError

_WITHOUT_LINK_LOCAL, _FROM_MAC = "1", "0"
_SETTINGS = (
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("accept_dad", "0"),
    ("accept_redirects", "0"),
    ("forwarding", "1"),
)
"""An interface of ours gets the addresses that we give it, and none from a router. It
forwards; the rules decide what."""
_EVERYWHERE = "net/ipv6/conf/all"


async def open_ipv6(
    names: Names, features: Features, host: System, inside: System
) -> str:
    """Prepare the interfaces, with the listener's address, and check that the kernel
    would take the rules. Why this host cannot serve IPv6, or "".
    """
    if not features.ip6_tables:
        return "nftables has no tables for IPv6 in this kernel"
    if not host.has_sysctl(f"{_EVERYWHERE}/disable_ipv6"):
        return "this kernel has no IPv6"
    try:
        if host.read_sysctl(f"{_EVERYWHERE}/disable_ipv6") != "0":
            return "it is disabled on this host (net.ipv6.conf.all.disable_ipv6)"
        await _open(names, host, inside)
        await _try_rules(names, features, host, inside)
    except KernelError as failure:
        for system, interface in (
            (inside, names.inner_side),
            (inside, names.inner_uplink),
            (host, names.uplink),
        ):
            _close(system, interface)
        return str(failure)
    return ""


async def _open(names: Names, host: System, inside: System) -> None:
    for key in ("disable_ipv6", "accept_ra", "accept_redirects"):
        # To enable all enables each, before it is known which addresses it is to have.
        if inside.read_sysctl(f"{_EVERYWHERE}/{key}") != "0":
            inside.write_sysctl(f"{_EVERYWHERE}/{key}", "0")
    inside.write_sysctl(f"{_EVERYWHERE}/forwarding", "1")
    _set(inside, names.inner_side, _WITHOUT_LINK_LOCAL)
    # Neighbour discovery of packets that are forwarded asks from a link-local address.
    _set(inside, names.inner_uplink, _FROM_MAC)
    _set(host, names.uplink, _FROM_MAC)
    outer, inner = names.uplink_range6.network_address, names.uplink_range6[1]
    # The kernel's own route to the prefix would be preferred, and has no MTU.
    await inside.run_ip(
        f"addr replace {names.listener_address6}/{names.identity_range6.prefixlen}"
        f" dev {names.inner_side} nodad noprefixroute\n"
        f"route replace {names.identity_range6} dev {names.inner_side} proto kernel"
        f" mtu lock {USUAL_MTU}\n"
        f"addr replace {inner}/127 dev {names.inner_uplink} nodad\n"
        f"route replace default via {outer} dev {names.inner_uplink}\n"
    )
    await host.run_ip(
        f"addr replace {outer}/127 dev {names.uplink} nodad\n"
        + (
            f"route replace {names.identity_range6} via {inner} dev {names.uplink}"
            f" src {outer} mtu {USUAL_MTU}\n"
            if names.host_to_guest
            else ""
        )
    )


def _set(system: System, interface: str, addresses: str) -> None:
    here = f"net/ipv6/conf/{interface}"
    for key, value in (*_SETTINGS, ("addr_gen_mode", addresses), ("disable_ipv6", "0")):
        system.write_sysctl(f"{here}/{key}", value)
    # Since Linux 6.17 an interface may forward alone. What other machines reply still
    # needs net.ipv6.conf.all.forwarding of the host, which the operator has to set.
    if system.has_sysctl(f"{here}/force_forwarding"):
        system.write_sysctl(f"{here}/force_forwarding", "1")


async def _try_rules(
    names: Names, features: Features, host: System, inside: System
) -> None:
    wanted, nothing = replace(features, ipv6=True), Services.of((), names, None)
    script = ruleset(names, nothing, (), features=wanted)
    await inside.run_nft(script, check=True)
    await host.run_nft(uplink_ruleset(names, nothing, features=wanted), check=True)


def _close(system: System, interface: str) -> None:
    try:
        system.write_sysctl(f"net/ipv6/conf/{interface}/disable_ipv6", "1")
    except KernelError:
        return  # nothing was open
