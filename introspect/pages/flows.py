"""Flows of guests for people and for vagentctl, page by page in order of their keys.

Each page is a fresh reading of the kernel. It goes on after the key with which the one
before it ended, so no flow is shown twice, whatever came or went in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from introspect.page import Cell, Column, Page, Table, link
from introspect.schema import attribute
from introspect.sources import Sources
from vagent.datapath.flows.flow import Flow, FlowList, Key, after
from vagent.errors import KernelError, LimitError
from vagent.kernel.conntrack import Traffic
from vagent.ports.port import Registration

PAGE_SIZE = 1_000
"""Flows of one page for tools: as XML they take the reactor about 30 ms."""
ROWS = 200
"""Flows of one page for people: as HTML they take about 40 ms."""
START = "0-0-0-0-0-0.0.0.0-0.0.0.0"
"""Contrail's key of the first page: partition, nh, source port, destination port,
protocol, source, destination."""
PROTOCOLS = {6: "tcp", 17: "udp"}
UNCOUNTED = (
    "The kernel tells bytes, packets and ages of flows that begin while "
    "net.netfilter.nf_conntrack_acct and net.netfilter.nf_conntrack_timestamp are 1."
)


@dataclass(frozen=True, slots=True)
class FlowData:
    """One flow. What the kernel does not tell is left out."""

    port_id: str = attribute("string", 1)
    guest: str = attribute("string", 2)
    guest_address: str = attribute("string", 3)
    identity: str = attribute("string", 4)
    source_port: int = attribute("i32", 5)
    protocol: str = attribute("string", 6)
    service: str = attribute("string", 7)
    service_address: str = attribute("string", 8)
    service_port: int = attribute("i32", 9)
    endpoint_address: str = attribute("string", 10)
    endpoint_port: int = attribute("i32", 11)
    state: str = attribute("string", 12)
    timeout: int = attribute("u32", 13)
    age: int | None = attribute("u32", 14)
    sent_bytes: int | None = attribute("u64", 15)
    sent_packets: int | None = attribute("u64", 16)
    received_bytes: int | None = attribute("u64", 17)
    received_packets: int | None = attribute("u64", 18)
    fast_path: bool = attribute("bool", 19)


@dataclass(frozen=True, slots=True)
class FlowListResp:
    """Some flows. `next_key` is "" on the last page; `cut` when the kernel has more
    flows than one reading takes.
    """

    flow_list: tuple[FlowData, ...] = attribute("list", 1, item="struct")
    next_key: str = attribute("string", 2)
    cut: bool = attribute("bool", 3)


@dataclass(frozen=True, slots=True)
class FlowErrorResp:
    """Why there is no answer (Contrail's `FlowErrorResp`)."""

    resp: str = attribute("string", 1, title="Error")


async def flow_list(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The flows of every guest, or of one port, after a key."""
    port_id = arguments.get("port", "")
    registration = registered(sources, port_id) if port_id else None
    if port_id and registration is None:
        return refused(f"port {port_id[:64]} is not registered")
    key = key_of(arguments.get("flow_key", START))
    if key is None:
        return refused("the key of the page is not valid")
    read = await reading(sources, registration)
    if isinstance(read, Page):
        return read
    flows, more = cut_out(read, key, PAGE_SIZE)
    next_key = key_text(flows[-1]) if more else ""
    response = FlowListResp(tuple(map(_data, flows)), next_key, read.is_cut)
    return shown(read, flows, (response,), port_id=port_id, more=more)


def registered(sources: Sources, port_id: str) -> Registration | None:
    """The registration of a port."""
    wanted = port_id.lower()
    return next((r for r in sources.registrations() if r.port.id == wanted), None)


async def reading(
    sources: Sources, registration: Registration | None
) -> FlowList | Page:
    """The flows that the kernel has, or a page that says why they are not known."""
    try:
        return await sources.flows(registration)
    except (KernelError, LimitError) as error:
        return refused(str(error))


def refused(text: str) -> Page:
    """The page that says why there are no flows."""
    return Page("No flows", "The flows cannot be shown.", (FlowErrorResp(text),))


def cut_out(read: FlowList, key: Key, size: int) -> tuple[Sequence[Flow], bool]:
    """At most `size` flows after the key, and whether there are more."""
    rest = after(read.flows, key)
    return rest[:size], len(rest) > size


def key_of(text: str) -> Key | None:
    """A page's key; None if it is none."""
    parts = text.split("-")
    numbers = [int(each) for each in parts[:5] if each.isdecimal() and len(each) < 10]
    if len(parts) != 7 or len(numbers) != 5:
        return None
    try:
        address = ip_address(parts[6])
    except ValueError:
        return None
    _partition, index, source_port, port, protocol = numbers
    version = address.version if int(address) else 0
    return index, source_port, port, protocol, version, int(address)


def key_text(flow: Flow) -> str:
    """The key of a page that goes on after this flow."""
    return (
        f"0-{flow.index}-{flow.source_port}-{flow.port}-{flow.protocol}"
        f"-{flow.source}-{flow.address}"
    )


def shown(
    read: FlowList,
    flows: Sequence[Flow],
    parts: tuple[object, ...],
    *,
    port_id: str = "",
    more: bool = False,
) -> Page:
    """A page of flows: `parts` for tools, and a table for people. Its link to the next
    page goes on after the last row.
    """
    many = "more than " if read.is_cut else ""
    seen = flows[:ROWS]
    about = f"{len(seen):,} of {many}{len(read.flows):,} flows are shown."
    if read.is_cut:
        about += " Choose a port to see all of one guest's."
    rows = tuple(map(_row, seen))
    note = UNCOUNTED if any(_is_uncounted(flow) for flow in seen) else ""
    blocks = [Table("", COLUMNS, rows, "No guest has a flow now.", note)]
    if more or len(seen) < len(flows):
        chosen = {"port": port_id} if port_id else {}
        way = link("FlowListReq", **chosen, flow_key=key_text(seen[-1]))
        blocks.append(Table("", (Column("Page"),), ((Cell("Next", way),),)))
    return Page("Flows", about, parts, tuple(blocks))


def _data(flow: Flow) -> FlowData:
    port = None if flow.registration is None else flow.registration.port
    sent, received = flow.sent, flow.received
    return FlowData(
        port_id="" if port is None else port.id,
        guest="" if port is None else port.display_name,
        guest_address=str(flow.source),
        identity=str(flow.identity),
        source_port=flow.source_port,
        protocol=_protocol(flow),
        service=flow.service,
        service_address=str(flow.address),
        service_port=flow.port,
        endpoint_address=str(flow.endpoint),
        endpoint_port=flow.endpoint_port,
        state=flow.state,
        timeout=flow.timeout,
        age=flow.age,
        sent_bytes=None if sent is None else sent.bytes,
        sent_packets=None if sent is None else sent.packets,
        received_bytes=None if received is None else received.bytes,
        received_packets=None if received is None else received.packets,
        fast_path=flow.is_on_fast_path,
    )


COLUMNS = (
    Column("Guest"),
    Column("From"),
    Column("Service"),
    Column("To"),
    Column("Endpoint"),
    Column("State"),
    Column("Sent", is_number=True),
    Column("Received", is_number=True),
    Column("Age", is_number=True),
    Column("Ends in", is_number=True),
)


def _row(flow: Flow) -> tuple[Cell, ...]:
    endpoint = where(flow.endpoint, flow.endpoint_port)
    return (
        _guest(flow),
        Cell(where(flow.source, flow.source_port), tone="whole"),
        Cell(flow.service or "not provisioned", tone="" if flow.service else "bad"),
        Cell(f"{where(flow.address, flow.port)} {_protocol(flow)}", tone="whole"),
        Cell(f"{endpoint} (this agent)" if flow.is_local else endpoint, tone="whole"),
        Cell(_state(flow), tone="bad" if flow.state in HALF_OPEN else ""),
        Cell(_traffic(flow.sent)),
        Cell(_traffic(flow.received)),
        Cell("-" if flow.age is None else f"{flow.age:,} s"),
        Cell(f"{flow.timeout:,} s"),
    )


HALF_OPEN = ("SYN_SENT", "UNREPLIED")
"""States in which the endpoint has not said anything."""


def _state(flow: Flow) -> str:
    return f"{flow.state}, fast path" if flow.is_on_fast_path else flow.state


def _guest(flow: Flow) -> Cell:
    if flow.registration is None:
        return Cell("port removed", tone="bad")
    port = flow.registration.port
    return Cell(port.display_name or port.tap, link("FlowListReq", port=port.id))


def _protocol(flow: Flow) -> str:
    return PROTOCOLS.get(flow.protocol, str(flow.protocol))


def _traffic(traffic: Traffic | None) -> str:
    return "-" if traffic is None else f"{traffic.bytes:,} B in {traffic.packets:,}"


def _is_uncounted(flow: Flow) -> bool:
    return flow.sent is None or flow.age is None


def where(address: object, port: int) -> str:
    """An address and a port as people write them."""
    text = str(address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
