"""Conntrack's entries become flows of guests: pure.

An entry is a guest's flow when its mark has an index and the identity address with that
index opened it. The rest follows from the mark, the registered ports and the services.
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
"""Flows in one list, as many as `max-system-flows` is by default: some 14 MiB. One port
may have an eighth of that (`max-vm-flows` is 2,048)."""

TCP_STATES = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"),
    *("LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
"""In the order of conntrack's numbers (linux/netfilter/nf_conntrack_tcp.h)."""

_ENDED = {TCP_STATES.index("TIME_WAIT"), TCP_STATES.index("CLOSE")}
"""States of connections that have ended, which the kernel remembers for a while. They
do not count for a guest's ceiling."""

Place = tuple[Address, int]
"""An address and a port."""
Key = tuple[int, int, int, int, int, int]
FlowId = tuple[int, Tuple]
"""Conntrack's id and the opening tuple: each alone may be another flow's later."""


@dataclass(frozen=True, slots=True)
class FastPathTraffic:
    """What a flow has carried on the fast path, where conntrack did not see it;
    `is_on_it` says whether it is there now.
    """

    sent: Traffic
    received: Traffic
    is_on_it: bool


_NONE = FastPathTraffic(Traffic(0, 0), Traffic(0, 0), is_on_it=False)


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow of a guest to a service.

    `registration` is None where the port has gone and its flows are about to be ended;
    `service` is "" where none is provisioned there any more. `number` is that of the
    endpoint (1 is the local metadata listener). `host` and `host_port` are the source
    that the endpoint sees. `state` is TCP's, or UNREPLIED, REPLIED, ASSURED. `timeout`
    and `age` are in seconds, `start` in microseconds since the epoch. What is None is
    not known to the kernel (`Tracked` says when).
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
        """Sort key, different for any two flows: index, source port, port, protocol, IP
        version, service address.
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
    """Flows in the order of their keys. `is_cut`: there are more than MAX_FLOWS."""

    flows: tuple[Flow, ...] = ()
    is_cut: bool = False


def lives(tracked: Tracked) -> bool:
    """Is this flow more than what the kernel remembers of an ended connection?"""
    return tracked.tcp_state not in _ENDED


def of_guests(tracked: Iterable[Tracked], network: IPv4Network) -> Iterator[Tracked]:
    """The flows of guests: those that an identity opened, with the mark of the agent.
    Other programs use marks, too.
    """
    start = int(network.network_address)
    for each in tracked:
        source = each.original.source
        index, number = each.mark & INDEX_MASK, each.mark >> INDEX_BITS
        is_marked = index and number not in (0, REFUSE)
        if is_marked and index_of(int(source), source.version, start) == index:
            yield each


def of_port(tracked: Iterable[Tracked], indexes: Collection[int]) -> Iterator[Tracked]:
    """The flows with any of these indexes, which are one port's."""
    return (each for each in tracked if each.mark & INDEX_MASK in indexes)


def flow_list(
    tracked: Iterable[Tracked],
    guests: Mapping[int, Registration],
    services: ServiceTable,
    now: float,
    fast_path: Mapping[FlowId, FastPathTraffic] = MappingProxyType({}),
    near: Mapping[Place, Place] = MappingProxyType({}),
) -> FlowList:
    """Tracked flows of guests as a list, at most MAX_FLOWS. `now` is in seconds since
    the epoch. `near` leads from where the namespace sends flows to services of this
    host to where these are.
    """
    coming = iter(tracked)
    flows = [
        _flow(
            each,
            guests,
            services,
            now,
            fast_path.get((each.id, each.original), _NONE),
            near,
        )
        for each in islice(coming, MAX_FLOWS)
    ]
    flows.sort(key=lambda flow: flow.key)
    return FlowList(tuple(flows), is_cut=next(coming, None) is not None)


def _flow(
    tracked: Tracked,
    guests: Mapping[int, Registration],
    services: ServiceTable,
    now: float,
    fast_path: FastPathTraffic,
    near: Mapping[Place, Place],
) -> Flow:
    original, reply = tracked.original, tracked.reply
    index = tracked.mark & INDEX_MASK
    service = services.at(original.destination, original.destination_port)
    start = tracked.start
    sent_to = reply.source, reply.source_port
    endpoint, endpoint_port = near.get(sent_to, sent_to)
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
        endpoint=endpoint,
        endpoint_port=endpoint_port,
        host=reply.destination,
        host_port=reply.destination_port,
        state=_state(tracked),
        timeout=tracked.timeout,
        sent=_sum(tracked.sent, fast_path.sent),
        received=_sum(tracked.received, fast_path.received),
        start=None if start is None else start // 1000,
        age=None if start is None else max(0, int(now - start / 1e9)),
        is_on_fast_path=fast_path.is_on_it,
    )


def _sum(seen: Traffic | None, carried: Traffic) -> Traffic | None:
    """All traffic of one direction; None where the kernel does not count: a part of it
    would mislead.
    """
    if seen is None:
        return None
    return Traffic(seen.packets + carried.packets, seen.bytes + carried.bytes)


def _name(service: LinkLocalService | None, tracked: Tracked) -> str:
    """The name of the service. Metadata has IPv6 addresses that nobody provisioned."""
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
    """The flows behind a key: the next page of a list, whatever came or went since."""
    return [flow for flow in flows if flow.key > key]
