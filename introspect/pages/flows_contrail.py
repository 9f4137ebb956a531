"""The same flows as Contrail's flow requests show them: a record for each direction.

Only the fields that this agent has facts for, in Contrail's declaration order. `nh` is
the index that ItfReq shows, 1 (the agent's own) for the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from introspect.page import Page
from introspect.pages.flows import (
    START,
    FlowErrorResp,
    cut_out,
    key_of,
    key_text,
    reading,
    refused,
    shown,
)
from introspect.query import whole
from introspect.schema import attribute
from introspect.sources import Sources
from vagent.datapath.flows.flow import Flow
from vagent.kernel.conntrack import Traffic

PAGE_SIZE = 100
"""Flows, two records each, of one response."""
MAX_INFO = 2_048
"""Flows of FetchLinkLocalFlowInfo, which has no pages: one guest's `max-vm-flows`."""
AGENT_INDEX = 1
NO_RECORD = "No Flow Record for specified key "
"""Contrail's text, with its blank."""


@dataclass(frozen=True, slots=True)
class SandeshFlowData:
    """One direction of a flow."""

    flow_handle: int = attribute("i32", 16)
    nh: int = attribute("i32", 39)
    sip: str = attribute("string", 2)
    dip: str = attribute("string", 3)
    src_port: int = attribute("i32", 4)
    dst_port: int = attribute("i32", 5)
    protocol: int = attribute("u16", 6)
    direction: str = attribute("string", 11)
    stats_bytes: int | None = attribute("i64", 12)
    stats_packets: int | None = attribute("i64", 13)
    nat: str = attribute("string", 15)
    setup_time: str | None = attribute("string", 18)
    implicit_deny: str = attribute("string", 20)
    short_flow: str = attribute("string", 21)
    setup_time_utc: int | None = attribute("u64", 22)
    reverse_flow: str = attribute("string", 28)
    l3_flow: bool = attribute("bool", 57)
    vmi: str | None = attribute("string", 70)


@dataclass(frozen=True, slots=True)
class FlowRecordsResp:
    """Some records, and the key of the next page (START when this is the last)."""

    flow_list: tuple[SandeshFlowData, ...] = attribute("list", 1, item="struct")
    flow_key: str = attribute("string", 2, link="NextFlowRecordsSet")


@dataclass(frozen=True, slots=True)
class FlowRecordResp:
    """One record."""

    record: SandeshFlowData = attribute("struct", 1)  # noqa: RUF009 - is dataclasses.field


@dataclass(frozen=True, slots=True)
class LinkLocalFlowInfo:
    """One flow. `fd` is 0: the kernel holds the port of a flow, no descriptor does."""

    fd: int = attribute("u32", 1)
    flow_index: int = attribute("u32", 2)
    source_addr: str = attribute("string", 3)
    dest_addr: str = attribute("string", 4)
    protocol: int = attribute("u32", 5)
    source_port: int = attribute("u16", 6)
    dest_port: int = attribute("u16", 7)
    timestamp: str = attribute("string", 8)


@dataclass(frozen=True, slots=True)
class LinkLocalFlowInfoResp:
    """All flows, up to MAX_INFO."""

    linklocal_flow_list: tuple[LinkLocalFlowInfo, ...] = attribute(
        "list", 1, item="struct"
    )


async def all_records(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """The first page of the records."""
    return await _records(sources, START)


async def next_records(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The page after a key."""
    return await _records(sources, arguments.get("flow_key", START))


async def flow_record(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The record with these addresses, ports and protocol; without `nh`, anybody's."""
    read = await reading(sources, None)
    if isinstance(read, Page):
        return read
    for flow in read.flows:
        for record in (forward(flow), backward(flow)):
            if _matches(record, arguments):
                return shown(read, (flow,), (FlowRecordResp(record),))
    part = FlowErrorResp(NO_RECORD)
    return Page("No such flow", "No flow has this key now.", (part,))


async def flow_info(sources: Sources, _arguments: Mapping[str, str]) -> Page:
    """Every link-local flow in short."""
    read = await reading(sources, None)
    if isinstance(read, Page):
        return read
    flows = read.flows[:MAX_INFO]
    return shown(read, flows, (LinkLocalFlowInfoResp(tuple(map(_info, flows))),))


async def _records(sources: Sources, text: str) -> Page:
    key = key_of(text)
    if key is None:
        return refused("the key of the page is not valid")
    read = await reading(sources, None)
    if isinstance(read, Page):
        return read
    flows, more = cut_out(read, key, PAGE_SIZE)
    records = tuple(make(flow) for flow in flows for make in (forward, backward))
    next_key = key_text(flows[-1]) if more else ""
    part = FlowRecordsResp(records, next_key or START)
    return shown(read, flows, (part,), more=more)


def forward(flow: Flow) -> SandeshFlowData:
    """The guest's direction."""
    return SandeshFlowData(
        nh=flow.index,
        sip=str(flow.source),
        dip=str(flow.address),
        src_port=flow.source_port,
        dst_port=flow.port,
        direction="ingress",
        reverse_flow="no",
        **_both(flow, flow.sent),
    )


def backward(flow: Flow) -> SandeshFlowData:
    """The endpoint's direction, as it is before translation."""
    return SandeshFlowData(
        nh=AGENT_INDEX,
        sip=str(flow.endpoint),
        dip=str(flow.host),
        src_port=flow.endpoint_port,
        dst_port=flow.host_port,
        direction="egress",
        reverse_flow="yes",
        **_both(flow, flow.received),
    )


def _both(flow: Flow, traffic: Traffic | None) -> dict[str, Any]:
    registration = flow.registration
    return {
        "flow_handle": _signed(flow.id),
        "protocol": flow.protocol,
        "stats_bytes": None if traffic is None else traffic.bytes,
        "stats_packets": None if traffic is None else traffic.packets,
        "nat": "enabled",
        "setup_time": None if flow.start is None else setup_time(flow.start),
        "implicit_deny": "no",
        "short_flow": "no",
        "setup_time_utc": flow.start,
        "l3_flow": True,
        "vmi": None if registration is None else registration.port.id,
    }


def _info(flow: Flow) -> LinkLocalFlowInfo:
    return LinkLocalFlowInfo(
        fd=0,
        flow_index=flow.id,
        source_addr=str(flow.source),
        dest_addr=str(flow.address),
        protocol=flow.protocol,
        source_port=flow.source_port,
        dest_port=flow.port,
        timestamp="" if flow.start is None else setup_time(flow.start),
    )


def _matches(record: SandeshFlowData, arguments: Mapping[str, str]) -> bool:
    nh = whole(arguments.get("nh"))
    texts = (record.sip, record.dip)
    numbers = (record.src_port, record.dst_port, record.protocol)
    return (
        nh in (None, record.nh)
        and texts == (arguments.get("sip"), arguments.get("dip"))
        and numbers
        == tuple(
            whole(arguments.get(name)) for name in ("src_port", "dst_port", "protocol")
        )
    )


def _signed(number: int) -> int:
    """Conntrack's 32-bit number in Contrail's i32."""
    return number - (1 << 32) if number >= 1 << 31 else number


def setup_time(microseconds: int) -> str:
    """UTC as Contrail writes it (boost's simple string)."""
    seconds, rest = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    month = MONTHS[moment.month - 1]
    return f"{moment:%Y}-{month}-{moment:%d %H:%M:%S}.{rest:06}"


MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
"""English whatever the locale."""
