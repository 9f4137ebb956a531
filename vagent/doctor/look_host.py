"""Collects facts about the host's network from commands and files."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from pathlib import Path
from typing import Any

from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.doctor.commands import ask, there
from vagent.doctor.facts import (
    Host,
    HostInterface,
    HostRoute,
    Inside,
    Listener,
    Ours,
    Process,
    Queue,
    RouteTrial,
)
from vagent.doctor.legacy import parse_save
from vagent.doctor.rules import Ruleset, parse_devices, parse_ruleset
from vagent.doctor.sockets import (
    Bound,
    QueueLine,
    owners,
    parse_bound,
    parse_netlink,
    parse_queues,
)
from vagent.doctor.trials import try_kernel
from vagent.errors import WireError
from vagent.kernel.namespace import entered_if_named

_TIME_ERROR = 5
"""What adjtimex(2) returns for a clock that is not synchronised."""
_TIMEX_SIZE = 256
_PROC_NET = Path("/proc/thread-self/net")
_SYSCTLS = (
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
)
_OF_AN_INTERFACE = ("rp_filter", "forwarding")


def look_at_host(
    ours: Ours, fabric: Iterable[IPv4Address], fabric6: Iterable[IPv6Address]
) -> Host:
    """All facts about the host. `fabric` and `fabric6` are endpoints of services."""
    tools = {name: there(name) for name in ("nft", "ip")}
    listeners, _ = look_at_sockets(ours.queue_number, [METADATA_ADDRESS])
    inside, queue = _inside(ours)
    links = _links()
    has_uplink = any(link.name == ours.uplink for link in links)
    return Host(
        tools=tools,
        trials=tuple(try_kernel(ours.queue_number)) if tools["nft"] else (),
        ruleset=_ruleset(),
        legacy=_legacy(),
        inside=inside,
        links=links,
        routes=_routes(),
        route_trials=tuple(_way(target, ours) for target in fabric if has_uplink),
        sysctl=_sysctls(ours),
        listeners=listeners,
        queue=queue,
        synchronised=_synchronised(),
        far6=tuple(address for address in fabric6 if not _is_local(address)),
    )


def _inside(ours: Ours) -> tuple[Inside | None, Queue | None]:
    with entered_if_named(ours.namespace) as is_there:
        if not is_there:
            return None, None
        _, queue = look_at_sockets(ours.queue_number, [])
        said = ask(["nft", "-j", "list", "tables"])
        listed = json.loads(said.out)["nftables"] if said.ok else []
        tables = frozenset(
            (item["table"]["family"], item["table"]["name"])
            for item in listed
            if "table" in item
        )
        return Inside(_links(), tables), queue


def _ruleset() -> Ruleset | None:
    listed = ask(["nft", "-j", "list", "ruleset"])
    if not listed.ok:
        return None
    devices = parse_devices(ask(["nft", "list", "ruleset"]).out)
    try:
        return parse_ruleset(listed.out, devices)
    except WireError:
        return None


def _legacy() -> Ruleset | None:
    """The rules of iptables' old kernel interface, which nft does not list."""
    if not _read(_PROC_NET / "ip_tables_names").strip():
        return None
    said = ask(["iptables-legacy-save"])
    return parse_save(said.out) if said.ok else None


def _links() -> tuple[HostInterface, ...]:
    return tuple(
        HostInterface(
            raw["ifname"],
            "UP" in raw.get("flags", ()),
            tuple(
                IPv4Interface(f"{address['local']}/{address['prefixlen']}")
                for address in raw.get("addr_info", ())
                if address.get("family") == "inet"
            ),
        )
        for raw in _json(["ip", "-j", "address", "show"])
        if "ifname" in raw
    )


def _routes() -> tuple[HostRoute, ...]:
    found = []
    for raw in _json(["ip", "-j", "-4", "route", "show", "table", "all"]):
        text = str(raw.get("dst", ""))
        destination = "0.0.0.0/0" if text == "default" else text
        try:
            network = IPv4Network(destination)
        except ValueError:
            continue
        found.append(
            HostRoute(
                network,
                raw.get("dev", ""),
                str(raw.get("table", "main")),
                raw.get("type", "unicast"),
            )
        )
    return tuple(found)


def _way(target: IPv4Address, ours: Ours) -> RouteTrial:
    """Ask the kernel what it would do with a guest's packet: routing, reverse path
    filter, forwarding and policy rules answer as they would for a real one.
    """
    argv = ["ip", "-j", "route", "get", str(target), "from", str(ours.sample)]
    said = ask([*argv, "iif", ours.uplink])
    if not said.ok:
        # Since Linux 6.13 every refusal is "Invalid argument". If the host itself has
        # no route either, that is the reason.
        own = ask(["ip", "route", "get", str(target)])
        return RouteTrial(target, said=own.error or said.error or "refused")
    try:
        raw = json.loads(said.out)[0]
    except (ValueError, LookupError):
        return RouteTrial(target, said="no answer that can be read")
    device = str(raw.get("dev", ""))
    forwarding = _read(Path("/proc/sys/net/ipv4/conf", device, "forwarding")).strip()
    return RouteTrial(
        target, str(raw.get("type", "unicast")), device, "", forwarding != "0"
    )


def _is_local(address: IPv6Address) -> bool:
    (way, *_) = _json(["ip", "-j", "-6", "route", "get", str(address)]) or [{}]
    return way.get("type") == "local"


def _sysctls(ours: Ours) -> Mapping[str, str]:
    keys = [
        *_SYSCTLS,
        *(f"net/ipv4/conf/{ours.uplink}/{name}" for name in _OF_AN_INTERFACE),
    ]
    values = {key: _read(Path("/proc/sys", key)).strip() for key in keys}
    return {key: value for key, value in values.items() if value}


def look_at_sockets(
    queue_number: int, addresses: Collection[IPv4Address]
) -> tuple[tuple[Listener, ...], Queue | None]:
    """Which processes listen on these addresses, and which one has the queue."""
    waiting = [
        (bound, protocol)
        for protocol in ("tcp", "udp")
        for bound in parse_bound(_read(_PROC_NET / protocol))
        if bound.address in addresses
    ]
    queues = parse_queues(_read(_PROC_NET / "netfilter/nfnetlink_queue"))
    line = next((line for line in queues if line.number == queue_number), None)
    netlink = parse_netlink(_read(_PROC_NET / "netlink"))
    inode = netlink.get(line.port_id, 0) if line else 0
    held = owners([inode, *(bound.inode for bound, _protocol in waiting)])
    return (
        tuple(_listener(bound, protocol, held) for bound, protocol in waiting),
        _queue(line, held.get(inode)),
    )


def _listener(bound: Bound, protocol: str, held: Mapping[int, Process]) -> Listener:
    return Listener(bound.address, bound.port, protocol, held.get(bound.inode))


def _queue(line: QueueLine | None, owner: Process | None) -> Queue | None:
    if line is None:
        return None
    return Queue(line.number, line.waiting, line.dropped, owner)


def _synchronised() -> bool | None:
    """Whether the kernel's clock is synchronised. Reading that needs no privilege."""
    timex = ctypes.create_string_buffer(_TIMEX_SIZE)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    return None if state < 0 else state != _TIME_ERROR


def _json(argv: list[str]) -> list[Mapping[str, Any]]:
    said = ask(argv)
    try:
        value = json.loads(said.out) if said.ok and said.out.strip() else []
    except ValueError:
        return []
    return value if isinstance(value, list) else []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
