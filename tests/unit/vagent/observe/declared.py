"""Every class of events that the product declares, a sample of each, and the list of
them in docs/traces.md, which this brings up to date when it is run as a program.
"""

from __future__ import annotations

import pkgutil
from dataclasses import fields
from datetime import UTC, datetime
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import introspect
import provision
import vagent
from vagent.datapath.tap.flow_entry import Match, Pair
from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.refusals import Refusal, Sender
from vagent.datapath.trap.decide import Reason, Verdict
from vagent.judgements.judgement import JudgementKind, Severity
from vagent.kernel.ip_packet import OpeningPacket
from vagent.metadata.events import Caller
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.refusal import RefusalKind
from vagent.observe.event import Event, event_classes
from vagent.observe.facts import facts_of
from vagent.ports.port import Port, Registration

REFERENCE = Path(__file__).parents[4] / "docs" / "traces.md"
_BEGIN = "<!-- events -->\n\n"
"""What stands below it is written here."""
ROOMS = (introspect, provision, vagent)
ADDRESS = IPv4Address("10.0.0.3")
PORT = Port("p", "i", "t", "n", "web", "tap", "02:00:00:00:00:01", ADDRESS, None)
PAIR = Pair(ADDRESS, IPv4Address("10.9.9.9"), 4000, 53)
SAMPLES: dict[Any, Any] = {
    str: "x",
    bytes: b"/x",
    int: 7,
    float: 0.5,
    bool: True,
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    tuple[str, ...]: ("a", "b"),
    tuple[IPv4Address | IPv6Address, ...]: (ADDRESS,),
    IPv4Address: ADDRESS,
    Caller: Caller("p", "tap", "10.0.0.3"),
    Registration: Registration(PORT, 2, IPv4Address("169.254.64.2")),
    OpeningPacket: OpeningPacket(6, 0xA9FE4002, 0xA9FEA9FE, 4000, 80),
    Verdict: Verdict(1, Reason.METADATA, "metadata"),
    BreakerState: BreakerState.DOWN,
    RefusalKind: RefusalKind.SIGNATURE,
    JudgementKind: JudgementKind.SIGNATURE_REFUSED,
    Severity: Severity.WRONG,
    Refusal: Refusal(
        DropReason.SPOOFED, Sender("tap", 0, False, PORT.mac, ADDRESS), PORT, ()
    ),
    Match: Match(11, bytes(6), 17, PAIR),
}
"""A value for each type that a field of an event has."""


def declared() -> list[type[Event]]:
    """All classes of events, of all rooms, in the order of their names."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if module.name.rpartition(".")[2] in ("events", "observer"):
                import_module(module.name)
    names = tuple(room.__name__ for room in ROOMS)
    found = [e for e in event_classes() if e.__module__.partition(".")[0] in names]
    return sorted(found, key=lambda each: each.__name__)


def sample(kind: type[Event]) -> Event:
    """An event of this class."""
    hints = get_type_hints(kind)
    values = []
    for each in fields(kind):  # type: ignore[arg-type]  # each is a dataclass
        hint = hints[each.name]
        if isinstance(hint, UnionType):
            hint = get_args(hint)[0]
        values.append(SAMPLES[hint])
    return kind(*values)


def summary(kind: type[Event]) -> str:
    """The first paragraph of the class's docstring, on one line."""
    paragraph = (kind.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(paragraph.split())


def reference() -> str:
    """The table of docs/traces.md, as it should be."""
    traced = [kind for kind in declared() if kind.buffer]
    lines = []
    for buffer in sorted({kind.buffer or "" for kind in traced}):
        lines += [f"### {buffer}", "", "| event | when | facts |", "|---|---|---|"]
        for kind in traced:
            if kind.buffer == buffer:
                facts = ", ".join(f"`{name}`" for name in facts_of(sample(kind)))
                lines.append(f"| `{kind.__name__}` | {summary(kind)} | {facts} |")
        lines.append("")
    return "\n".join(lines).strip()


def documented() -> str:
    """docs/traces.md as it should be."""
    before, begin, _ = REFERENCE.read_text("utf-8").partition(_BEGIN)
    return f"{before}{begin}{reference()}\n"


if __name__ == "__main__":
    REFERENCE.write_text(documented(), "utf-8")
