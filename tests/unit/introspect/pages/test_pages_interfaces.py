"""Promises of introspect.pages.interfaces."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

import pytest

from introspect.page import Table
from introspect.pages.interfaces import (
    MAX_SHOWN,
    PAGE_SIZE,
    Pagination,
    interfaces,
    page_request,
)
from introspect.sandesh import STYLESHEET, document
from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.refusals import Difference, Refusal, Sender
from vagent.ports.port import Port

NO_FILTERS = (
    "ip-active:,ip6-active:,ipv4:,ipv6:,l2-active:,mac:,name:,parent:,type:,uuid:,vn:"
)


def xml(page: Any) -> str:
    written = document(page.parts, is_list=page.is_list).decode()
    return written.removeprefix(STYLESHEET)


def indexes(page: Any) -> list[int]:
    return [
        row.index
        for part in page.parts
        if not isinstance(part, Pagination)
        for row in part.itf_list
    ]


def paging(page: Any) -> Any:
    return page.parts[-1].req


def key(begin: int, end: int, tail: str = NO_FILTERS) -> str:
    return f"begin:{begin},end:{end},table:db.interface.0,{tail}"


def test_one_interface_byte_for_byte(world: Any) -> None:
    """Wrapper, fields in Contrail's declaration order, and Pagination."""
    world.register(3, address6=IPv6Address("fd00::3"), display_name="a<b")
    expected = (
        '<__ItfResp_list type="slist"><ItfResp type="sandesh">'
        '<itf_list type="list" identifier="1"><list type="struct" size="1">'
        "<ItfSandeshData>"
        '<index type="i32" identifier="1">3</index>'
        '<name type="string" identifier="2">tap0003</name>'
        '<uuid type="string" identifier="3">93c2c386-6e79-485e-bfa4-000000000003'
        "</uuid>"
        '<active type="string" identifier="5">Active</active>'
        '<ipv4_active type="string" identifier="49">Active</ipv4_active>'
        '<ip6_active type="string" identifier="35">Active</ip6_active>'
        '<type type="string" identifier="8">vport</type>'
        '<vn_name type="string" identifier="10" link="VnListReq">'
        "7cb03bb6-b3f6-4a1c-9cb1-ce0b3b6b0b01</vn_name>"
        '<vm_uuid type="string" identifier="11" link="VmListReq">'
        "32d0524b-314d-4594-b3a3-607e3f2354f8</vm_uuid>"
        '<vm_name type="string" identifier="12">a&lt;b</vm_name>'
        '<ip_addr type="string" identifier="13">10.0.0.3</ip_addr>'
        '<mac_addr type="string" identifier="14">02:00:00:00:00:03</mac_addr>'
        '<mdata_ip_addr type="string" identifier="17">169.254.64.3</mdata_ip_addr>'
        '<vm_project_uuid type="string" identifier="30">'
        "01234567-89ab-cdef-0123-456789abcdef</vm_project_uuid>"
        '<admin_state type="string" identifier="31">Enabled</admin_state>'
        '<ip6_addr type="string" identifier="34">fd00::3</ip6_addr>'
        '<tx_vlan_id type="i16" identifier="37">-1</tx_vlan_id>'
        '<rx_vlan_id type="i16" identifier="38">-1</rx_vlan_id>'
        '<vmi_type type="string" identifier="43">Virtual Machine</vmi_type>'
        '<metadata_ip_active type="string" identifier="54">Active'
        "</metadata_ip_active>"
        '<vhostuser_mode type="byte" identifier="63">0</vhostuser_mode>'
        "</ItfSandeshData></list></itf_list>"
        '<more type="bool" identifier="0">true</more></ItfResp>'
        '<Pagination type="sandesh"><req type="struct" identifier="1"><PageReqData>'
        '<prev_page type="string" identifier="1" link="PageReq"></prev_page>'
        '<next_page type="string" identifier="2" link="PageReq"></next_page>'
        '<first_page type="string" identifier="3" link="PageReq">'
        f"{key(0, 99)}</first_page>"
        f'<all type="string" identifier="4" link="PageReq">{key(-1, -1)}</all>'
        '<table_size type="u32" identifier="5">1</table_size>'
        '<entries type="string" identifier="6">0-0/1</entries>'
        '</PageReqData></req><more type="bool" identifier="0">false</more>'
        "</Pagination></__ItfResp_list>"
    )
    assert xml(interfaces(world.sources(), {})) == expected


