"""Which ports' guests never ask, and which interfaces have no port, looked at from time
to time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from vagent.datapath.events import CountFailed
from vagent.datapath.tap.entries import Way
from vagent.datapath.tap.layout import Guest
from vagent.datapath.tap.who.survey import (
    SILENT_SECONDS,
    SURVEY_SECONDS,
    SilentPorts,
    TapSurvey,
)
from vagent.errors import KernelError
from vagent.kernel.rtnl_link import Link
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration

Result = TypeVar("Result")
MAC = "02:00:00:00:00:01"
PORT = Port("p", "i", "t", "", "web", "tap1", MAC, IPv4Address("10.0.0.5"), None)
OTHER = replace(PORT, id="q", tap="tap2", rx_vlan=5, tx_vlan=5)
ASKED = (("tap1", 0, MAC), ("tap2", 5, MAC))


def test_a_guest_that_never_asked_for_a_while() -> None:
    """Counted from the moment at which its tap was there first; one that has asked is
    not silent, whatever another one on the tap did.
    """
    silence = SilentPorts()
    assert () == silence.look((PORT, OTHER), ASKED[:1], 100.0)
    almost = 100.0 + SILENT_SECONDS - 1
    assert () == silence.look((PORT, OTHER), ASKED[:1], almost)
    assert (OTHER,) == silence.look((PORT, OTHER), (), 100.0 + SILENT_SECONDS)
    later = 100.0 + 2 * SILENT_SECONDS
    assert (PORT, OTHER) == silence.look((PORT, OTHER), (), later)
    assert (PORT,) == silence.look((PORT, OTHER), (("tap2", 5, MAC),), later)


def test_a_tap_that_goes_begins_anew() -> None:
    """Another guest may be behind it then."""
    silence = SilentPorts()
    silence.look((PORT,), (), 0.0)
    silence.look((), (), SILENT_SECONDS)
    assert () == silence.look((PORT,), (), SILENT_SECONDS)
    assert (PORT,) == silence.look((PORT,), (), 2 * SILENT_SECONDS)


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.counted: list[tuple[Way, Guest]] = []
        self.trouble = ""
        self.links = [
            Link(7, "tap1", "tun", is_up=True, master=3, is_tap=True),
            Link(8, "tap2", "tun", is_up=True, master=3, is_tap=True),
            Link(9, "tap3", "tun", is_up=True, master=3, is_tap=True),
        ]
        self.threads = 0
        self.survey = TapSurvey(
            self,
            list_links=lambda: self.links,
            registrations=lambda: [
                Registration(PORT, 2, IPv4Address("169.254.64.2")),
                Registration(OTHER, 3, IPv4Address("169.254.64.3")),
            ],
            own=("vagent0",),
            run_in_thread=self.run_in_thread,
            emit=self.events.append,
            clock=self.clock,
        )

    def guests(self) -> Iterable[tuple[Way, Guest]]:
        if self.trouble:
            raise KernelError(self.trouble)
        return self.counted

    def run_in_thread(self, work: Callable[[], Result]) -> Deferred[Result]:
        self.threads += 1
        waiting: Deferred[Result] = succeed(None).addCallback(lambda _: work())
        return waiting


def way(ifindex: int, vlan: int = 0) -> Way:
    return Way(ifindex, vlan, bytes.fromhex(MAC.replace(":", "")))


def test_a_look_at_host_and_counters() -> None:
    """In a thread; taps without a port are known at once."""
    rig = Rig()
    rig.counted = [
        (way(7), Guest(2, packets=3)),
        (way(8, 5), Guest(3)),
        (way(8, 0), Guest(3, packets=1)),
        (way(99), Guest(9, packets=1)),
    ]
    rig.survey.start()
    assert (("tap3",), ()) == (rig.survey.without_port, rig.survey.silent)
    rig.clock.pump([SURVEY_SECONDS] * int(SILENT_SECONDS / SURVEY_SECONDS))
    assert (OTHER,) == rig.survey.silent
    assert 1 + SILENT_SECONDS / SURVEY_SECONDS == rig.threads
    rig.links[1] = rig.links[1]._replace(is_up=False)
    rig.clock.advance(SURVEY_SECONDS)
    assert [] == [*rig.survey.silent]


def test_what_the_kernel_does_not_tell() -> None:
    """Is told once; what was known stays."""
    rig = Rig()
    rig.survey.start()
    rig.trouble = "bpf: EPERM"
    rig.clock.pump([SURVEY_SECONDS] * 3)
    assert [CountFailed("bpf: EPERM")] == rig.events
    assert ("tap3",) == rig.survey.without_port
    rig.trouble = ""
    rig.clock.advance(SURVEY_SECONDS)
    rig.trouble = "bpf: EPERM"
    rig.clock.advance(SURVEY_SECONDS)
    assert 2 == len(rig.events)


def test_after_stop_nothing_is_looked_at() -> None:
    """No timer is left either, also where a thread was still reading."""
    rig = Rig()
    rig.survey.start()
    rig.survey.stop()
    assert [] == rig.clock.getDelayedCalls()
    rig.survey.stop()
    waiting: Deferred[object] = Deferred()
    rig.survey._run_in_thread = lambda _work: waiting  # type: ignore[assignment]
    rig.survey.start()
    rig.survey.stop()
    waiting.callback(({}, []))
    assert [] == rig.clock.getDelayedCalls()
