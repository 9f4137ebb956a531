"""Promises of introspect.pages.flows: flows for people and for vagentctl."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from introspect.page import Page, Table
from introspect.pages.flows import (
    PAGE_SIZE,
    ROWS,
    START,
    FlowErrorResp,
    FlowListResp,
    flow_list,
    key_of,
    key_text,
    where,
)
from introspect.sandesh import document
from vagent.datapath.flows.flow import Flow, FlowList
from vagent.errors import KernelError, LimitError
from vagent.kernel.conntrack import Traffic

PORT_ID = "93c2c386-6e79-485e-bfa4-000000000002"


def make_flow(
    world: Any, index: int = 2, source_port: int = 33000, **more: Any
) -> Flow:
    values: dict[str, Any] = {
        "id": 7,
        "index": index,
        "registration": next(
            (each for each in world.registrations if each.index == index), None
        ),
        "identity": IPv4Address("169.254.64.0") + index,
        "source_port": source_port,
        "protocol": 6,
        "service": "metadata",
        "address": IPv4Address("169.254.169.254"),
        "port": 80,
        "number": 1,
        "endpoint": IPv4Address("169.254.64.1"),
        "endpoint_port": 8097,
        "host": IPv4Address("169.254.64.0") + index,
        "host_port": source_port,
        "state": "ESTABLISHED",
        "timeout": 431_999,
        "sent": Traffic(5, 1_600),
        "received": Traffic(4, 900),
        "start": 1_469_000_000_123_456,
        "age": 61,
    } | more
    return Flow(**values)


def ask(world: Any, **arguments: str) -> Page:
    pages: list[Page] = []
    asked = flow_list(world.sources(), arguments)
    Deferred.fromCoroutine(asked).addCallback(pages.append)
    return pages[0]


def part(page: Page) -> FlowListResp:
    (found,) = page.parts
    assert isinstance(found, FlowListResp)
    return found


def refusal(page: Page) -> str:
    (found,) = page.parts
    assert isinstance(found, FlowErrorResp)
    return found.resp


def texts(page: Page) -> list[list[str]]:
    table = page.shown()[0]
    assert isinstance(table, Table)
    return [[cell.text for cell in row] for row in table.rows]


def test_tools_get_every_fact(world: Any) -> None:
    """Under plain names; whole document."""
    world.register(2)
    world.flows = FlowList((make_flow(world),))
    body = document(ask(world).parts).decode()
    fields = (
        f'<port_id type="string" identifier="1">{PORT_ID}</port_id>'
        '<guest type="string" identifier="2">web-2</guest>'
        '<guest_address type="string" identifier="3">10.0.0.2</guest_address>'
        '<identity type="string" identifier="4">169.254.64.2</identity>'
        '<source_port type="i32" identifier="5">33000</source_port>'
        '<protocol type="string" identifier="6">tcp</protocol>'
        '<service type="string" identifier="7">metadata</service>'
        '<service_address type="string" identifier="8">169.254.169.254'
        "</service_address>"
        '<service_port type="i32" identifier="9">80</service_port>'
        '<endpoint_address type="string" identifier="10">169.254.64.1'
        "</endpoint_address>"
        '<endpoint_port type="i32" identifier="11">8097</endpoint_port>'
        '<state type="string" identifier="12">ESTABLISHED</state>'
        '<timeout type="u32" identifier="13">431999</timeout>'
        '<age type="u32" identifier="14">61</age>'
        '<sent_bytes type="u64" identifier="15">1600</sent_bytes>'
        '<sent_packets type="u64" identifier="16">5</sent_packets>'
        '<received_bytes type="u64" identifier="17">900</received_bytes>'
        '<received_packets type="u64" identifier="18">4</received_packets>'
        '<fast_path type="bool" identifier="19">false</fast_path>'
    )
    assert f"<FlowData>{fields}</FlowData>" in body
    assert '<next_key type="string" identifier="2"></next_key>' in body
    assert '<cut type="bool" identifier="3">false</cut>' in body


def test_people_get_a_table(world: Any) -> None:
    """Guest, service, endpoint, state, bytes, age; the guest leads to its flows."""
    world.register(2)
    world.flows = FlowList((make_flow(world),))
    page = ask(world)
    assert [
        [
            *("web-2", "10.0.0.2:33000", "metadata", "169.254.169.254:80 tcp"),
            *("169.254.64.1:8097 (this agent)", "ESTABLISHED", "1,600 B in 5"),
            *("900 B in 4", "61 s", "431,999 s"),
        ]
    ] == texts(page)
    table = page.shown()[0]
    assert isinstance(table, Table)
    assert f"/Snh_FlowListReq?port={PORT_ID}" == table.rows[0][0].href
    assert "" == table.note
    assert "1 of 1 flows are shown." == page.about


def test_what_is_not_known_is_a_dash(world: Any) -> None:
    """No counters, no age, no port, no service: said, and how to turn counting on."""
    world.flows = FlowList(
        (
            make_flow(
                world,
                protocol=132,
                service="",
                sent=None,
                received=None,
                age=None,
                start=None,
                state="UNREPLIED",
            ),
        )
    )
    page = ask(world)
    (row,) = texts(page)
    assert ["port removed", "169.254.64.2:33000", "not provisioned"] == row[:3]
    assert "169.254.169.254:80 132" == row[3]
    assert ["-", "-", "-"] == row[6:9]
    table = page.shown()[0]
    assert isinstance(table, Table)
    assert "nf_conntrack_acct" in table.note
    assert b"<age" not in document(page.parts)


def test_an_endpoint_elsewhere_is_not_this_agent(world: Any) -> None:
    """Only the listener is."""
    elsewhere = make_flow(world, number=2, endpoint=IPv6Address("fd00::1"))
    world.flows = FlowList((elsewhere,))
    assert "[fd00::1]:8097" == texts(ask(world))[0][4]


def test_nothing_is_said_to_be_nothing(world: Any) -> None:
    """No flow, no fault."""
    page = ask(world)
    assert () == part(page).flow_list
    assert "0 of 0 flows are shown." == page.about


def test_one_port_is_asked_of_the_kernel(world: Any) -> None:
    """By its registration; letters' case does not matter."""
    world.register(2)
    ask(world, port=PORT_ID.upper())
    ask(world)
    assert [world.registrations[0], None] == world.asked_flows


