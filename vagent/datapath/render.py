"""State becomes nftables statements. Pure: text in, text out, one transaction each.

What the chains do, in the order in which a packet meets them:

    tap ingress      in_<ifindex> -> from_vm: service address? the source becomes the
                     identity and the frame goes to the guest side of the veth pair;
                     ARP for a service address becomes its own reply
    host side        guard: identities come from the host side only
                     trap: the packet that opens a flow goes to the queue
                     (a guest that opens flows too fast is refused without it)
                     refuse: what is refused is reset
                     to_endpoint: NAT by the mark that the agent set
                     contain: nothing that was not translated goes any further
    guest side       to_vm: an identity becomes the guest's address, MAC and tap again

The netdev table does not know services' ports: every packet to a guarded address goes
up, so that the agent can refuse at once what is not provisioned, and nothing leaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from vagent.datapath.names import SERVICE_MAC, Names
from vagent.datapath.state import (
    ENDPOINT_MASK,
    INDEX_BITS,
    REFUSE,
    Attachment,
    Endpoint,
    Services,
)

NETDEV_PRIORITY = -300
GUARD_PRIORITY = -300
TRAP_PRIORITY = -150
REFUSE_PRIORITY = -140
NAT_PRIORITY = -100

QUEUE_CHAIN = "to_agent"
"""Chain that ends in the queue. It is closed by a drop, so that it fails closed while
its queue rule is not there yet."""


def ruleset(
    names: Names,
    services: Services,
    attachments: Iterable[Attachment],
    *,
    host_mac: str,
    nft_queue: bool,
) -> str:
    """Replace everything that is ours by the given state, in one transaction.

    `host_mac` is that of the host side of the veth pair. With `nft_queue` false the
    queue rule is left for the xt target, which nft cannot write.
    """
    parts = [
        f"table netdev {names.table}",
        f"delete table netdev {names.table}",
        f"table ip {names.table}",
        f"delete table ip {names.table}",
        _netdev_table(names, host_mac),
        _host_table(names, nft_queue=nft_queue),
        *_add_addresses(names, services.addresses),
        *_add_endpoints(names, services.endpoints),
    ]
    taps: set[int] = set()
    for attachment in attachments:
        parts += _attach(names, attachment, new_tap=attachment.ifindex not in taps)
        taps.add(attachment.ifindex)
    return "\n".join(parts) + "\n"


def removal(names: Names) -> str:
    """Take away everything that is ours, whether or not it is there."""
    return "".join(
        f"table {family} {names.table}\ndelete table {family} {names.table}\n"
        for family in ("netdev", "ip")
    )


def change_of_ports(
    names: Names,
    gone: Iterable[Attachment],
    come: Iterable[Attachment],
    kept_taps: frozenset[int],
) -> str:
    """Detach and attach ports. `kept_taps` are the ifindexes of taps with other
    attachments before and after, whose chain must not be touched.
    """
    parts: list[str] = []
    closed: set[int] = set()
    for attachment in gone:
        last = attachment.ifindex not in kept_taps | closed
        parts += _detach(names, attachment, last_on_tap=last)
        closed.add(attachment.ifindex)
    opened: set[int] = set()
    for attachment in come:
        first = attachment.ifindex not in kept_taps | opened
        parts += _attach(names, attachment, new_tap=first)
        opened.add(attachment.ifindex)
    return "\n".join(parts) + "\n"


def change_of_services(names: Names, old: Services, new: Services) -> str:
    """Go from one set of services to another; other services are left alone."""
    table = names.table
    parts = [
        f"delete element ip {table} endpoints {{ {_endpoint(endpoint)} }}"
        for endpoint in _in_order(old.endpoints - new.endpoints)
    ]
    if old.addresses != new.addresses:
        parts += [
            f"flush set netdev {table} service_addresses",
            f"flush chain netdev {table} arp_reply",
            *_add_addresses(names, new.addresses),
        ]
    parts += _add_endpoints(names, new.endpoints - old.endpoints)
    return "\n".join(parts) + "\n" if parts else ""


def _netdev_table(names: Names, host_mac: str) -> str:
    return f"""\
table netdev {names.table} {{
  counter spoofed {{ }}
  counter claimed {{ }}
  counter unknown_identity {{ }}
  set service_addresses {{ type ipv4_addr; }}
  map identity {{ typeof iifname . ether saddr . ip saddr : ip saddr; }}
  map id_mark {{ type ipv4_addr : mark; }}
  map mark_ip {{ type mark : ipv4_addr; }}
  map mark_mac {{ type mark : ether_addr; }}
  map mark_dev {{ type mark : iface_index; }}
  chain from_vm {{
    ip daddr @service_addresses goto trap
    ether type arp arp saddr ip @service_addresses counter name claimed drop
    arp operation request arp daddr ip @service_addresses goto arp_reply
  }}
  chain trap {{
    ip saddr set iifname . ether saddr . ip saddr map @identity \
ether daddr set {host_mac} fwd to "{names.guest_side}"
    counter name spoofed drop
  }}
  chain arp_reply {{ }}
  chain to_vm {{
    type filter hook ingress device "{names.guest_side}" priority {NETDEV_PRIORITY};
    meta mark set ip daddr map @id_mark
    ip daddr set meta mark map @mark_ip ether saddr set {SERVICE_MAC} \
ether daddr set meta mark map @mark_mac fwd to meta mark map @mark_dev
    counter name unknown_identity drop
  }}
}}"""


def _host_table(names: Names, *, nft_queue: bool) -> str:
    queue = f"queue num {names.queue_number}" if nft_queue else ""
    rate = names.guest_rate
    refuse = REFUSE << INDEX_BITS
    host_side = names.host_side
    identities = names.identity_range
    return f"""\