def test_what_is_not_known_or_not_up(world: Any) -> None:
    """Unknown addresses are Contrail's zeros; a state's reason is passed on."""
    world.register(2, address=None, tenant_id="", link_up=False)
    world.states[2] = "Inactive < no-dev >"
    page = interfaces(world.sources(), {})
    (row,) = page.parts[0].itf_list
    assert (row.ip_addr, row.ip6_addr) == ("0.0.0.0", "::")
    assert (row.active, row.ipv4_active) == ("Inactive < no-dev >", "Inactive")
    assert (row.admin_state, row.metadata_ip_active) == ("Disabled", "Inactive")
    assert row.vm_project_uuid == ""
    table = page.shown()[1]
    assert isinstance(table, Table)
    assert [table.rows[0][n].text for n in (1, 3)] == ["Inactive < no-dev >", "unknown"]
    assert table.rows[0][1].tone == "bad"


def test_no_match_is_still_an_answer(world: Any) -> None:
    """One empty part and Pagination, with Contrail's ` 0 / 0`."""
    written = xml(interfaces(world.sources(), {}))
    assert (
        '<itf_list type="list" identifier="1"><list type="struct" size="0">' in written
    )
    assert '<entries type="string" identifier="6"> 0 / 0</entries>' in written


@pytest.mark.parametrize(
    ("count", "entries", "following"),
    [
        (PAGE_SIZE - 1, "0-98/99", ""),
        (PAGE_SIZE, "0-99/100", ""),
        (PAGE_SIZE + 1, "0-99/101", key(100, 199)),
    ],
)
def test_pages_have_100_entries(
    many: Callable[[int], Any], count: int, entries: str, following: str
) -> None:
    """The first page ends at 100 and says whether there is a next."""
    page = interfaces(many(count).sources(), {})
    assert len(indexes(page)) == min(count, PAGE_SIZE)
    assert (entries, following) == (paging(page).entries, paging(page).next_page)
    assert paging(page).table_size == count


def test_pages_follow_each_other(many: Callable[[int], Any]) -> None:
    """Following next_page shows every interface once; prev_page leads back."""
    sources = many(250).sources()
    page = interfaces(sources, {})
    seen, keys = indexes(page), []
    while paging(page).next_page:
        keys.append(paging(page).next_page)
        page = page_request(sources, {"key": keys[-1]})
        seen += indexes(page)
    assert seen == list(range(2, 252))
    assert keys == [key(100, 199), key(200, 299)]
    assert paging(page).prev_page == key(100, 199)
    assert paging(page).entries == "200-249/250"


@pytest.mark.parametrize("tail", ["", NO_FILTERS])
def test_all_is_one_answer_in_parts_of_100(
    many: Callable[[int], Any], tail: str
) -> None:
    """begin:-1 gives everything, also after a bare trailing comma, as tools send it."""
    page = page_request(many(250).sources(), {"key": key(-1, -1, tail)})
    assert [len(part.itf_list) for part in page.parts[:-1]] == [100, 100, 50]
    assert page.is_list
    assert paging(page).entries == "0-249/250"
    assert (paging(page).prev_page, paging(page).next_page) == ("", "")


def test_people_get_a_bounded_table(many: Callable[[int], Any]) -> None:
    """The HTML table of everything ends at MAX_SHOWN rows; tools get all."""
    page = page_request(many(MAX_SHOWN + 1).sources(), {"key": key(-1, -1)})
    table = page.shown()[1]
    assert isinstance(table, Table)
    assert len(table.rows) == MAX_SHOWN
    assert len(indexes(page)) == MAX_SHOWN + 1


def test_a_page_beyond_the_end_is_empty(many: Callable[[int], Any]) -> None:
    """Interfaces may vanish between two pages."""
    page = page_request(many(3).sources(), {"key": key(100, 199)})
    assert indexes(page) == []
    assert paging(page).entries == " 0 / 0"
    assert paging(page).next_page == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "tap0003"}, [3]),
        ({"name": "tap"}, [2, 3, 4]),
        ({"uuid": "0000004"}, [4]),
        ({"mac": "00:02"}, [2]),
        ({"ipv4_address": "10.0.0.3"}, [3]),
        ({"ipv6_address": "fd00"}, [4]),
        ({"vn": "7cb0"}, [2, 3, 4]),
        ({"type": "vport"}, [2, 3, 4]),
        ({"l2_active": "no-dev"}, [2]),
        ({"ip_active": "no-dev"}, [2]),
        ({"ip6_active": "Active"}, [4]),
        ({"parent_uuid": "x"}, []),
        ({"name": "tap0003", "mac": "00:02"}, []),
        ({"name": ""}, [2, 3, 4]),
    ],
)
def test_filters(world: Any, arguments: dict[str, str], expected: list[int]) -> None:
    """Every filter is a substring match; all of them must match."""
    for index in (4, 2, 3):
        v6 = IPv6Address("fd00::4") if index == 4 else None
        world.register(index, address6=v6)
    world.states[2] = "Inactive < no-dev >"
    assert indexes(interfaces(world.sources(), arguments)) == expected


