"""Which interfaces look like guests' and have no port. Pure.

Hosts have many interfaces: VPNs' taps, containers of the host's own. So an interface is
only told of for one of two reasons: it is a tap device with a name that libvirt or Nova
gives, or it is a port of a bridge beside a registered one, and is a tap device or leads
to another network namespace as containers' do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable

from vagent.kernel.rtnl_link import Link

NAMES = re.compile(r"vnet\d+|tap[0-9a-f]{8}-[0-9a-f]{2}")
"""libvirt counts its taps; Nova names one after its port."""


def unregistered(
    links: Iterable[Link], registered: Collection[str], own: Container[str]
) -> tuple[str, ...]:
    """Names of such interfaces that are up, sorted. `registered` are the taps of ports,
    `own` are the agent's own interfaces.
    """
    everything = tuple(links)
    known = [link for link in everything if link.name in registered]
    bridges = {link.master for link in known} - {0}
    # The VLAN of a tap may be registered in its place.
    beneath = {link.tied for link in known if not link.is_away}
    return tuple(
        sorted(
            link.name
            for link in everything
            if link.is_up
            and link.name not in registered
            and link.name not in own
            and link.ifindex not in beneath
            and _looks_like_a_guests(link, bridges)
        )
    )


def _looks_like_a_guests(link: Link, bridges: Container[int]) -> bool:
    if link.is_tap and NAMES.fullmatch(link.name):
        return True
    leads_away = link.kind == "veth" and link.is_away
    return link.master in bridges and (link.is_tap or leads_away)
