"""The wanted state as nftables text: each function gives one transaction. Pure.

What the chains do, in the order in which a packet meets them, in the namespace of
guests' flows; what happens at the taps is in `vagent.datapath.tap`:

    guard: identities come from the veth pair to the taps only
    open: a guest that opens flows too fast, over both families and all its addresses
          together, is refused without the agent
    trap: the packet that opens a flow goes to the queue
    refuse: what is refused is reset
    to_endpoint: NAT by the mark that the agent set
    contain: nothing that was not translated goes any further

Every packet to a guarded address comes up to here, whatever its port. So what is not
provisioned is refused at once, and nothing leaks.
"""

from __future__ import annotations

from collections.abc import Iterable

from vagent.datapath.names import PORT_OF, Names
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.host_tables import (
    family4,
    family6,
    host_table,
    opening_family,
    opening_table,
)
from vagent.datapath.state import (
    INDEX_BITS,
    Address,
    Attachment,
    NatEndpoint,
    Services,
)


def ruleset(
    names: Names,
    services: Services,
    attachments: Iterable[Attachment],
    *,
    features: Features,
) -> str:
    """Replace everything that is ours by the given state, in one transaction.

    The rules that nft cannot write, of `netlink_rules`, are to follow. Where the host
    has no IPv6, services and attachments must have none.
    """
    nft_queue, ipv6 = features.nft_queue, features.ipv6
    parts = [
        removal(names, features).rstrip(),
        *(
            host_table(
                names, family, nft_queue=nft_queue, ct_timeout=features.ct_timeout
            )
            for family in (family4(names), *([family6(names)] if ipv6 else ()))
        ),
        opening_table(names, ipv6=ipv6),
        *_add_endpoints(names, services.endpoints),
        *_attach(names, attachments, ipv6=ipv6),
    ]
    return "\n".join(parts) + "\n"


def removal(names: Names, features: Features) -> str:
    """Delete all our tables, whether or not they are there."""
    return _removal(names, ("ip", *["ip6", "inet"] * features.ip6_tables))


def former_removal(names: Names, features: Features) -> str:
    """Delete the tables that earlier versions had in the host's own network, at the
    taps and above.
    """
    # That of the uplink has the place of one of them.
    return _removal(names, ("netdev", *["ip", "ip6"] * features.ip6_tables))


def _removal(names: Names, families: Iterable[str]) -> str:
    return "".join(
        f"table {family} {names.table}\ndelete table {family} {names.table}\n"
        for family in families
    )


def change_of_services(names: Names, old: Services, new: Services) -> str:
    """Go from the endpoints of one set of services to those of another. What is in both
    is not touched; "" where nothing changes.
    """
    parts = [
        f"delete element {_table_of(endpoint.address)} {names.table} endpoints"
        f" {{ {_endpoint(names, endpoint)} }}"
        for endpoint in _in_order(old.endpoints - new.endpoints)
    ]
    parts += _add_endpoints(names, new.endpoints - old.endpoints)
    return "\n".join(parts) + "\n" if parts else ""


def _add_endpoints(names: Names, endpoints: Iterable[NatEndpoint]) -> list[str]:
    return [
        f"add element {_table_of(endpoint.address)} {names.table} endpoints"
        f" {{ {_endpoint(names, endpoint)} }}"
        for endpoint in _in_order(endpoints)
    ]


def _in_order(endpoints: Iterable[NatEndpoint]) -> list[NatEndpoint]:
    return sorted(endpoints, key=lambda each: (each.number, each.address.version))


def _table_of(address: Address) -> str:
    return "ip" if address.version == 4 else "ip6"


def _endpoint(names: Names, endpoint: NatEndpoint) -> str:
    mark = endpoint.number << INDEX_BITS
    address, port = endpoint.seen_inside(names.uplink_address)
    return f"{mark:#x} : {address} . {port}"


def _attach(
    names: Names, attachments: Iterable[Attachment], *, ipv6: bool
) -> list[str]:
    """One statement for all: with one for each element nft takes twice the time."""
    elements = [
        f"{each.index} : {each.port}" for each in attachments if each.port is not None
    ]
    if not elements:
        return []
    family = opening_family(ipv6=ipv6)
    return [f"add element {family} {names.table} {PORT_OF} {{ {', '.join(elements)} }}"]