def test_filters_survive_paging(many: Callable[[int], Any]) -> None:
    """Page 2 of a filtered result is filtered too, which Contrail forgets."""
    world = many(300)
    for index in range(400, 520):
        world.register(index, tap=f"veth{index}")
    sources = world.sources()
    first = interfaces(sources, {"name": "veth"})
    second = page_request(sources, {"key": paging(first).next_page})
    assert indexes(second) == list(range(500, 520))
    assert paging(second).entries == "100-119/120"
    everything = page_request(sources, {"key": paging(first).all})
    assert len(indexes(everything)) == 120


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("", "Invalid request"),
        ("junk", "Invalid request"),
        ("begin:0,end:9", "Invalid request"),
        ("begin:x,end:9,table:db.interface.0", "Invalid request"),
        ("begin:-2,end:9,table:db.interface.0", "Invalid request"),
        ("begin:0,end:9,table:db.vn.0", "Invalid DBTable"),
    ],
)
def test_bad_keys_are_refused(world: Any, asked: str, text: str) -> None:
    """A key that is none gives Contrail's ErrorResp."""
    written = xml(page_request(world.sources(), {"key": asked}))
    expected = (
        f'<ErrorResp type="sandesh"><resp type="string" identifier="1">{text}</resp>'
        '<more type="bool" identifier="0">false</more></ErrorResp>'
    )
    assert written == expected


def refused(port: Port | None, tap: str, number: int = 9) -> Refusal:
    sender = Sender(tap, 5, False, f"02:00:00:00:00:{number:02x}", None)
    differs = (Difference.MAC,) if port else (Difference.PORT,)
    return Refusal(DropReason.SPOOFED, sender, port, differs, 1234, 7.4)


def test_what_was_refused_stands_below(world: Any) -> None:
    """For people: all of it, taps without a port included, or that of the ports that a
    filter chooses. Tools get what they got.
    """
    world.register(2)
    world.register(3)
    before = xml(interfaces(world.sources(), {}))
    two, three = (each.port for each in world.registrations)
    assert 2 == len(interfaces(world.sources(), {}).shown())
    world.refusals = (
        refused(two, two.tap),
        refused(three, three.tap),
        refused(None, "x"),
    )
    table = interfaces(world.sources(), {}).shown()[-1]
    assert isinstance(table, Table)
    sender = "02:00:00:00:00:09 VLAN 5"
    assert [
        [two.tap, "spoofed", sender, "MAC address", "web-2", "1,234", "7 s ago"],
        [three.tap, "spoofed", sender, "MAC address", "web-3", "1,234", "7 s ago"],
        ["x", "spoofed", sender, "port", "none", "1,234", "7 s ago"],
    ] == [[cell.text for cell in row] for row in table.rows]
    assert before == xml(interfaces(world.sources(), {}))
    table = interfaces(world.sources(), {"uuid": three.id}).shown()[-1]
    assert isinstance(table, Table)
    assert [three.tap] == [row[0].text for row in table.rows]
    assert "" == table.note


def test_many_refusals_are_cut(world: Any) -> None:
    """And the rest is counted."""
    world.register(2)
    port = world.registrations[0].port
    world.refusals = tuple(refused(port, port.tap, n) for n in range(PAGE_SIZE + 3))
    table = interfaces(world.sources(), {}).shown()[-1]
    assert isinstance(table, Table)
    assert (PAGE_SIZE, "3 more are not shown.") == (len(table.rows), table.note)


def test_a_learned_address_is_shown_as_such(world: Any) -> None:
    """Nobody registered it."""
    world.register(2)
    world.register(3, learn=True)
    table = interfaces(world.sources(), {}).shown()[1]
    assert isinstance(table, Table)
    assert ["10.0.0.2", "10.0.0.3 (learned)"] == [row[3].text for row in table.rows]