table ip {names.table} {{
  counter foreign_identity {{ }}
  counter no_agent {{ }}
  counter too_fast {{ }}
  counter refused {{ }}
  counter untracked {{ }}
  counter untranslated {{ }}
  map endpoints {{ type mark : ipv4_addr . inet_service; }}
  set opening {{ type ipv4_addr; size {1 << INDEX_BITS}; flags dynamic; timeout 1m; }}
  chain guard {{
    type filter hook prerouting priority {GUARD_PRIORITY};
    iifname "{host_side}" ip saddr {identities} accept
    iifname "{host_side}" counter name foreign_identity drop
    ip daddr {identities} counter name foreign_identity drop
    ip saddr {identities} counter name foreign_identity drop
  }}
  chain {QUEUE_CHAIN} {{
    {queue}
    counter name no_agent drop
  }}
  chain trap {{
    type filter hook prerouting priority {TRAP_PRIORITY};
    iifname != "{host_side}" accept
    ct state new add @opening {{ ip saddr limit rate over {rate}/second \
burst {rate} packets }} counter name too_fast meta mark set {refuse:#x} accept
    ct state new goto {QUEUE_CHAIN}
    ct state != {{ established, related }} counter name untracked drop
  }}
  chain send_reset {{
    counter name refused
    meta l4proto tcp reject with tcp reset
    drop
  }}
  chain refuse {{
    type filter hook prerouting priority {REFUSE_PRIORITY};
    iifname != "{host_side}" accept
    ct state new ct mark set meta mark
    meta mark & {ENDPOINT_MASK:#x} == {refuse:#x} goto send_reset
  }}
  chain to_endpoint {{
    type nat hook prerouting priority {NAT_PRIORITY};
    iifname "{host_side}" meta l4proto {{ tcp, udp }} \
dnat ip to meta mark & {ENDPOINT_MASK:#x} map @endpoints
  }}
  chain contain_input {{
    type filter hook input priority {NETDEV_PRIORITY};
    iifname != "{host_side}" accept
    ct status dnat accept
    counter name untranslated drop
  }}
  chain contain_forward {{
    type filter hook forward priority {NETDEV_PRIORITY};
    iifname != "{host_side}" accept
    ct status dnat accept
    counter name untranslated drop
  }}
  chain from_fabric {{
    type nat hook postrouting priority 100;
    ip saddr {identities} oifname != "{host_side}" masquerade
  }}
}}"""


def _add_addresses(names: Names, addresses: Iterable[IPv4Address]) -> list[str]:
    table = names.table
    parts: list[str] = []
    for address in sorted(addresses):
        parts.append(f"add element netdev {table} service_addresses {{ {address} }}")
        parts.append(f"add rule netdev {table} arp_reply {_arp_reply(address)}")
    return parts


def _add_endpoints(names: Names, endpoints: Iterable[Endpoint]) -> list[str]:
    return [
        f"add element ip {names.table} endpoints {{ {_endpoint(endpoint)} }}"
        for endpoint in _in_order(endpoints)
    ]


def _in_order(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    return sorted(endpoints, key=lambda endpoint: endpoint.number)


def _endpoint(endpoint: Endpoint) -> str:
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


def _elements(attachment: Attachment) -> tuple[tuple[str, str], ...]:
    index = attachment.index
    return (
        (
            "identity",
            f'"{attachment.tap}" . {attachment.mac} . {attachment.address}'
            f" : {attachment.identity}",
        ),
        ("id_mark", f"{attachment.identity} : {index}"),
        ("mark_ip", f"{index} : {attachment.address}"),
        ("mark_mac", f"{index} : {attachment.mac}"),
        ("mark_dev", f"{index} : {attachment.ifindex}"),
    )


def _attach(names: Names, attachment: Attachment, *, new_tap: bool) -> list[str]:
    table = names.table
    parts = [
        f"add element netdev {table} {name} {{ {element} }}"
        for name, element in _elements(attachment)
    ]
    if new_tap:
        chain = f"in_{attachment.ifindex}"
        parts += [
            f"add chain netdev {table} {chain} {{ type filter hook ingress"
            f' device "{attachment.tap}" priority {NETDEV_PRIORITY}; }}',
            f"add rule netdev {table} {chain} jump from_vm",
        ]
    return parts


def _detach(names: Names, attachment: Attachment, *, last_on_tap: bool) -> list[str]:
    table = names.table
    parts = [
        f"delete element netdev {table} {name} {{ {element} }}"
        for name, element in _elements(attachment)
    ]
    if last_on_tap:
        chain = f"in_{attachment.ifindex}"
        # Some kernels remove the chain with its device: add it first, to be sure that
        # there is one to delete.
        parts += [
            f"add chain netdev {table} {chain}",
            f"flush chain netdev {table} {chain}",
            f"delete chain netdev {table} {chain}",
        ]
    return parts
