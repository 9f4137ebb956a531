"""What is seen at the taps becomes judgements. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.refusals import Refusal, registered
from vagent.judgements.judgement import (
    Judgement,
    JudgementKind,
    Severity,
    Subject,
    SubjectKind,
)
from vagent.ports.port import Port

RECENT_SECONDS = 300.0
"""After its last refused frame a guest counts as one that is not as registered."""
MAX_NAMED = 5
"""Taps or ports that the text names; their number may be thousands."""


def of_taps(
    refusals: Iterable[Refusal], without_port: Sequence[str], silent: Sequence[Port]
) -> Iterator[Judgement]:
    """All of what follows."""
    seen = tuple(refusals)
    yield from of_senders(seen)
    yield from of_claims(seen)
    yield from of_unregistered(without_port)
    yield from of_silent(silent)


def of_senders(refusals: Iterable[Refusal]) -> Iterator[Judgement]:
    """Ports whose guests lately asked from another MAC address, address or VLAN than
    registered: one for each port, about the latest. `refusals` come latest first.
    """
    told: set[str] = set()
    for one in refusals:
        port = one.port
        if port is None or not one.differs or port.id in told:
            continue
        if one.reason is DropReason.SPOOFED and one.ago < RECENT_SECONDS:
            told.add(port.id)
            differs = " and ".join(f"another {each}" for each in one.differs)
            yield Judgement(
                JudgementKind.GUEST_NOT_AS_REGISTERED,
                Severity.WARNING,
                _subject(port),
                f"its guest asks from {differs}: from {one.sender}, registered is"
                f" {registered(port)}; such packets are dropped",
                "register what it uses (vagentctl port add, the orchestrator), or let"
                " it use what is registered; vagentctl port show lists all refusals",
            )


def of_claims(refusals: Iterable[Refusal]) -> Iterator[Judgement]:
    """Ports whose guests lately sent from a service's address, or claimed one: one for
    each port, about the latest. `refusals` come latest first.
    """
    told: set[str] = set()
    for one in refusals:
        port = one.port
        if port is None or port.id in told or one.reason is not DropReason.CLAIMED:
            continue
        if one.ago < RECENT_SECONDS:
            told.add(port.id)
            yield Judgement(
                JudgementKind.GUEST_CLAIMS_SERVICE,
                Severity.WARNING,
                _subject(port),
                "its guest sends from a service's address, or claims one:"
                f" {one.sender}, registered is {registered(port)}; such packets are"
                " dropped",
                "take the address off the guest's interfaces (ip address, in it),"
                " unless it plays a service for its neighbours: then mistrust it",
            )


def of_unregistered(taps: Sequence[str]) -> Iterator[Judgement]:
    """Taps that look like guests' and have no port, as one for the host."""
    if taps:
        yield Judgement(
            JudgementKind.TAPS_WITHOUT_PORT,
            Severity.NOTE,
            Subject(SubjectKind.HOST, "taps"),
            f"{_number(taps, 'interface looks', 'interfaces look')} like a guest's and"
            f" {'has' if len(taps) == 1 else 'have'} no port: {_names(taps)}; nothing"
            " there is served, nor guarded from what pretends to be a service",
            "vagentctl port add registers each that is to be served; the others may"
            " stay as they are",
        )


def of_silent(ports: Sequence[Port]) -> Iterator[Judgement]:
    """Ports whose guests have never asked anything, as one for the host."""
    if ports:
        names = [f"{port.tap} ({port.id})" for port in ports]
        yield Judgement(
            JudgementKind.PORTS_NEVER_ASKED,
            Severity.NOTE,
            Subject(SubjectKind.HOST, "ports"),
            f"{_number(names, 'guest has', 'guests have')} not asked any service since"
            f" the tap came: {_names(names)}",
            "vagentctl explain --port UUID tries the path of one; guests that read a"
            " config drive never ask, and that is no fault",
        )


def _subject(port: Port) -> Subject:
    name = port.display_name or port.tap
    return Subject(SubjectKind.PORT, port.id, name, port.instance_id, port.tap)


def _number(of: Sequence[str], one: str, many: str) -> str:
    return f"{len(of)} {one if len(of) == 1 else many}"


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
