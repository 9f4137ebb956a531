"""Promises of introspect.pages.overview."""

from __future__ import annotations

from typing import Any

from introspect.page import FactTable, Table, Tiles
from introspect.pages.overview import LATEST, init_state, overview
from introspect.sandesh import STYLESHEET, document


def shown(world: Any) -> tuple[Tiles, Table, FactTable, FactTable]:
    tiles, latest, guide, tools = overview(world.sources(), ("agent", "x")).shown()
    assert isinstance(tiles, Tiles)
    assert isinstance(latest, Table)
    assert isinstance(guide, FactTable)
    assert isinstance(tools, FactTable)
    return tiles, latest, guide, tools


def headlines(world: Any) -> dict[str, str]:
    return {tile.title: tile.headline for tile in shown(world)[0].rows}


def test_the_state_is_contrails(world: Any) -> None:
    """InitDone when ready, InProgress before, byte for byte."""
    expected = (
        '<AgentInitState type="sandesh"><state type="string" identifier="1">InitDone'
        '</state><more type="bool" identifier="0">false</more></AgentInitState>'
    )
    page = init_state(world.sources(), {})
    assert document(page.parts) == (STYLESHEET + expected).encode()
    world.reason = "no rules yet"
    page = init_state(world.sources(), {})
    assert page.parts[0].state == "InProgress"
    assert page.about == "no rules yet"


def test_headlines_are_live(world: Any) -> None:
    """The front page counts what is there now."""
    assert headlines(world) == {
        "Agent": "Ready",
        "Metadata proxy": "0",
        "Statistics": "0",
        "Interfaces": "0",
        "Link-local services": "0",
        "Traces": "0",
    }
    world.reason = "no rules yet"
    world.count("metadata_requests_total", amount=1234)
    world.count("datapath_verdicts_total", "admit", 8)
    world.count("datapath_verdicts_total", "drop")
    world.register(2)
    world.register(3)
    world.states[3] = "Inactive < no-dev >"
    world.service("metadata", "169.254.169.254", 80)
    world.trace("x")
    assert headlines(world) == {
        "Agent": "Not ready",
        "Metadata proxy": "1,234",
        "Statistics": "9",
        "Interfaces": "2",
        "Link-local services": "1",
        "Traces": "1",
    }
    abouts = [tile.about for tile in shown(world)[0].rows]
    assert "no rules yet" in abouts
    assert any(about.startswith("1 active.") for about in abouts)


def test_the_latest_decisions_of_all_buffers(world: Any) -> None:
    """The newest entries of all buffers together, newest first."""
    for number in range(LATEST):
        world.trace(f"m{number}", time=2.0 * number)
        world.trace(f"a{number}", buffer="Agent", time=2.0 * number + 1)
    latest = shown(world)[1]
    texts = [row[2].text for row in latest.rows]
    assert texts == ["a7", "m7", "a6", "m6", "a5", "m5", "a4", "m4"]
    assert latest.rows[0][1].href == "/Snh_SandeshTraceRequest?x=Agent"


def test_the_ways_for_tools(world: Any) -> None:
    """Each module file and the ends for monitoring are linked."""
    tools = shown(world)[3]
    hrefs = [fact.value.href for fact in tools.rows]
    modules, ends = ["/agent.xml", "/x.xml"], ["/metrics", "/vagent/traces"]
    assert hrefs == [*modules, *ends, "/status", "/readyz"]
