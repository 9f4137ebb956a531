"""What a flow is, and how conntrack's entries become flows: pure, on snapshots.

A flow is ours when its mark names an index and its opener is the identity of that
index; the mark, the registered ports and the provisioned services say the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import islice
from types import MappingProxyType

from vagent.datapath.state import INDEX_BITS, INDEX_MASK, LISTENER, REFUSE
from vagent.kernel.conntrack import (
    ASSURED,
    SEEN_REPLY,
    Address,
    Tracked,
    Traffic,
    Tuple,
)
from vagent.kernel.ip_packet import TCP
from vagent.linklocal.service import METADATA, LinkLocalService
from vagent.linklocal.table import ServiceTable
from vagent.ports.identity import index_of
from vagent.ports.port import Registration

MAX_FLOWS = 16_384
"""Flows of one reading: what `max-system-flows` is by default; about 14 MiB while they
are held. One port's flows fit eight times over (`max-vm-flows` is 2,048)."""

TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"),
    *("LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
"""By conntrack's number (linux/netfilter/nf_conntrack_tcp.h)."""

_ENDED = {TCP_STATES.index("TIME_WAIT"), TCP_STATES.index("CLOSE")}
"""The kernel remembers these for up to two minutes; they are nobody's load."""

Key = tuple[int, int, int, int, int, int]
FlowId = tuple[int, Tuple]
"""Conntrack's id and opening tuple: one alone may be used again."""


@dataclass(frozen=True, slots=True)
class FastPathTraffic:
    """What of a flow went by the fast path, which conntrack did not see; `is_on_it`:
    it is there now.
    """

    sent: Traffic
    received: Traffic
    is_on_it: bool


_NONE = FastPathTraffic(Traffic(0, 0), Traffic(0, 0), is_on_it=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow of a guest to a service.

    `registration` is None where the port has gone and its flows are about to; `service`
    is "" where none is provisioned there any more. `number` is the endpoint's (1 is
    the local metadata listener); `host` and `host_port` are what the endpoint sees.
    `state` is TCP's, or UNREPLIED, REPLIED, ASSURED. `timeout` and `age` are seconds,
    `start` microseconds since the epoch; `Tracked` says what the kernel may not tell.
    """

    id: int
    index: int
    registration: Registration | None
    identity: Address
    source_port: int
    protocol: int
    service: str
    address: Address
    port: int
    number: int
    endpoint: Address
    endpoint_port: int
    host: Address
    host_port: int
    state: str
    timeout: int
    sent: Traffic | None
    received: Traffic | None
    start: int | None
    age: int | None
    is_on_fast_path: bool = False

    @property
    def is_local(self) -> bool:
        """Does it end at the local metadata listener?"""
        return self.number == LISTENER

    @property
    def source(self) -> Address:
        """The guest's own address, or its identity where that is not known."""
        if self.registration is None:
            return self.identity
        return self.registration.address_behind(str(self.identity)) or self.identity

    @property
    def key(self) -> Key:
        """Order of flows, different for any two: index, source port, port, protocol,
        IP version, service address.
        """
        return (
            self.index,
            self.source_port,
            self.port,
            self.protocol,
            self.address.version,
            int(self.address),
        )


@dataclass(frozen=True, slots=True)
class FlowList:
    """Flows in order of their keys; `is_cut` when there were more than MAX_FLOWS."""

    flows: tuple[Flow, ...] = ()
    is_cut: bool = False


def lives(tracked: Tracked) -> bool:
    """Is it more than the memory of a connection that has ended?"""
    return tracked.tcp_state not in _ENDED


def of_guests(tracked: Iterable[Tracked], network: IPv4Network) -> Iterator[Tracked]:
    """Those that an identity opened and the agent marked: others use marks too."""
    start = int(network.network_address)
    for each in tracked:
        source = each.original.source
        index, number = each.mark & INDEX_MASK, each.mark >> INDEX_BITS
        is_marked = index and number not in (0, REFUSE)
        if is_marked and index_of(int(source), source.version, start) == index:
            yield each


def of_port(tracked: Iterable[Tracked], indexes: Collection[int]) -> Iterator[Tracked]:
    """Those that one port opened, from any of its addresses."""
    return (each for each in tracked if each.mark & INDEX_MASK in indexes)


def told(
    tracked: Iterable[Tracked],
    guests: Mapping[int, Registration],
    services: ServiceTable,
    now: float,
    carried: Mapping[FlowId, FastPathTraffic] = MappingProxyType({}),
) -> FlowList:
    """What they are: at most MAX_FLOWS, in order."""
    coming = iter(tracked)
    flows = [
        _flow(each, guests, services, now, carried.get((each.id, each.original), _NONE))
        for each in islice(coming, MAX_FLOWS)
    ]
    flows.sort(key=lambda flow: flow.key)
    return FlowList(tuple(flows), is_cut=next(coming, None) is not None)


def _flow(
    tracked: Tracked,
    guests: Mapping[int, Registration],
    services: ServiceTable,
    now: float,
    carried: FastPathTraffic,
) -> Flow:
    original, reply = tracked.original, tracked.reply
    index = tracked.mark & INDEX_MASK
    service = services.at(original.destination, original.destination_port)
    start = tracked.start
    return Flow(
        id=tracked.id,
        index=index,
        registration=guests.get(index),
        identity=original.source,
        source_port=original.source_port,
        protocol=original.protocol,
        service=_name(service, tracked),
        address=original.destination,
        port=original.destination_port,
        number=tracked.mark >> INDEX_BITS,
        endpoint=reply.source,
        endpoint_port=reply.source_port,
        host=reply.destination,
        host_port=reply.destination_port,
        state=_state(tracked),
        timeout=tracked.timeout,
        sent=_sum(tracked.sent, carried.sent),
        received=_sum(tracked.received, carried.received),
        start=None if start is None else start // 1000,
        age=None if start is None else max(0, int(now - start / 1e9)),
        is_on_fast_path=carried.is_on_it,
    )


def _sum(seen: Traffic | None, carried: Traffic) -> Traffic | None:
    """None where the kernel does not count: half of it would mislead."""
    if seen is None:
        return None
    return Traffic(seen.packets + carried.packets, seen.bytes + carried.bytes)


def _name(service: LinkLocalService | None, tracked: Tracked) -> str:
    """Metadata is served at IPv6 addresses that nobody provisioned, too."""
    if service is not None:
        return service.name
    is_implied = tracked.original.destination.version == 6
    return METADATA if is_implied and tracked.mark >> INDEX_BITS == LISTENER else ""


def _state(tracked: Tracked) -> str:
    state = tracked.tcp_state
    if tracked.original.protocol == TCP and state is not None:
        return TCP_STATES[state] if state < len(TCP_STATES) else f"TCP {state}"
    if not tracked.status & SEEN_REPLY:
        return "UNREPLIED"
    return "ASSURED" if tracked.status & ASSURED else "REPLIED"


def after(flows: Sequence[Flow], key: Key) -> Sequence[Flow]:
    """Those that come after a key: the next page, whatever came or went since."""
    return [flow for flow in flows if flow.key > key]
