"""Promises of introspect.pages.flows_contrail: Contrail's requests, byte for byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from introspect.page import Page
from introspect.pages.flows import START, FlowErrorResp
from introspect.pages.flows_contrail import (
    MAX_INFO,
    PAGE_SIZE,
    all_records,
    flow_info,
    flow_record,
    next_records,
    setup_time,
)
from introspect.sandesh import STYLESHEET, document
from introspect.sources import Sources
from vagent.datapath.flows.flow import Flow, FlowList
from vagent.errors import KernelError
from vagent.kernel.conntrack import Traffic

MORE = '<more type="bool" identifier="0">false</more>'
PORT_ID = "93c2c386-6e79-485e-bfa4-000000000002"
Answer = Callable[[Sources, Mapping[str, str]], Awaitable[Page]]


def flow(world: Any, index: int = 2, source_port: int = 33000, **more: Any) -> Flow:
    values: dict[str, Any] = {
        "id": 4711,
        "index": index,
        "registration": next(
            (each for each in world.registrations if each.index == index), None
        ),
        "identity": IPv4Address("169.254.64.0") + index,
        "source_port": source_port,
        "protocol": 17,
        "service": "ntp",
        "address": IPv4Address("169.254.1.5"),
        "port": 123,
        "number": 2,
        "endpoint": IPv4Address("192.0.2.1"),
        "endpoint_port": 1123,
        "host": IPv4Address("192.0.2.9"),
        "host_port": 40000,
        "state": "REPLIED",
        "timeout": 30,
        "sent": Traffic(5, 1_600),
        "received": Traffic(4, 900),
        "start": 1_469_000_000_123_456,
        "age": 61,
    } | more
    return Flow(**values)


def ask(answer: Answer, world: Any, **arguments: str) -> Page:
    pages: list[Page] = []

    async def asked() -> Page:
        return await answer(world.sources(), arguments)

    Deferred.fromCoroutine(asked()).addCallback(pages.append)
    return pages[0]


def xml(page: Page) -> str:
    return document(page.parts, is_list=page.is_list).decode().removeprefix(STYLESHEET)


AHEAD = (
    "<SandeshFlowData>"
    '<flow_handle type="i32" identifier="16">4711</flow_handle>'
    '<nh type="i32" identifier="39">2</nh>'
    '<sip type="string" identifier="2">10.0.0.2</sip>'
    '<dip type="string" identifier="3">169.254.1.5</dip>'
    '<src_port type="i32" identifier="4">33000</src_port>'
    '<dst_port type="i32" identifier="5">123</dst_port>'
    '<protocol type="u16" identifier="6">17</protocol>'
    '<direction type="string" identifier="11">ingress</direction>'
    '<stats_bytes type="i64" identifier="12">1600</stats_bytes>'
    '<stats_packets type="i64" identifier="13">5</stats_packets>'
    '<nat type="string" identifier="15">enabled</nat>'
    '<setup_time type="string" identifier="18">2016-Jul-20 07:33:20.123456</setup_time>'
    '<implicit_deny type="string" identifier="20">no</implicit_deny>'
    '<short_flow type="string" identifier="21">no</short_flow>'
    '<setup_time_utc type="u64" identifier="22">1469000000123456</setup_time_utc>'
    '<reverse_flow type="string" identifier="28">no</reverse_flow>'
    '<l3_flow type="bool" identifier="57">true</l3_flow>'
    f'<vmi type="string" identifier="70">{PORT_ID}</vmi>'
    "</SandeshFlowData>"
)
BACK = (
    AHEAD.replace('39">2<', '39">1<')
    .replace("10.0.0.2", "192.0.2.1")
    .replace("169.254.1.5", "192.0.2.9")
    .replace(">33000<", ">1123<")
    .replace(">123<", ">40000<")
    .replace("ingress", "egress")
    .replace(">1600<", ">900<")
    .replace('13">5<', '13">4<')
    .replace('28">no<', '28">yes<')
)


def test_all_records_have_both_directions(world: Any) -> None:
    """The whole document; the key of the first page stands where no page follows."""
    world.register(2)
    world.flows = FlowList((flow(world),))
    expected = (
        '<FlowRecordsResp type="sandesh">'
        '<flow_list type="list" identifier="1"><list type="struct" size="2">'
        f"{AHEAD}{BACK}</list></flow_list>"
        f'<flow_key type="string" identifier="2" link="NextFlowRecordsSet">{START}'
        f"</flow_key>{MORE}</FlowRecordsResp>"
    )
    assert expected == xml(ask(all_records, world))


def test_no_records(world: Any) -> None:
    """An empty list is a list."""
    body = xml(ask(all_records, world))
    assert '<list type="struct" size="0"></list>' in body


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_records_come_in_pages(world: Any, extra: int) -> None:
    """PAGE_SIZE flows, and the rest by the key."""
    count = PAGE_SIZE + extra
    world.flows = FlowList(tuple(flow(world, 2, n) for n in range(1, count + 1)))
    (first,) = ask(all_records, world).parts
    assert 2 * min(PAGE_SIZE, count) == len(first.flow_list)
    assert (extra <= 0) == (first.flow_key == START)
    (second,) = ask(next_records, world, flow_key=first.flow_key).parts
    if extra > 0:
        assert [count] == [each.src_port for each in second.flow_list][:1]
    else:
        assert first == second


def test_a_page_without_a_key_is_the_first(world: Any) -> None:
    """As the request's default in Contrail's form."""
    world.flows = FlowList((flow(world),))
    assert ask(all_records, world).parts == ask(next_records, world).parts


def test_a_wrong_key_is_refused(world: Any) -> None:
    """With words."""
    (part,) = ask(next_records, world, flow_key="x").parts
    assert FlowErrorResp("the key of the page is not valid") == part


KEY = {
    "nh": "2",
    "sip": "10.0.0.2",
    "dip": "169.254.1.5",
    "src_port": "33000",
    "dst_port": "123",
    "protocol": "17",
}


def test_one_record(world: Any) -> None:
    """By its key, with or without nh; the way back has a key of its own."""
    world.register(2)
    world.flows = FlowList((flow(world),))
    shape = (
        '<FlowRecordResp type="sandesh"><record type="struct" identifier="1">{}'
        f"</record>{MORE}</FlowRecordResp>"
    )
    assert shape.format(AHEAD) == xml(ask(flow_record, world, **KEY))
    anybody = {name: value for name, value in KEY.items() if name != "nh"}
    assert shape.format(AHEAD) == xml(ask(flow_record, world, **anybody))
    back = {
        "nh": "1",
        "sip": "192.0.2.1",
        "dip": "192.0.2.9",
        "src_port": "1123",
        "dst_port": "40000",
        "protocol": "17",
    }
    assert shape.format(BACK) == xml(ask(flow_record, world, **back))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nh", "3"),
        ("sip", "10.0.0.3"),
        ("dip", "169.254.1.6"),
        ("src_port", "1"),
        ("dst_port", "1"),
        ("protocol", "6"),
        ("protocol", ""),
    ],
)
def test_a_record_that_is_not_there(world: Any, name: str, value: str) -> None:
    """Contrail's text, with its blank; every part of the key counts."""
    world.register(2)
    world.flows = FlowList((flow(world),))
    expected = (
        '<FlowErrorResp type="sandesh"><resp type="string" identifier="1">'
        f"No Flow Record for specified key </resp>{MORE}</FlowErrorResp>"
    )
    assert expected == xml(ask(flow_record, world, **KEY | {name: value}))


