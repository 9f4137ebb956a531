"""At which taps the program runs, and whose a packet is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from unittest.mock import call, create_autospec

import pytest

from vagent.datapath.fast_path.events import FastPathTapLeftOut
from vagent.datapath.fast_path.kernel import FastPathKernel
from vagent.datapath.fast_path.tap_programs import TapPrograms
from vagent.datapath.state import Attachment, Tag
from vagent.datapath.tap.flow_entry import Match, Pair
from vagent.errors import KernelError
from vagent.kernel.ip_packet import UDP

if TYPE_CHECKING:
    from vagent.observe.event import Event

SERVICE = IPv4Address("169.254.1.7")


class Bench:
    """Taps of a kernel that takes programs, or does not."""

    def __init__(self) -> None:
        self.kernel = create_autospec(FastPathKernel, instance=True)
        self.events: list[Event] = []
        self.taps = TapPrograms(self.kernel, emit=self.events.append)

    def attached(self) -> list[int]:
        """Let those that wait get their program; at which taps it was attached."""
        self.kernel.attach_tap.reset_mock()
        self.taps.attach_waiting(10)
        return [each.args[0] for each in self.kernel.attach_tap.call_args_list]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def match_of(guest: Attachment) -> Match:
    """A packet of this guest."""
    assert guest.address is not None
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    return Match(guest.ifindex, mac, UDP, Pair(guest.address, SERVICE, 4000, 7))


def test_a_tap_gets_the_program_once(bench: Bench, alice: Attachment) -> None:
    """However many attachments it has; it goes with the last of them."""
    second = replace(alice, index=9, address=IPv4Address("10.0.0.9"))
    bench.taps.add(alice)
    bench.taps.add(second)
    assert [11] == bench.attached()
    assert [] == bench.attached()
    bench.taps.remove(alice)
    assert 11 in bench.taps
    bench.taps.remove(second)
    assert [call(11)] == bench.kernel.detach.call_args_list
    assert 11 not in bench.taps


def test_a_tap_that_goes_before_its_turn_gets_none(
    bench: Bench, alice: Attachment
) -> None:
    """And nothing is taken away that was not there."""
    bench.taps.add(alice)
    bench.taps.remove(alice)
    assert [] == bench.attached()
    assert [] == bench.kernel.detach.call_args_list


def test_so_many_taps_get_theirs_in_one_turn(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """The others wait for the next one."""
    bench.taps.add(alice)
    bench.taps.add(bob)
    bench.taps.attach_waiting(1)
    assert [call(11)] == bench.kernel.attach_tap.call_args_list
    assert [12] == bench.attached()


def test_a_tap_that_takes_no_program_is_left_out(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """That is told, and the others get theirs."""
    bench.kernel.attach_tap.side_effect = [KernelError("no"), None]
    bench.taps.add(alice)
    bench.taps.add(bob)
    bench.taps.attach_waiting(10)
    assert [FastPathTapLeftOut("no")] == bench.events
    assert [call(11), call(12)] == bench.kernel.attach_tap.call_args_list


def test_a_packet_is_known_by_tap_mac_and_address(
    bench: Bench, alice: Attachment, bob: Attachment
) -> None:
    """Guests may have one address."""
    bench.taps.add(alice)
    bench.taps.add(bob)
    assert bench.taps.attachment_of(match_of(alice)) is alice
    assert bench.taps.attachment_of(match_of(bob)) is bob
    other = match_of(alice)._replace(ifindex=99)
    assert bench.taps.attachment_of(other) is None


def test_what_is_served_anew_takes_the_place(bench: Bench, alice: Attachment) -> None:
    """Its predecessor's end, which is told later, does not take it away."""
    successor = replace(alice, index=9, identity=IPv4Address("169.254.64.9"))
    bench.taps.add(alice)
    bench.taps.add(successor)
    bench.taps.remove(alice)
    assert bench.taps.attachment_of(match_of(alice)) is successor
    assert 11 in bench.taps


@pytest.mark.parametrize(
    "changes",
    [
        {"address": None, "address6": IPv6Address("2001:db8::5")},
        {"tag": Tag(sent=100, got=100, ifindex=7)},
    ],
)
def test_what_never_matches_needs_no_program(
    bench: Bench, alice: Attachment, changes: dict[str, object]
) -> None:
    """IPv6 alone, and tagged frames."""
    guest = replace(alice, **changes)  # type: ignore[arg-type]
    bench.taps.add(guest)
    assert [] == bench.attached()
    bench.taps.remove(guest)
    assert [] == bench.kernel.detach.call_args_list
