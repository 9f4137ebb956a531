"""Guest interfaces, as Contrail's ItfReq and PageReq show them: 100 on a page.

Only the fields that this agent has facts for, in Contrail's declaration order.
Filters are substring matches. Unlike Contrail's, filters survive paging.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from introspect.page import Cell, Column, Form, FormField, Page, Table, link
from introspect.query import whole
from introspect.schema import attribute
from introspect.sources import Sources
from vagent.datapath.tap.who.refusals import Refusal
from vagent.ports.members import NIL, dashed
from vagent.ports.port import Registration

PAGE_SIZE = 100
MAX_SHOWN = 500
"""Rows of a page for people: 5,000 held the reactor for 0.8 s. Tools get all."""
TABLE = "db.interface.0"
ACTIVE = "Active"
FILTERS = {
    "name": "name",
    "type": "type",
    "uuid": "uuid",
    "vn": "vn",
    "mac": "mac",
    "ipv4_address": "ipv4",
    "ipv6_address": "ipv6",
    "parent_uuid": "parent",
    "ip_active": "ip-active",
    "ip6_active": "ip6-active",
    "l2_active": "l2-active",
}
"""ItfReq's parameters in order, and their names in a page's key."""


@dataclass(frozen=True, slots=True)
class ItfSandeshData:
    """One interface."""

    index: int = attribute("i32", 1)
    name: str = attribute("string", 2)
    uuid: str = attribute("string", 3)
    active: str = attribute("string", 5)
    ipv4_active: str = attribute("string", 49)
    ip6_active: str = attribute("string", 35)
    type: str = attribute("string", 8)
    vn_name: str = attribute("string", 10, link="VnListReq")
    vm_uuid: str = attribute("string", 11, link="VmListReq")
    vm_name: str = attribute("string", 12)
    ip_addr: str = attribute("string", 13)
    mac_addr: str = attribute("string", 14)
    mdata_ip_addr: str = attribute("string", 17)
    vm_project_uuid: str = attribute("string", 30)
    admin_state: str = attribute("string", 31)
    ip6_addr: str = attribute("string", 34)
    tx_vlan_id: int = attribute("i16", 37)
    rx_vlan_id: int = attribute("i16", 38)
    vmi_type: str = attribute("string", 43)
    metadata_ip_active: str = attribute("string", 54)
    vhostuser_mode: int = attribute("byte", 63)


@dataclass(frozen=True, slots=True)
class ItfResp:
    """Up to 100 interfaces."""

    itf_list: tuple[ItfSandeshData, ...] = attribute("list", 1, item="struct")


@dataclass(frozen=True, slots=True)
class PageReqData:
    """Keys of the pages around this one; "" where there is no such page."""

    prev_page: str = attribute("string", 1, link="PageReq")
    next_page: str = attribute("string", 2, link="PageReq")
    first_page: str = attribute("string", 3, link="PageReq")
    all: str = attribute("string", 4, link="PageReq")
    table_size: int = attribute("u32", 5)
    entries: str = attribute("string", 6)


@dataclass(frozen=True, slots=True)
class Pagination:
    """The last part of a paged response."""

    req: PageReqData = attribute("struct", 1)  # noqa: RUF009 - is dataclasses.field


@dataclass(frozen=True, slots=True)
class ErrorResp:
    """Why a page's key was refused."""

    resp: str = attribute("string", 1, title="Error")


@dataclass(frozen=True, slots=True)
class Cut:
    """Which rows: from `begin` to `end` inclusive, or all where `begin` is -1."""

    begin: int
    end: int


