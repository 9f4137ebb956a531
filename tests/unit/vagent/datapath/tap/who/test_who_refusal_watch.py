"""Who is told what of refused packets, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from vagent.datapath.tap.layout import ANNOUNCED, DropReason, GuestPlace, Refused
from vagent.datapath.tap.who.events import GuestRefused, RefusalsUnread
from vagent.datapath.tap.who.refusal_watch import (
    AGAIN_SECONDS,
    LOOK_EVERY,
    MAX_KINDS,
    NEWS_SECONDS,
    RECENT_SECONDS,
    RefusalWatch,
)
from vagent.datapath.tap.who.refusals import Refusal
from vagent.errors import KernelError
from vagent.observe.event import Event
from vagent.observe.facts import facts_of
from vagent.ports.port import Port, Registration

Result = TypeVar("Result")
ADDRESS = IPv4Address("10.0.0.5")
MAC = bytes.fromhex("020000000001")
PORT = Port(
    "p", "i", "t", "", "web", "tap1", "02:00:00:00:00:01", ADDRESS, None, 0, 6, 6
)
REGISTRATION = Registration(PORT, 2, IPv4Address("169.254.64.2"))


class Kernel:
    """What the kernel would say."""

    def __init__(self) -> None:
        self.waiting: list[GuestPlace] = []
        self.known: list[tuple[GuestPlace, Refused]] = []
        self.trouble = ""
        self.looks = 0

    def news(self) -> Iterator[GuestPlace]:
        if self.trouble:
            raise KernelError(self.trouble)
        while self.waiting:
            yield self.waiting.pop(0)

    def refusals(self) -> Iterable[tuple[GuestPlace, Refused]]:
        self.looks += 1
        return self.known


class Rig:
    def __init__(self) -> None:
        self.kernel = Kernel()
        self.clock = Clock()
        self.events: list[Event] = []
        self.heard: list[Refusal] = []
        self.looked: list[tuple[Refusal, ...]] = []
        self.threads: list[Callable[[], object]] = []
        self.watch = RefusalWatch(
            self.kernel,
            name_of=lambda ifindex: "" if ifindex == 99 else f"tap{ifindex}",
            at_tap=lambda tap: (REGISTRATION,) if tap == "tap1" else (),
            heard=self.heard.append,
            looked=self.looked.append,
            run_in_thread=self.run_in_thread,
            emit=self.events.append,
            clock=self.clock,
            now=lambda: 10_000_000_000,
        )

    def run_in_thread(self, work: Callable[[], Result]) -> Deferred[Result]:
        self.threads.append(work)
        return succeed(work())

    def told(self) -> list[str]:
        return [each.label() for each in self.events if isinstance(each, GuestRefused)]


def place(
    *, ifindex: int = 1, mac: bytes = MAC, vlan: int = 6, reason: int = 2
) -> GuestPlace:
    return GuestPlace(ifindex, vlan, mac, ADDRESS, reason)


def test_the_first_is_told_with_all_facts() -> None:
    """Tap, MAC, address and VLAN as seen and as registered."""
    rig = Rig()
    rig.kernel.waiting = [place(mac=bytes.fromhex("020000000099"), vlan=0)]
    rig.watch.start()
    (event,) = rig.events
    assert {
        "reason": "spoofed",
        "port_id": "p",
        "tap": "tap1",
        "mac": "02:00:00:00:00:99",
        "address": "10.0.0.5",
        "vlan": 0,
        "vlan_type": "",
        "registered_mac": "02:00:00:00:00:01",
        "registered_addresses": ["10.0.0.5"],
        "registered_vlan": 6,
        "differs": ["VLAN", "MAC address"],
    } == facts_of(event)
    assert event.is_fault()
    assert event.text().startswith(
        "refused at tap tap1: spoofed, from 02:00:00:00:00:99"
    )


def test_a_tap_without_a_port_is_told_too() -> None:
    """There is no port to name."""
    rig = Rig()
    rig.kernel.waiting = [place(ifindex=2, vlan=0x8000 | 9)]
    rig.watch.start()
    facts = facts_of(rig.events[0])
    assert ("", "tap2", 9, "802.1ad", [], ["port"]) == tuple(
        facts[name]
        for name in (
            *("port_id", "tap", "vlan", "vlan_type"),
            *("registered_addresses", "differs"),
        )
    )


def test_each_kind_once_a_minute() -> None:
    """By port and reason, whatever MAC addresses the guest invents."""
    rig = Rig()
    rig.watch.start()
    for n in range(200):
        rig.kernel.waiting.append(place(mac=n.to_bytes(6, "big")))
    rig.kernel.waiting.append(place(reason=DropReason.CLAIMED))
    rig.kernel.waiting.append(place(ifindex=2))
    rig.clock.advance(NEWS_SECONDS)
    assert ["spoofed", "claimed", "spoofed"] == rig.told()
    assert 202 == len(rig.heard)
    rig.clock.pump([NEWS_SECONDS] * int(AGAIN_SECONDS / NEWS_SECONDS - 1))
    rig.kernel.waiting = [place()]
    rig.clock.advance(NEWS_SECONDS)
    assert ["spoofed", "claimed", "spoofed", "spoofed"] == rig.told()


def test_what_may_be_learned_is_heard_and_not_told() -> None:
    """Whether it was learned has events of its own."""
    rig = Rig()
    rig.kernel.waiting = [place(reason=DropReason.UNLEARNED)]
    rig.watch.start()
    assert ([], 1) == (rig.events, len(rig.heard))


def test_what_a_guest_announces_is_heard_and_nowhere_refused() -> None:
    """Neither as news nor among what the kernel remembers."""
    rig = Rig()
    rig.kernel.waiting = [place(reason=ANNOUNCED)]
    spoofed, announced = (
        (place(reason=reason), Refused(1, 9_000_000_000)) for reason in (2, ANNOUNCED)
    )
    rig.kernel.known = [announced, spoofed]
    rig.watch.start()
    assert [False] == [each.was_dropped for each in rig.heard]
    assert [True] == [each.was_dropped for each in rig.watch.refusals]
    assert [{True, False}] == [{e.was_dropped for e in seen} for seen in rig.looked]
    assert ["spoofed"] == rig.told()


def test_no_more_kinds_than_there_is_room_for() -> None:
    """Neither log nor memory grow beyond it; a minute later there is room again."""
    rig = Rig()
    rig.kernel.waiting = [place(ifindex=1000 + n) for n in range(MAX_KINDS + 5)]
    rig.watch.start()
    assert MAX_KINDS == len(rig.told())
    rig.clock.pump([NEWS_SECONDS] * int(AGAIN_SECONDS / NEWS_SECONDS))
    rig.kernel.waiting = [place(ifindex=50)]
    rig.clock.advance(NEWS_SECONDS)
    assert MAX_KINDS + 1 == len(rig.told())


def test_an_interface_that_is_gone_is_nobodys() -> None:
    """Its news are passed over."""
    rig = Rig()
    rig.kernel.waiting = [place(ifindex=99), place(reason=14)]
    rig.watch.start()
    assert [] == [*rig.events, *rig.heard]


def test_all_that_is_remembered_is_read_in_a_thread_from_time_to_time() -> None:
    """And told by port."""
    rig = Rig()
    rig.kernel.known = [
        (place(reason=4), Refused(3, 9_000_000_000)),
        (place(ifindex=2), Refused(1, 8_000_000_000)),
    ]
    rig.watch.start()
    assert [3] == [each.packets for each in rig.watch.of_port("p")]
    assert ["tap1", "tap2"] == [each.sender.tap for each in rig.watch.refusals]
    rig.clock.pump([NEWS_SECONDS] * (LOOK_EVERY - 1))
    assert 1 == rig.kernel.looks == len(rig.threads)
    assert [rig.watch.refusals] == rig.looked
    rig.clock.advance(NEWS_SECONDS)
    assert 2 == rig.kernel.looks


def test_what_the_queue_had_no_room_for_is_told_by_the_next_look() -> None:
    """A guest that invents senders fills it before those of others come. What was long
    ago is told no more, and what goes on once a minute.
    """
    rig = Rig()
    rig.watch.start()
    ago = int(RECENT_SECONDS * 1_000_000_000)
    rig.kernel.known = [
        (place(), Refused(3, 10_000_000_000)),
        (place(reason=DropReason.CLAIMED), Refused(3, 10_000_000_000 - ago)),
    ]
    rig.clock.pump([NEWS_SECONDS] * LOOK_EVERY)
    assert ["spoofed"] == rig.told()
    rig.clock.pump([NEWS_SECONDS] * int(AGAIN_SECONDS / NEWS_SECONDS - 1))
    assert ["spoofed"] == rig.told()
    rig.clock.advance(NEWS_SECONDS)
    assert ["spoofed"] * 2 == rig.told()


def test_a_kernel_that_does_not_tell() -> None:
    """That is told once, and what is known stays; it is asked again."""
    rig = Rig()
    rig.kernel.known = [(place(), Refused(3, 1))]
    rig.watch.start()
    rig.kernel.trouble = "bpf: EPERM"
    rig.clock.pump([NEWS_SECONDS] * 30)
    assert [RefusalsUnread("bpf: EPERM")] == rig.events
    assert rig.watch.refusals
    assert "bpf: EPERM" in rig.events[0].text()
    rig.kernel.trouble = ""
    rig.clock.advance(NEWS_SECONDS)
    rig.kernel.trouble = "bpf: EPERM"
    rig.clock.advance(NEWS_SECONDS)
    assert 2 == len(rig.events)


def test_after_stop_nothing_is_asked() -> None:
    """No timer is left either."""
    rig = Rig()
    rig.watch.start()
    rig.watch.stop()
    assert [] == rig.clock.getDelayedCalls()
    rig.watch.stop()


def test_a_stop_while_the_thread_reads() -> None:
    """The answer starts no new timer."""
    rig = Rig()
    waiting: Deferred[object] = Deferred()
    rig.watch._run_in_thread = lambda _work: waiting  # type: ignore[assignment]
    rig.watch.start()
    rig.watch.stop()
    waiting.callback(())
    assert [] == rig.clock.getDelayedCalls()
