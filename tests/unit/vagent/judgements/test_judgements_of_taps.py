"""What is seen at the taps, as judgements with remedies."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.refusals import Difference, Refusal, Sender
from vagent.judgements.judgement import JudgementKind, Severity, SubjectKind
from vagent.judgements.of_taps import (
    RECENT_SECONDS,
    of_claims,
    of_senders,
    of_silent,
    of_taps,
    of_unregistered,
)
from vagent.ports.port import Port

PORT = Port(
    "p", "i", "t", "", "web", "tap1", "02:00:00:00:00:01", IPv4Address("10.0.0.5"), None
)
SENDER = Sender("tap1", 0, False, "02:00:00:00:00:01", IPv4Address("10.0.0.9"))
SPOOFED = Refusal(DropReason.SPOOFED, SENDER, PORT, (Difference.ADDRESS,), 3, 5.0)


def test_a_guest_that_is_not_as_registered() -> None:
    """With what it uses and what is registered, once for a port, about the latest."""
    other = replace(
        SPOOFED,
        sender=replace(SENDER, mac="02:00:00:00:00:99"),
        differs=(Difference.VLAN, Difference.MAC),
        ago=9.0,
    )
    (found,) = of_senders([SPOOFED, other])
    assert JudgementKind.GUEST_NOT_AS_REGISTERED is found.kind
    assert Severity.WARNING is found.severity
    assert (SubjectKind.PORT, "p", "web") == (
        found.subject.kind,
        found.subject.id,
        found.subject.name,
    )
    assert (
        "its guest asks from another address: from 02:00:00:00:00:01 10.0.0.9,"
        " registered is 02:00:00:00:00:01 10.0.0.5; such packets are dropped"
    ) == found.text
    assert "vagentctl port add" in found.remedy
    (found,) = of_senders([other])
    assert "from another VLAN and another MAC address:" in found.text


@pytest.mark.parametrize(
    "refusal",
    [
        replace(SPOOFED, port=None, differs=(Difference.PORT,)),
        replace(SPOOFED, differs=()),
        replace(SPOOFED, reason=DropReason.UNLEARNED),
        replace(SPOOFED, ago=RECENT_SECONDS),
    ],
)
def test_what_is_none_of_a_ports(refusal: Refusal) -> None:
    """A tap without a port, a sender as registered, an address that is being learned,
    and what was long ago.
    """
    assert [] == [*of_senders([refusal])]


def test_each_port_has_its_own() -> None:
    """The subject is named after the tap where the port has no name."""
    other = replace(SPOOFED, port=replace(PORT, id="q", display_name=""))
    assert ["web", "tap1"] == [
        each.subject.name for each in of_senders([SPOOFED, other])
    ]


def test_a_guest_that_claims_a_service() -> None:
    """Once for a port, about the latest; not of a tap without one, nor long ago."""
    sender = replace(SENDER, address=IPv4Address("169.254.169.254"))
    claimed = replace(SPOOFED, reason=DropReason.CLAIMED, sender=sender, differs=())
    (found,) = of_claims([SPOOFED, claimed, replace(claimed, ago=9.0)])
    assert JudgementKind.GUEST_CLAIMS_SERVICE is found.kind
    assert (Severity.WARNING, "p") == (found.severity, found.subject.id)
    assert (
        "its guest sends from a service's address, or claims one: 02:00:00:00:00:01"
        " 169.254.169.254, registered is 02:00:00:00:00:01 10.0.0.5; such packets are"
        " dropped"
    ) == found.text
    assert "ip address" in found.remedy
    for other in (replace(claimed, port=None), replace(claimed, ago=RECENT_SECONDS)):
        assert [] == [*of_claims([other])]


def test_all_that_is_seen_at_taps() -> None:
    """Refusals may come as an iterator."""
    claimed = replace(SPOOFED, reason=DropReason.CLAIMED)
    found = of_taps(iter([SPOOFED, claimed]), ("vnet0",), (PORT,))
    assert [
        JudgementKind.GUEST_NOT_AS_REGISTERED,
        JudgementKind.GUEST_CLAIMS_SERVICE,
        JudgementKind.TAPS_WITHOUT_PORT,
        JudgementKind.PORTS_NEVER_ASKED,
    ] == [each.kind for each in found]


def test_taps_without_a_port() -> None:
    """One note for the host, however many there are."""
    assert [] == [*of_unregistered(())]
    (one,) = of_unregistered(("vnet0",))
    assert (JudgementKind.TAPS_WITHOUT_PORT, Severity.NOTE) == (one.kind, one.severity)
    assert SubjectKind.HOST is one.subject.kind
    assert (
        "1 interface looks like a guest's and has no port: vnet0; nothing" in one.text
    )
    assert "vagentctl port add" in one.remedy
    (many,) = of_unregistered([f"vnet{n}" for n in range(8)])
    assert (
        "8 interfaces look like a guest's and have no port: vnet0, vnet1, vnet2, vnet3,"
        " vnet4 and 3 more; nothing"
    ) in many.text
    assert one.key == many.key


def test_guests_that_never_asked() -> None:
    """A note, not a fault: a guest may read a config drive."""
    assert [] == [*of_silent(())]
    (one,) = of_silent((PORT,))
    assert (JudgementKind.PORTS_NEVER_ASKED, Severity.NOTE) == (one.kind, one.severity)
    assert (
        "1 guest has not asked any service since the tap came: tap1 (p)"
    ) == one.text
    assert "vagentctl explain --port UUID" in one.remedy
    (two,) = of_silent((PORT, PORT))
    assert "2 guests have not asked any service" in two.text
