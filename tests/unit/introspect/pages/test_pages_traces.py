"""Promises of introspect.pages.traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from introspect.page import Cell, Table
from introspect.pages.traces import buffer_list, trace, utc
from introspect.sandesh import STYLESHEET, document
from introspect.trace_line import trace_line
from vagent.observe.event import Event


def xml(page: Any) -> str:
    return document(page.parts).decode().removeprefix(STYLESHEET)


def test_the_buffer_list_is_contrails(world: Any) -> None:
    """All buffers by name, byte for byte."""
    world.trace("x", buffer="Metadata")
    world.traces.ring("Dhcp")
    one = (
        "<SandeshTraceBufInfo>"
        '<trace_buf_name type="string" identifier="1" link="SandeshTraceRequest">{}'
        "</trace_buf_name></SandeshTraceBufInfo>"
    )
    expected = (
        '<SandeshTraceBufferListResponse type="sandesh">'
        '<trace_buffer_list type="list" identifier="1"><list type="struct" size="2">'
        + one.format("Dhcp")
        + one.format("Metadata")
        + "</list></trace_buffer_list>"
        '<more type="bool" identifier="0">false</more>'
        "</SandeshTraceBufferListResponse>"
    )
    assert xml(buffer_list(world.sources(), {})) == expected


def test_the_buffer_list_shows_people_what_is_in_it(world: Any) -> None:
    """Number of entries and the latest one stand beside each name."""
    world.trace("first", time=1.0)
    world.trace("second", time=2.0)
    world.traces.ring("Dhcp")
    (table,) = buffer_list(world.sources(), {}).shown()
    assert isinstance(table, Table)
    dhcp, metadata = [[cell.text for cell in row] for row in table.rows]
    assert dhcp == ["Dhcp", "0", "nothing yet"]
    assert metadata == ["Metadata", "2", "1970-01-01 00:00:02.000  second"]
    assert table.rows[1][0].href == "/Snh_SandeshTraceRequest?x=Metadata"


def test_a_trace_is_contrails(world: Any) -> None:
    """The lines of the buffer, byte for byte, escaped."""
    world.trace("GET request for VM : 1.1.1.3 URL : a&b", time=1469000000.123456)
    (line,) = map(trace_line, world.traces.entries("Metadata"))
    assert line.startswith("1469000000123456 MetadataTrace: GET request for VM")
    expected = (
        '<SandeshTraceTextResponse type="sandesh">'
        '<traces type="list" identifier="1"><list type="string" size="1">'
        f"<element>{line.replace('&', '&amp;')}</element></list></traces>"
        '<more type="bool" identifier="0">false</more></SandeshTraceTextResponse>'
    )
    assert xml(trace(world.sources(), {"buf_name": "Metadata"})) == expected


@pytest.mark.parametrize("arguments", [{}, {"buf_name": "Nope"}])
def test_an_unknown_trace_is_empty(world: Any, arguments: dict[str, str]) -> None:
    """Contrail's answer to an unknown buffer is a list of size 0."""
    world.trace("x")
    written = xml(trace(world.sources(), arguments))
    assert '<list type="string" size="0"></list>' in written


@pytest.mark.parametrize(
    ("count", "expected"),
    [("2", ["2", "3"]), ("0", ["1", "2", "3"]), ("x", ["1", "2", "3"])],
)
def test_count_takes_the_newest(world: Any, count: str, expected: list[str]) -> None:
    """The newest n, oldest first for tools and newest first for people."""
    for text in "123":
        world.trace(text, time=float(text))
    page = trace(world.sources(), {"buf_name": "Metadata", "count": count})
    texts = [line.split()[2] for line in page.parts[0].traces]
    assert texts == expected
    _, table = page.shown()
    assert isinstance(table, Table)
    assert [row[1].text for row in table.rows] == expected[::-1]


@dataclass(slots=True)
class Answered(Event):
    port_id: str
    tap: str
    request: str
    status: int

    def text(self) -> str:
        return f"answered {self.status}"

    def is_fault(self) -> bool:
        return self.status >= 400


def test_people_see_whose_request_it_was(world: Any) -> None:
    """The tap leads to its port; what went wrong stands out."""
    ring = world.traces.ring("Metadata")
    ring.append((1.0, Answered("p1", "tap1", "a1", 200)))
    ring.append((2.0, Answered("", "", "b1", 404)))
    _, table = trace(world.sources(), {"buf_name": "Metadata"}).shown()
    assert isinstance(table, Table)
    titles = ["Time (UTC)", "What happened", "Port", "Request", "Decided in"]
    assert titles == [column.title for column in table.columns]
    assert [
        [Cell("answered 404", tone="bad"), Cell(""), Cell("b1", tone="code")],
        [
            Cell("answered 200"),
            Cell("tap1", "/Snh_ItfReq?uuid=p1"),
            Cell("a1", tone="code"),
        ],
    ] == [list(row[1:4]) for row in table.rows]


def test_times_are_readable() -> None:
    """Seconds become UTC; what is no time stays a number."""
    assert utc(1469000000.123456) == "2016-07-20 07:33:20.123"
    assert utc(10**30) == "1" + "0" * 30
