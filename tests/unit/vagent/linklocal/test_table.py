"""The table of services in force."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from vagent.linklocal.codec import wire_entry
from vagent.linklocal.events import FabricAddressLeftOut, ServiceLeftOut
from vagent.linklocal.own_servers import OwnServer, OwnServers
from vagent.linklocal.table import (
    DUPLICATE,
    EMPTY,
    EXCESS,
    INVALID,
    MAX_SERVICES,
    OWN,
    REASONS,
    ServiceTable,
)
from vagent.observe.event import Event

VIP = IPv4Address("169.254.169.254")


def entry(name: str, address: str = str(VIP), port: int = 80) -> dict[str, Any]:
    return wire_entry(
        name=name,
        address=address,
        port=port,
        fabric_addresses=["10.0.0.5"],
        fabric_port=8775,
    )


def of(*raw: object) -> tuple[ServiceTable, list[Event]]:
    events: list[Event] = []
    return ServiceTable.of(raw, events.append), events


def test_empty() -> None:
    """Without entries there is nothing, and nothing is said."""
    assert of() == (EMPTY, [])
    assert len(EMPTY) == 0
    assert EMPTY.at(VIP, 80) is None
    assert EMPTY.metadata() is None


def test_lookup() -> None:
    """A service is found by address and port, and by nothing less."""
    table, _ = of(entry("metadata"), entry("ntp", port=123))
    found = table.at(VIP, 123)
    assert found is not None
    assert found.name == "ntp"
    assert table.at(VIP, 81) is None
    assert table.at(IPv4Address("169.254.169.253"), 80) is None
    assert table.at(IPv6Address(int(VIP)), 80) is None


def test_order() -> None:
    """Iteration is by address and then port, as numbers, IPv4 first."""
    table, _ = of(
        entry("f", "fe80::a9fe:a9fe", 80),
        entry("e", "::a", 80),
        entry("d", "169.254.169.254", 443),
        entry("c", "169.254.169.254", 80),
        entry("b", "169.254.20.1", 1),
        entry("a", "9.9.9.9", 53),
    )
    assert [service.name for service in table] == list("abcdef")


def test_first_duplicate_wins() -> None:
    """Of two entries for one address and port the first counts; the other is told."""
    table, events = of(entry("Metadata"), entry("other"), entry("more", port=81))
    assert [service.name for service in table] == ["metadata", "more"]
    (left_out,) = table.left_out
    assert (left_out.position, left_out.name, left_out.reason) == (
        2,
        "other",
        DUPLICATE,
    )
    (event,) = events
    assert isinstance(event, ServiceLeftOut)
    assert event.label() in REASONS
    assert event.text() == (
        "Link-local service entry 2 (other) left out: "
        "169.254.169.254 port 80 belongs to metadata"
    )


@pytest.mark.parametrize(
    "raw",
    [
        entry("bad", address=""),
        entry("bad", address="0.0.0.0"),
        entry("bad", port=0),
        entry("bad", port=65536),
        {**entry("bad"), "x": 1},
        None,
        "text",
        [],
    ],
)
def test_left_out(raw: object) -> None:
    """An entry without meaning is left out with an event; the rest stays."""
    table, events = of(raw, entry("metadata"))
    assert [service.name for service in table] == ["metadata"]
    assert table.left_out[0].reason == INVALID
    assert table.left_out[0].detail
    assert len(events) == 1


def test_bad_does_not_block() -> None:
    """An entry that is left out takes nobody's place."""
    table, _ = of({**entry("bad"), "x": 1}, entry("metadata"))
    assert table.at(VIP, 80) is not None


def test_fabric_address_left_out() -> None:
    """A bad fabric address is an event with the entry's name; the entry stays."""
    raw = {**entry("metadata"), "ip_fabric_service_ip": ["x", "10.0.0.6"]}
    table, events = of(raw)
    assert len(table) == 1
    assert table.left_out == ()
    (event,) = events
    assert isinstance(event, FabricAddressLeftOut)
    assert event.text() == (
        "Link-local service entry 1 (metadata): "
        "ip_fabric_service_ip 'x' is not an IP address"
    )


def test_metadata_is_first_in_order() -> None:
    """The metadata service is the first of that exact name in table order."""
    table, _ = of(
        entry("metadata", port=8080),
        entry("METADATA", port=80),
        entry("metadata6", "1.1.1.1", 80),
    )
    metadata = table.metadata()
    assert metadata is not None
    assert metadata.port == 80


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_ceiling(excess: int) -> None:
    """1,024 services are in force; one more is left out and told."""
    count = MAX_SERVICES + excess
    table, events = of(*(entry(f"s{n}", port=n) for n in range(1, count + 1)))
    assert len(table) == min(count, MAX_SERVICES)
    assert [left_out.reason for left_out in table.left_out] == [EXCESS] * max(0, excess)
    assert len(events) == max(0, excess)


def test_equality() -> None:
    """Tables of the same entries are equal, whatever the order of the list."""
    assert (
        of(entry("a"), entry("b", port=81))[0] == of(entry("b", port=81), entry("a"))[0]
    )
    assert of(entry("a"))[0] != of(entry("b"))[0]


def test_hostile_name() -> None:
    """A name with control characters reaches no log line as it is."""
    _, events = of(entry("a\x1b[2J\nb"))
    assert events[0].text().isprintable()
    assert events[0].text().isascii() or "–" in events[0].text()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("n" * 63, "n" * 63),
        ("n" * 64, "n" * 64),
        ("n" * 65, "n" * 64),
        ("täp", r"t\xe4p"),
        ("", "unnamed"),
        (None, "unnamed"),
        (7, "unnamed"),
    ],
)
def test_the_name_of_an_entry_that_is_left_out(name: object, shown: str) -> None:
    """In ASCII and bounded; what has no name is said to have none."""
    table, _ = of({**entry("x", port=0), "linklocal_service_name": name})
    assert [shown] == [left.name for left in table.left_out]


def test_why_an_entry_is_left_out_is_said() -> None:
    """In the codec's words."""
    table, _ = of(entry("x", port=0))
    why = "linklocal_service_port 0 is not a port (1–65535)"
    assert [why] == [left.detail for left in table.left_out]


def test_what_leads_to_the_agent_itself_is_left_out() -> None:
    """However it got into the list; it does not take the place of another."""
    own = OwnServers([OwnServer("the config API", IPv4Address("127.0.0.1"), 8082)])
    ours = wire_entry(
        name="ours",
        address="169.254.1.1",
        port=80,
        fabric_addresses=["10.0.0.5", "127.0.0.1"],
        fabric_port=8082,
    )
    good = {**ours, "linklocal_service_name": "good", "ip_fabric_service_port": 80}
    events: list[Event] = []
    table = ServiceTable.of([ours, good], events.append, own)
    assert ["good"] == [service.name for service in table]
    (left,) = table.left_out
    assert (1, "ours", OWN) == (left.position, left.name, left.reason)
    assert "127.0.0.1 port 8082 is the config API of the agent itself" in left.detail
    assert [OWN] == [e.label() for e in events if isinstance(e, ServiceLeftOut)]
