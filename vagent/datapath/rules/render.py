"""The wanted state as nftables text: each function gives one transaction. Pure.

What the chains do, in the order in which a packet meets them:

    tap ingress      in_<ifindex> -> from_vm: service address? the source becomes the
                     identity and the frame goes to the guest side of the veth pair;
                     ARP for a service address becomes its own reply; so does IPv6,
                     where a neighbour solicitation goes up like any packet
    host side        guard: identities come from the host side only
                     open: a guest that opens flows too fast, over both families
                     and all its addresses together, is refused without the agent
                     trap: the packet that opens a flow goes to the queue
                     refuse: what is refused is reset
                     to_endpoint: NAT by the mark that the agent set
                     contain: nothing that was not translated goes any further
    guest side       to_vm: an identity becomes the guest's address, MAC and tap again

The netdev table has the addresses of services, not their ports: every packet to such an
address goes up. So what is not provisioned is refused at once, and nothing leaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from vagent.datapath.names import FROM_TAPS, PORT_OF, SERVICE_MAC, Names, tap_chain
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.host_tables import (
    family4,
    family6,
    host_table,
    opening_family,
    opening_table,
)
from vagent.datapath.rules.stacked_tags import WORDS, WORDS6
from vagent.datapath.rules.tap_table import NETDEV_PRIORITY, netdev_table
from vagent.datapath.state import (
    INDEX_BITS,
    Address,
    Attachment,
    NatEndpoint,
    Services,
    Tag,
)
from vagent.ports.identity import link_local_word

_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))


def ruleset(
    names: Names,
    services: Services,
    attachments: Iterable[Attachment],
    *,
    host_mac: str,
    features: Features,
) -> str:
    """Replace everything that is ours by the given state, in one transaction.

    `host_mac` is that of the host's side of the veth pair. The rules that nft cannot
    write, of `netlink_rules`, are to follow. Where the host has no IPv6, services and
    attachments must have none.
    """
    nft_queue, ipv6 = features.nft_queue, features.ipv6
    parts = [
        removal(names, features).rstrip(),
        netdev_table(names, host_mac, features=features),
        *(
            host_table(
                names, family, nft_queue=nft_queue, ct_timeout=features.ct_timeout
            )
            for family in (family4(names), *([family6(names)] if ipv6 else ()))
        ),
        opening_table(names, ipv6=ipv6),
        *_add_addresses(names, services.addresses),
        *_add_endpoints(names, services.endpoints),
        *_attach(names, attachments, ipv6=ipv6),
    ]
    return "\n".join(parts) + "\n"


def removal(names: Names, features: Features) -> str:
    """Delete all our tables, whether or not they are there."""
    return "".join(
        f"table {family} {names.table}\ndelete table {family} {names.table}\n"
        for family in ("netdev", "ip", *["ip6", "inet"] * features.ip6_tables)
    )


def change_of_services(names: Names, old: Services, new: Services) -> str:
    """Go from one set of services to another. What is in both is not touched; "" where
    nothing changes.
    """
    table = names.table
    parts = [
        f"delete element {_table_of(endpoint.address)} {table} endpoints"
        f" {{ {_endpoint(endpoint)} }}"
        for endpoint in _in_order(old.endpoints - new.endpoints)
    ]
    if old.addresses != new.addresses:
        parts += [
            f"flush set netdev {table} service_addresses",
            f"flush set netdev {table} {WORDS}",
            f"flush chain netdev {table} arp_reply",
        ]
        if any(address.version == 6 for address in old.addresses | new.addresses):
            parts += [
                f"flush set netdev {table} service_addresses6",
                f"flush set netdev {table} {WORDS6}",
                f"flush chain netdev {table} neighbours",
                f"flush chain netdev {table} advertise",
            ]
        parts += _add_addresses(names, new.addresses)
    parts += _add_endpoints(names, new.endpoints - old.endpoints)
    return "\n".join(parts) + "\n" if parts else ""


def _add_addresses(names: Names, addresses: Iterable[Address]) -> list[str]:
    table = names.table
    parts: list[str] = []
    for address in sorted(addresses, key=lambda each: (each.version, int(each))):
        if isinstance(address, IPv4Address):
            parts += [
                f"add element netdev {table} service_addresses {{ {address} }}",
                f"add element netdev {table} {WORDS} {{ {int(address):#x} }}",
                f"add rule netdev {table} arp_reply {_arp_reply(address)}",
            ]
            continue
        parts += [
            f"add element netdev {table} service_addresses6 {{ {address} }}",
            f"add element netdev {table} {WORDS6} {{ {int(address):#x} }}",
        ]
        parts += [
            f"add rule netdev {table} neighbours {rule}" for rule in _about(address)
        ]
        parts.append(f"add rule netdev {table} advertise {_advertised(address)}")
    return parts


def _about(address: IPv6Address) -> tuple[str, ...]:
    """Rules for neighbour discovery about a service address: guests may ask for it, and
    not claim it.
    """
    # nft 1.0.6 has no "icmpv6 taddr". The target is at byte 8 of solicitation and
    # advertisement, the redirected address at byte 24 of a redirect.
    target, about = f"@th,64,128 {int(address):#x}", f"@th,192,128 {int(address):#x}"
    solicit = f"icmpv6 type nd-neighbor-solicit {target}"
    return (
        f"icmpv6 type nd-neighbor-advert {target} counter name claimed drop",
        f"icmpv6 type nd-redirect {about} counter name claimed drop",
        f"{solicit} ip6 saddr :: counter name claimed drop",
        # To ask again, a guest sends to the address itself, which the host does not
        # have: so it is sent on to the group, as the first solicitation was.
        f"{solicit} ip6 daddr set {solicited_node(address)} goto trap6",
    )


def _advertised(address: IPv6Address) -> str:
    """The rule by which the kernel's advertisement, sent from the listener's address,
    gets the service address as its source.
    """
    return f"@th,64,128 {int(address):#x} ip6 saddr set {address}"


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast group for solicitations of this address (RFC 4291 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE | int(address) & 0xFFFFFF)


def proxies(names: Names, services: Services) -> str:
    """iproute2 commands that make the kernel answer solicitations of IPv6 service
    addresses, as a proxy. An entry of a former service does no harm: no solicitation
    for it gets up to here any more.
    """
    return "".join(
        f"neigh replace proxy {address} dev {names.host_side}\n"
        for address in sorted(services.addresses, key=int)
        if address.version == 6
    )


def _add_endpoints(names: Names, endpoints: Iterable[NatEndpoint]) -> list[str]:
    return [
        f"add element {_table_of(endpoint.address)} {names.table} endpoints"
        f" {{ {_endpoint(endpoint)} }}"
        for endpoint in _in_order(endpoints)
    ]


def _in_order(endpoints: Iterable[NatEndpoint]) -> list[NatEndpoint]:
    return sorted(endpoints, key=lambda each: (each.number, each.address.version))


def _table_of(address: Address) -> str:
    return "ip" if address.version == 4 else "ip6"


def _endpoint(endpoint: NatEndpoint) -> str:
    mark = endpoint.number << INDEX_BITS
    return f"{mark:#x} : {endpoint.address} . {endpoint.port}"


def _arp_reply(address: IPv4Address) -> str:
    # nft 1.0.6 has no map from register to "arp saddr ip set", hence a rule each.
    return (
        f"arp daddr ip {address} arp operation set reply"
        f" ether daddr set ether saddr ether saddr set {SERVICE_MAC}"
        f" arp daddr ether set arp saddr ether arp saddr ether set {SERVICE_MAC}"
        f" arp daddr ip set arp saddr ip arp saddr ip set {address} fwd to iif"
    )


def maps_of(attachment: Attachment) -> list[str]:
    """The maps in which an attachment has an element."""
    return [name for name, _ in _elements(attachment)]


def _elements(attachment: Attachment) -> list[tuple[str, str]]:
    elements = (
        _untagged_elements(attachment)
        if attachment.tag is None
        else _tagged_elements(attachment, attachment.tag)
    )
    if attachment.port is not None:
        elements.append((PORT_OF, f"{attachment.index} : {attachment.port}"))
    return elements


def _untagged_elements(attachment: Attachment) -> list[tuple[str, str]]:
    index = attachment.index
    where = f'"{attachment.tap}" . {attachment.mac}'
    elements: list[tuple[str, str]] = []
    if attachment.address is not None:
        elements += [
            ("identity", f"{where} . {attachment.address} : {attachment.identity}"),
            ("id_mark", f"{attachment.identity} : {index}"),
            ("mark_ip", f"{index} : {attachment.address}"),
        ]
    if attachment.address6 is not None:
        elements += [
            ("identity6", f"{where} . {attachment.address6} : {attachment.identity6}"),
            ("id6_mark", f"{attachment.identity6} : {index}"),
            ("mark_ip6", f"{index} : {attachment.address6}"),
        ]
    if attachment.takes_link_local:
        word = f"{link_local_word(index):#x}"
        elements += [
            ("link_local", f"{where} : {word}"),
            ("link_local_mark", f"{word} : {index}"),
        ]
    return [
        *elements,
        ("mark_mac", f"{index} : {attachment.mac}"),
        ("mark_dev", f"{index} : {attachment.ifindex}"),
    ]


def _tagged_elements(attachment: Attachment, tag: Tag) -> list[tuple[str, str]]:
    index = attachment.index
    where = f'"{attachment.tap}" . {tag.sent} . {attachment.mac}'
    elements: list[tuple[str, str]] = []
    if attachment.address is not None:
        elements += [
            ("tagged", f"{where} . {attachment.address} : {index}"),
            ("mark_identity", f"{index} : {attachment.identity}"),
            ("id_mark", f"{attachment.identity} : {index}"),
            ("mark_ip", f"{index} : {attachment.address}"),
        ]
    if attachment.address6 is not None:
        elements += [
            ("tagged6", f"{where} . {attachment.address6} : {index}"),
            ("mark_identity6", f"{index} : {attachment.identity6}"),
            ("id6_mark", f"{attachment.identity6} : {index}"),
            ("mark_ip6", f"{index} : {attachment.address6}"),
        ]
    if attachment.takes_link_local:
        word = f"{link_local_word(index):#x}"
        elements += [
            ("tagged_link_local", f"{where} : {index}"),
            ("mark_link_local", f"{index} : {word}"),
            ("link_local_mark", f"{word} : {index}"),
        ]
    return [
        *elements,
        ("mark_mac", f"{index} : {attachment.mac}"),
        ("mark_dev", f"{index} : {tag.ifindex}"),
        ("mark_vlan", f"{index} : {tag.got}"),
        ("mark_tap", f"{index} : {attachment.ifindex}"),
    ]


def _attach(
    names: Names, attachments: Iterable[Attachment], *, ipv6: bool
) -> list[str]:
    """One statement for each map, and one chain for each tap. With a statement for each
    element nft would take twice the time.
    """
    table = names.table
    families = {PORT_OF: opening_family(ipv6=ipv6)}
    by_map: dict[str, list[str]] = {}
    taps: dict[int, str] = {}
    for attachment in attachments:
        taps[attachment.ifindex] = attachment.tap
        for name, element in _elements(attachment):
            by_map.setdefault(name, []).append(element)
    parts = [
        f"add element {families.get(name, 'netdev')} {table} {name}"
        f" {{ {', '.join(elements)} }}"
        for name, elements in by_map.items()
    ]
    for ifindex, tap in taps.items():
        chain = tap_chain(ifindex)
        parts += [
            f"add chain netdev {table} {chain} {{ type filter hook ingress"
            f' device "{tap}" priority {NETDEV_PRIORITY}; }}',
            f"add rule netdev {table} {chain} jump {FROM_TAPS}",
        ]
    return parts