def test_guests_of_one_address_are_told_apart_by_nh(world: Any) -> None:
    """Same addresses, same ports, another guest."""
    world.register(2)
    world.register(3, address=IPv4Address("10.0.0.2"))
    world.flows = FlowList((flow(world, 2), flow(world, 3)))
    (part,) = ask(flow_record, world, **KEY | {"nh": "3"}).parts
    assert "93c2c386-6e79-485e-bfa4-000000000003" == part.record.vmi


def test_link_local_flow_info_is_contrails(world: Any) -> None:
    """The whole document."""
    world.register(2)
    world.flows = FlowList((flow(world, id=0xDEADBEEF),))
    expected = (
        '<LinkLocalFlowInfoResp type="sandesh">'
        '<linklocal_flow_list type="list" identifier="1"><list type="struct" size="1">'
        "<LinkLocalFlowInfo>"
        '<fd type="u32" identifier="1">0</fd>'
        '<flow_index type="u32" identifier="2">3735928559</flow_index>'
        '<source_addr type="string" identifier="3">10.0.0.2</source_addr>'
        '<dest_addr type="string" identifier="4">169.254.1.5</dest_addr>'
        '<protocol type="u32" identifier="5">17</protocol>'
        '<source_port type="u16" identifier="6">33000</source_port>'
        '<dest_port type="u16" identifier="7">123</dest_port>'
        '<timestamp type="string" identifier="8">2016-Jul-20 07:33:20.123456'
        "</timestamp></LinkLocalFlowInfo></list></linklocal_flow_list>"
        f"{MORE}</LinkLocalFlowInfoResp>"
    )
    assert expected == xml(ask(flow_info, world))


@pytest.mark.parametrize("count", [MAX_INFO - 1, MAX_INFO, MAX_INFO + 1])
def test_the_info_has_a_ceiling(world: Any, count: int) -> None:
    """Up to MAX_INFO; the page says how many there are."""
    world.flows = FlowList(tuple(flow(world, 2, n) for n in range(count)))
    page = ask(flow_info, world)
    (part,) = page.parts
    shown = min(count, MAX_INFO)
    assert shown == len(part.linklocal_flow_list)
    assert f" of {count:,} flows are shown." in page.about


def test_unknown_times_and_counters_are_left_out(world: Any) -> None:
    """Optional fields are absent; a number over 31 bits fits Contrail's i32."""
    bare = flow(world, id=0xFFFFFFFF, start=None, sent=None, received=None, age=None)
    world.flows = FlowList((bare,))
    body = xml(ask(all_records, world))
    for absent in ("setup_time", "stats_bytes", "stats_packets", "vmi"):
        assert f"<{absent}" not in body
    assert ">-1</flow_handle>" in body
    (part,) = ask(flow_info, world).parts
    assert "" == part.linklocal_flow_list[0].timestamp


@pytest.mark.parametrize("answer", [all_records, next_records, flow_record, flow_info])
def test_a_failed_reading_says_why(world: Any, answer: Answer) -> None:
    """In Contrail's error response."""
    world.flows = KernelError("flow dump: EPERM")
    (part,) = ask(answer, world).parts
    assert FlowErrorResp("flow dump: EPERM") == part


def test_times_are_contrails() -> None:
    """boost's simple string: English month, microseconds in full."""
    assert "2016-Jul-20 07:33:20.000007" == setup_time(1_469_000_000_000_007)