def test_a_port_that_is_not_registered_is_refused(world: Any) -> None:
    """The kernel is not asked."""
    assert f"port {PORT_ID} is not registered" == refusal(ask(world, port=PORT_ID))
    assert [] == world.asked_flows


@pytest.mark.parametrize(
    "error", [KernelError("flow dump: EPERM"), LimitError("at most 4")]
)
def test_a_failed_reading_says_why(world: Any, error: Exception) -> None:
    """To people and tools."""
    world.flows = error
    assert str(error) == refusal(ask(world))


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_pages_have_a_size_and_a_next(world: Any, extra: int) -> None:
    """PAGE_SIZE flows, then the rest by key, each once."""
    world.register(2)
    count = PAGE_SIZE + extra
    world.flows = FlowList(tuple(make_flow(world, 2, n) for n in range(1, count + 1)))
    page = ask(world, port=PORT_ID)
    first = part(page)
    assert min(PAGE_SIZE, count) == len(first.flow_list)
    assert (extra > 0) == bool(first.next_key)
    if first.next_key:
        second = part(ask(world, port=PORT_ID, flow_key=first.next_key))
        assert [count] == [each.source_port for each in second.flow_list]
        assert "" == second.next_key


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_people_see_fewer_rows_and_a_way_on(world: Any, extra: int) -> None:
    """ROWS of them, and the next page begins after the last that was seen."""
    world.register(2)
    count = ROWS + extra
    world.flows = FlowList(tuple(make_flow(world, 2, n) for n in range(1, count + 1)))
    page = ask(world, port=PORT_ID)
    assert min(ROWS, count) == len(texts(page))
    assert f"{min(ROWS, count)} of {count} flows are shown." == page.about
    assert (2 if extra > 0 else 1) == len(page.shown())
    if extra > 0:
        way = page.shown()[1]
        assert isinstance(way, Table)
        key = f"0-2-{ROWS}-80-6-10.0.0.2-169.254.169.254"
        expected = f"/Snh_FlowListReq?port={PORT_ID}&flow_key={key}"
        assert expected == way.rows[0][0].href


def test_a_cut_reading_says_so(world: Any) -> None:
    """And what to do about it."""
    world.flows = FlowList((make_flow(world),), is_cut=True)
    page = ask(world)
    assert part(page).cut
    assert "1 of more than 1 flows" in page.about
    assert "Choose a port" in page.about


def test_keys_are_contrails(world: Any) -> None:
    """partition-nh-sport-dport-proto-sip-dip, and back."""
    world.register(2)
    flow = make_flow(world)
    text = "0-2-33000-80-6-10.0.0.2-169.254.169.254"
    assert text == key_text(flow)
    assert flow.key == key_of(text)
    assert (0, 0, 0, 0, 0, 0) == key_of(START)
    assert 6 == (key_of("0-2-1-80-6-fe80::1-fe80::a9fe:a9fe") or (0,) * 6)[4]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "0-2-33000-80-6-10.0.0.2",
        "0-2-33000-80-6-10.0.0.2-169.254.169.254-1",
        "0-2-x-80-6-10.0.0.2-169.254.169.254",
        "0-2-1234567890-80-6-10.0.0.2-169.254.169.254",
        "0-2-33000-80-6-10.0.0.2-nowhere",
    ],
)
def test_a_key_that_is_none_is_refused(world: Any, text: str) -> None:
    """Before the kernel is asked."""
    assert "the key of the page is not valid" == refusal(ask(world, flow_key=text))
    assert [] == world.asked_flows


def test_addresses_are_written_as_people_do() -> None:
    """Brackets for IPv6."""
    assert "10.0.0.1:80" == where(IPv4Address("10.0.0.1"), 80)
    assert "[fe80::1]:80" == where(IPv6Address("fe80::1"), 80)