def interfaces(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The first page of the interfaces that match every filter."""
    filters = {key: arguments.get(name, "") for name, key in FILTERS.items()}
    return _page(sources, filters, Cut(0, PAGE_SIZE - 1))


def page_request(sources: Sources, arguments: Mapping[str, str]) -> Page:
    """The page that a key stands for: `begin:N,end:M,table:T,<filter>:<value>,…`."""
    values = dict(_pair(text) for text in arguments.get("key", "").split(",") if text)
    begin, end = whole(values.get("begin")), whole(values.get("end"))
    if begin is None or end is None or begin < -1 or "table" not in values:
        return _refused("Invalid request")
    if values["table"] != TABLE:
        return _refused("Invalid DBTable")
    filters = {key: values.get(key, "") for key in FILTERS.values()}
    return _page(sources, filters, Cut(begin, end))


def _refused(text: str) -> Page:
    return Page("No such page", "The key of the page is not valid.", (ErrorResp(text),))


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name, value


def _page(sources: Sources, filters: Mapping[str, str], cut: Cut) -> Page:
    registered = sorted(sources.registrations(), key=lambda each: each.index)
    wanted = {name: text for name, text in filters.items() if text}
    state = sources.port_state
    matching = [
        each for each in registered if not wanted or _matches(each, state, wanted)
    ]
    first = max(0, cut.begin)
    cut_out = matching[first : cut.end + 1] if cut.begin >= 0 else matching
    chosen = [_row(each, state(each)) for each in cut_out]
    lists = tuple(ItfResp(tuple(part)) for part in _parts(chosen))
    last = first + len(chosen) - 1
    data = PageReqData(
        prev_page=_key(max(0, first - PAGE_SIZE), filters) if first else "",
        next_page=_key(last + 1, filters) if last + 1 < len(matching) else "",
        first_page=_key(0, filters),
        all=_key(-1, filters),
        table_size=len(registered),
        entries=f"{first}-{last}/{len(matching)}" if chosen else " 0 / 0",
    )
    shown = min(len(chosen), MAX_SHOWN)
    about = f"{shown:,} of {len(registered):,} guest interfaces are shown."
    is_whole = len(chosen) == len(matching) <= PAGE_SIZE
    ways = () if is_whole else (_ways(data),)
    learning = {each.port.id for each in registered if each.port.learn}
    blocks = (
        _form(filters),
        _table(chosen[:MAX_SHOWN], learning),
        *ways,
        *_refused_there(sources.refusals(), None if not wanted else chosen),
    )
    return Page("Interfaces", about, (*lists, Pagination(data)), blocks, is_list=True)


def _parts(rows: list[ItfSandeshData]) -> Iterable[list[ItfSandeshData]]:
    starts = range(0, max(1, len(rows)), PAGE_SIZE)
    return (rows[start : start + PAGE_SIZE] for start in starts)


def _key(begin: int, filters: Mapping[str, str]) -> str:
    end = begin + PAGE_SIZE - 1 if begin >= 0 else -1
    tail = ",".join(f"{name}:{filters[name]}" for name in sorted(filters))
    return f"begin:{begin},end:{end},table:{TABLE},{tail}"


def _row(registration: Registration, state: str) -> ItfSandeshData:
    port = registration.port
    return ItfSandeshData(
        index=registration.index,
        name=port.tap,
        uuid=port.id,
        active=state,
        ipv4_active=state if port.address else "Inactive",
        ip6_active=state if port.address6 else "Inactive",
        type="vport",
        vn_name=port.network_id,
        vm_uuid=port.instance_id,
        vm_name=port.display_name,
        ip_addr=str(port.address or "0.0.0.0"),  # noqa: S104 - Contrail's "unknown"
        mac_addr=port.mac,
        mdata_ip_addr=str(registration.identity),
        vm_project_uuid=_dashed(port.tenant_id),
        admin_state="Enabled" if port.link_up else "Disabled",
        ip6_addr=str(port.address6 or "::"),
        tx_vlan_id=port.tx_vlan,
        rx_vlan_id=port.rx_vlan,
        vmi_type="Virtual Machine",
        metadata_ip_active=ACTIVE if state == ACTIVE else "Inactive",
        vhostuser_mode=port.vhostuser_mode,
    )


def _dashed(tenant: str) -> str:
    """As Contrail shows it; an id that is no UUID as it is."""
    found = dashed(tenant)
    return tenant if found == NIL else found


def _matches(
    registration: Registration,
    state: Callable[[Registration], str],
    wanted: Mapping[str, str],
) -> bool:
    row = _row(registration, state(registration))
    shown = {
        "name": row.name,
        "type": row.type,
        "uuid": row.uuid,
        "vn": row.vn_name,
        "mac": row.mac_addr,
        "ipv4": row.ip_addr,
        "ipv6": row.ip6_addr,
        "parent": "",
        "ip-active": row.ipv4_active,
        "ip6-active": row.ip6_active,
        "l2-active": row.active,
    }
    return all(text in shown[name] for name, text in wanted.items())


def _form(filters: Mapping[str, str]) -> Form:
    titles = {"name": "Interface", "uuid": "Port", "mac": "MAC", "ipv4_address": "IPv4"}
    entries = tuple(
        FormField(name, title, filters[FILTERS[name]]) for name, title in titles.items()
    )
    return Form("/Snh_ItfReq", "Filter", entries)


def _table(rows: list[ItfSandeshData], learning: Container[str]) -> Table:
    heads = ("Interface", "State", "Guest", "Address", "MAC", "Identity", "Instance")
    cells = tuple(
        (
            Cell(row.name, tone="whole"),
            Cell(row.active, tone="good" if row.active == ACTIVE else "bad"),
            Cell(row.vm_name),
            Cell(_addresses(row, is_learned=row.uuid in learning)),
            Cell(row.mac_addr, tone="code"),
            Cell(row.mdata_ip_addr, tone="whole"),
            Cell(row.vm_uuid, tone="code"),
        )
        for row in rows
    )
    empty = "No interface is registered here, or none matches."
    return Table("", tuple(Column(head) for head in heads), cells, empty)


def _refused_there(
    refusals: Iterable[Refusal], shown: Iterable[ItfSandeshData] | None
) -> Iterator[Table]:
    """What was refused at the taps: all of it, or of the ports that are shown."""
    chosen = None if shown is None else {row.uuid for row in shown}
    rows = [
        (
            Cell(one.sender.tap, tone="whole"),
            Cell(one.reason.word, tone="bad"),
            Cell(str(one.sender), tone="code"),
            Cell(", ".join(one.differs)),
            Cell(one.port.display_name or one.port.tap) if one.port else Cell("none"),
            Cell(f"{one.packets:,}"),
            Cell(f"{one.ago:.0f} s ago"),
        )
        for one in refusals
        if chosen is None or (one.port is not None and one.port.id in chosen)
    ]
    if rows:
        heads = ("Interface", "Reason", "From", "Not as registered", "Port")
        columns = (
            *map(Column, heads),
            Column("Packets", is_number=True),
            Column("Last"),
        )
        more = len(rows) - PAGE_SIZE
        note = f"{more:,} more are not shown." if more > 0 else ""
        yield Table("Refused at the taps", columns, tuple(rows[:PAGE_SIZE]), note=note)


def _addresses(row: ItfSandeshData, *, is_learned: bool) -> str:
    unknown = {"0.0.0.0", "::"}  # noqa: S104 - Contrail's "unknown", not a bind
    known = (text for text in (row.ip_addr, row.ip6_addr) if text not in unknown)
    text = ", ".join(known) or "unknown"
    return f"{text} (learned)" if is_learned else text


def _ways(data: PageReqData) -> Table:
    ways = (
        ("First", data.first_page),
        ("Previous", data.prev_page),
        ("Next", data.next_page),
        ("All", data.all),
    )
    cells = tuple(
        Cell(title, link("PageReq", x=key)) if key else Cell(title, tone="quiet")
        for title, key in ways
    )
    columns = (*(Column("Page") for _ in cells), Column("Entries", is_number=True))
    return Table("", columns, ((*cells, Cell(data.entries.strip())),))
