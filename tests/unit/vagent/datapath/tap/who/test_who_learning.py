"""Which address a port that learns takes, and when."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from vagent.datapath.tap.layout import DropReason
from vagent.datapath.tap.who.events import AddressNotLearned
from vagent.datapath.tap.who.learning import (
    CHANGE_SECONDS,
    FRESH_SECONDS,
    MAX_CHANGES,
    Address,
    Learner,
    NoGuests,
    Taken,
    why_not,
)
from vagent.datapath.tap.who.refusals import Difference, Refusal, Sender
from vagent.errors import StoreError
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration

MAC = "02:00:00:00:00:01"
PORT = Port("p", "i", "t", "", "web", "tap1", MAC, None, None, learn=True)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))
OTHER = Registration(
    replace(PORT, id="q", rx_vlan=5, tx_vlan=5, address=IPv4Address("10.0.0.6")),
    3,
    IPv4Address("169.254.64.3"),
)
TAKEN = Taken(
    (IPv4Network("169.254.64.0/18"), IPv6Network("fd40:140::/32")),
    lambda: (IPv4Address("169.254.169.254"), IPv6Address("fd00:ec2::254")),
)


def unlearned(
    address: str | None = "10.0.0.5",
    *,
    port: Port | None = PORT,
    ago: float = 0.0,
    reason: DropReason = DropReason.UNLEARNED,
    differs: tuple[Difference, ...] = (Difference.ADDRESS,),
) -> Refusal:
    seen = None if address is None else ip_address(address)
    return Refusal(reason, Sender("tap1", 0, False, MAC, seen), port, differs, 1, ago)


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.learned: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.disk: Deferred[None] = succeed(None)
        self.learner = Learner(
            TAKEN,
            at_tap=lambda tap: (REGISTRATION, OTHER) if tap == "tap1" else (),
            learn=self.learn,
            emit=self.events.append,
            clock=self.clock,
        )

    async def learn(self, port_id: str, address: Address) -> None:
        if self.failure is not None:
            raise self.failure
        await self.disk
        self.learned.append((port_id, str(address)))


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.5", None),
        ("169.254.1.1", None),
        ("2001:db8::5", None),
        ("fe80::5", None),
        ("0.0.0.1", NoGuests.NO_HOST),
        ("127.0.0.1", NoGuests.NO_HOST),
        ("224.0.0.1", NoGuests.NO_HOST),
        ("255.255.255.255", NoGuests.NO_HOST),
        ("::", NoGuests.NO_HOST),
        ("::1", NoGuests.NO_HOST),
        ("::ffff:10.0.0.5", NoGuests.NO_HOST),
        ("ff02::1", NoGuests.NO_HOST),
        ("169.254.64.1", NoGuests.AGENT),
        ("169.254.127.255", NoGuests.AGENT),
        ("fd40:140:1::1", NoGuests.AGENT),
        ("169.254.169.254", NoGuests.SERVICE),
        ("fd00:ec2::254", NoGuests.SERVICE),
        ("10.0.0.6", NoGuests.OTHER_PORT),
    ],
)
def test_what_may_be_learned(address: str, why: NoGuests | None) -> None:
    """Never one of the agent's, a service's, another port's of the tap (in whatever
    VLAN), or one that no host has.
    """
    found = why_not(ip_address(address), PORT, (REGISTRATION, OTHER), TAKEN)
    assert why == found


def test_its_own_address_is_no_other_ports() -> None:
    """The port itself is among those of its tap."""
    assert why_not(IPv4Address("10.0.0.6"), OTHER.port, (OTHER,), TAKEN) is None


def test_a_guest_that_is_seen_is_learned() -> None:
    """One address of each IP version."""
    rig = Rig()
    rig.learner.hear(unlearned())
    rig.learner.hear(unlearned("2001:db8::5"))
    assert [("p", "10.0.0.5"), ("p", "2001:db8::5")] == rig.learned
    assert [] == rig.events


@pytest.mark.parametrize(
    "refusal",
    [
        unlearned(reason=DropReason.SPOOFED),
        unlearned(port=None),
        unlearned(None),
        unlearned(port=replace(PORT, learn=False)),
        unlearned(port=replace(PORT, address=IPv4Address("10.0.0.5"))),
        unlearned(differs=(Difference.MAC, Difference.ADDRESS)),
        unlearned(differs=(Difference.VLAN,)),
    ],
)
def test_nothing_else_is_learned(refusal: Refusal) -> None:
    """Another reason, no port, no address, a port that does not learn or has the
    address by now, another MAC address or VLAN.
    """
    rig = Rig()
    rig.learner.hear(refusal)
    assert ([], []) == (rig.learned, rig.events)


def test_changes_are_limited() -> None:
    """A guest that uses several addresses in turn costs a few writes in half a minute,
    one of each IP version as it comes.
    """
    rig = Rig()
    for number in range(MAX_CHANGES + 2):
        rig.learner.hear(unlearned(f"10.0.0.{10 + number}"))
        rig.clock.advance(1)
    assert MAX_CHANGES == len(rig.learned)
    rig.learner.hear(unlearned("2001:db8::5"))
    assert MAX_CHANGES + 1 == len(rig.learned)
    rig.clock.advance(CHANGE_SECONDS - MAX_CHANGES - 2 - 0.1)
    rig.learner.hear(unlearned("10.0.0.7"))
    assert MAX_CHANGES + 1 == len(rig.learned)
    rig.clock.advance(0.1)
    rig.learner.hear(unlearned("10.0.0.7"))
    assert ("p", "10.0.0.7") == rig.learned[-1]
    rig.learner.hear(unlearned("10.0.0.8"))
    assert MAX_CHANGES + 2 == len(rig.learned)


def test_what_was_too_early_is_found_by_the_next_looks() -> None:
    """The kernel tells of a sender once; the looks at all of them find it again."""
    rig = Rig()
    for number in range(MAX_CHANGES + 1):
        rig.learner.hear(unlearned(f"10.0.0.{10 + number}"))
    rig.clock.advance(CHANGE_SECONDS)
    last = MAX_CHANGES + 10
    moved = replace(PORT, address=IPv4Address(f"10.0.0.{last - 1}"))
    rig.learner.follow(
        [
            unlearned(f"10.0.0.{last}", port=moved, ago=1.0),
            unlearned(f"10.0.0.{last - 1}", port=moved, ago=5.0),
        ]
    )
    assert ("p", f"10.0.0.{last}") == rig.learned[-1]


def test_the_latest_address_counts() -> None:
    """When it is the port's own, what was seen before it is history, and so is what
    was seen before the last look.
    """
    rig = Rig()
    now = replace(PORT, address=IPv4Address("10.0.0.7"))
    rig.learner.follow(
        [
            unlearned("10.0.0.7", port=now, ago=1.0),
            unlearned("10.0.0.5", port=now, ago=2.0),
            unlearned("2001:db8::5", port=now, ago=FRESH_SECONDS + 0.1),
        ]
    )
    assert [] == rig.learned


def test_what_may_not_be_learned_is_told() -> None:
    """With the reason, and no more often than a change."""
    rig = Rig()
    for _ in range(MAX_CHANGES + 2):
        rig.learner.hear(unlearned("10.0.0.6"))
    expected = AddressNotLearned("p", "tap1", "10.0.0.6", NoGuests.OTHER_PORT.value)
    assert [expected] * MAX_CHANGES == rig.events
    assert "port p tap tap1 does not learn 10.0.0.6: another port's" in (
        rig.events[0].text()
    )


def test_what_is_being_learned_is_not_learned_twice() -> None:
    """A guest is told of by its ARP and by its first packet in one moment."""
    rig = Rig()
    rig.disk = Deferred()
    for _ in range(MAX_CHANGES):
        rig.learner.hear(unlearned())
    rig.disk.callback(None)
    assert [("p", "10.0.0.5")] == rig.learned
    rig.learner.hear(unlearned("10.0.0.7"))
    rig.learner.hear(unlearned("10.0.0.8"))
    assert 3 == len(rig.learned)


def test_what_the_disk_refuses_is_told_and_tried_again() -> None:
    """When the guest is refused again."""
    rig = Rig()
    rig.failure = StoreError("disk full")
    rig.learner.hear(unlearned())
    assert [AddressNotLearned("p", "tap1", "10.0.0.5", "disk full")] == rig.events
    rig.failure = None
    rig.clock.advance(CHANGE_SECONDS)
    rig.learner.follow([unlearned(ago=1.0)])
    assert [("p", "10.0.0.5")] == rig.learned
