"""Which flows get onto the fast path, and that nothing keeps one there wrongly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

import pytest
from twisted.internet.task import Clock

from vagent.datapath.fast_path.candidate import MAX_TRIES_OF_GUEST
from vagent.datapath.fast_path.events import (
    FastPathFlow,
    FastPathMissing,
)
from vagent.datapath.fast_path.offload import (
    CHECK,
    IDLE,
    MAX_FLOWS,
    MAX_FLOWS_OF_GUEST,
    TURN,
    FastPath,
)
from vagent.datapath.fast_path.traffic import MAX_PAST
from vagent.datapath.state import (
    ENDPOINT_MASK,
    INDEX_BITS,
    INDEX_MASK,
    LISTENER,
    REFUSE,
    Attachment,
    Tag,
)
from vagent.datapath.tap.flow_entry import Count, Match, Pair, encode_match
from vagent.errors import KernelError, WireError
from vagent.kernel.conntrack import (
    DYING,
    ESTABLISHED,
    HELPED,
    OFFLOADED,
    SEEN_REPLY,
    SEQUENCE_ADJUSTED,
    Tracked,
    Traffic,
    Tuple,
)
from vagent.kernel.ip_packet import TCP, UDP, OpeningPacket
from vagent.kernel.rtnl_route import Hop
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration

SERVICE = IPv4Address("169.254.1.7")
ENDPOINT, HOST = IPv4Address("198.51.100.10"), IPv4Address("198.51.100.1")
FABRIC = 90
HOP = Hop(FABRIC, IPv4Address("198.51.100.254"), 1500)
SILENT = Count(0, 0, is_closed=False)


@dataclass
class Kernel:
    """Does what it is told, and says what the test wants."""

    queue: list[bytes] = field(default_factory=list)
    entries: dict[bytes, bytes] = field(default_factory=dict)
    counts: dict[bytes, Count] = field(default_factory=dict)
    programs: set[int] = field(default_factory=set)
    kept: list[tuple[OpeningPacket, int]] = field(default_factory=list)
    flows: dict[OpeningPacket, Tracked] = field(default_factory=dict)
    asked: int = 0
    way: Hop | None = HOP
    mtu: int | None = 1500
    ipsec: bool = False
    is_open: bool = False
    lapsed: bool = False
    renewed: int = 0
    broken: str = ""

    def _try(self, what: str) -> None:
        if self.broken == what:
            raise KernelError(f"no {what}")

    def open(self) -> None:
        self._try("open")
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self.programs.clear()

    def attach_fabric(self, ifindex: int) -> None:
        self._try("attach_fabric")
        self.programs.add(ifindex)

    def has_lapsed(self) -> bool:
        return self.lapsed

    def renew(self) -> None:
        self._try("renew")
        self.renewed += 1
        self.lapsed = False

    def next_candidate(self) -> bytes | None:
        return self.queue.pop(0) if self.queue else None

    def put(self, key: bytes, entry: bytes) -> None:
        self._try(f"put {len(self.entries)}")
        self.entries[key] = entry
        self.counts[key] = SILENT

    def count(self, key: bytes) -> Count | None:
        return self.counts.get(key)

    def delete(self, key: bytes) -> None:
        self._try("delete")
        self.entries.pop(key, None)
        self.counts.pop(key, None)

    def find(self, packet: OpeningPacket) -> Tracked | None:
        self.asked += 1
        return self.flows.get(packet)

    def keep(self, packet: OpeningPacket, seconds: int) -> None:
        self._try("keep")
        if self.broken == "kept":
            raise WireError("cut")
        self.kept.append((packet, seconds))

    def hop(self, destination: IPv4Address) -> Hop | None:
        assert destination == ENDPOINT
        return self.way

    def link_mtu(self, ifindex: int) -> int | None:
        return self.mtu

    def has_ipsec(self) -> bool:
        return self.ipsec


def registration(guest: Attachment) -> Registration:
    """That of the guest's port."""
    port = Port("p", "i", "t", "", "", "tap", "", guest.address, None)
    return Registration(port, guest.index, guest.identity)


class Bench:
    """A fast path at one guest's tap, on a clock."""

    def __init__(self, guest: Attachment) -> None:
        self.guest = guest
        self.clock = Clock()
        self.events: list[Event] = []
        self.kernel = Kernel()
        self.guests = {guest.index: registration(guest)}
        self.fast_path = FastPath(
            self.kernel, guests=self.guests, emit=self.events.append, clock=self.clock
        )
        self.fast_path.open()
        self.fast_path.attached(guest)

    def turn(self, seconds: float = TURN) -> None:
        self.clock.pump([TURN] * round(seconds / TURN))

    def outcomes(self) -> list[str]:
        return [each.outcome for each in self.events if isinstance(each, FastPathFlow)]

    def flow(
        self, port: int = 4000, protocol: int = UDP, guest: Attachment | None = None
    ) -> tuple[bytes, OpeningPacket]:
        """One that conntrack knows: what is told of it, and its opening packet."""
        guest = guest or self.guest
        assert guest.address is not None
        mac = bytes.fromhex(guest.mac.replace(":", ""))
        pair = Pair(guest.address, SERVICE, port, 7)
        packet = OpeningPacket(protocol, int(guest.identity), int(SERVICE), port, 7)
        self.kernel.flows[packet] = Tracked(
            id=port,
            mark=2 << INDEX_BITS | guest.index,
            original=Tuple(protocol, guest.identity, SERVICE, port, 7),
            reply=Tuple(protocol, ENDPOINT, HOST, 7777, port),
            status=SEEN_REPLY,
            timeout=10,
            tcp_state=ESTABLISHED if protocol == TCP else None,
            sent=None,
            received=None,
            start=None,
        )
        return encode_match(Match(guest.ifindex, mac, protocol, pair)), packet

    def take(self, port: int = 4000) -> tuple[bytes, OpeningPacket]:
        """One that is on the fast path."""
        key, packet = self.flow(port)
        self.kernel.queue.append(key)
        self.turn()
        assert key in self.kernel.entries
        return key, packet

    def change(self, packet: OpeningPacket, **changes: object) -> None:
        flows = self.kernel.flows
        flows[packet] = flows[packet]._replace(**changes)  # type: ignore[arg-type]


@pytest.fixture
def bench(alice: Attachment) -> Bench:
    return Bench(alice)


def test_both_directions_get_an_entry(bench: Bench) -> None:
    """After conntrack is told not to miss what it will not see."""
    key, packet = bench.take()
    back = encode_match(Match(FABRIC, bytes(6), UDP, Pair(ENDPOINT, HOST, 7777, 4000)))
    assert [*bench.kernel.entries] == [back, key]
    assert bench.kernel.programs == {FABRIC}
    assert bench.kernel.kept == [(packet, 120)]
    assert bench.outcomes() == ["taken"]
    assert len(bench.fast_path) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mark": 2 << INDEX_BITS | 3}, "another's"),
        ({"mark": LISTENER << INDEX_BITS | 2}, "ends on this host"),
        ({"mark": REFUSE << INDEX_BITS | 2}, "ends on this host"),
        ({"mark": 2}, "ends on this host"),
        ({"status": 0}, "not answered"),
        ({"status": SEEN_REPLY | HELPED}, "somebody else"),
        ({"status": SEEN_REPLY | SEQUENCE_ADJUSTED}, "somebody else"),
        ({"status": SEEN_REPLY | DYING}, "somebody else"),
        ({"status": SEEN_REPLY | OFFLOADED & 0x4000}, "somebody else"),
        ({"tcp_state": ESTABLISHED + 1}, "not established"),
        (
            {"reply": Tuple(TCP, IPv4Address("127.0.0.1"), HOST, 1, 2)},
            "ends on this host",
        ),
    ],
)
def test_what_stays_where_it_is(
    bench: Bench, changes: dict[str, object], why: str
) -> None:
    key, packet = bench.flow(protocol=TCP)
    bench.change(packet, **changes)
    bench.kernel.queue.append(key)
    bench.turn()
    assert bench.kernel.entries == {}
    (event,) = [each for each in bench.events if isinstance(each, FastPathFlow)]
    assert event.outcome == "refused"
    assert why in event.detail


@pytest.mark.parametrize("way", [None, HOP._replace(ifindex=11)])
def test_the_way_there_must_be_plain(bench: Bench, way: Hop | None) -> None:
    """And not lead to another guest: 11 is alice's tap."""
    bench.kernel.way = way
    key, _ = bench.flow()
    bench.kernel.queue.append(key)
    bench.turn()
    assert bench.outcomes() == ["refused"]
    assert bench.kernel.entries == {}


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "02:00:00:00:00:99"},
        {"ifindex": 12},
        {"address": IPv4Address("10.0.0.6")},
    ],
)
def test_what_is_not_a_guests_is_not_even_looked_at(
    bench: Bench, change: dict[str, object]
) -> None:
    """Another MAC, tap or address than any that is registered."""
    key, _ = bench.flow(guest=replace(bench.guest, **change))  # type: ignore[arg-type]
    bench.kernel.queue.append(key)
    bench.turn()
    assert bench.kernel.asked == 0
    assert bench.outcomes() == []


def test_ports_with_a_vlan_or_without_ipv4_have_no_program(
    bench: Bench, bob: Attachment
) -> None:
    bench.fast_path.attached(replace(bob, tag=Tag(5, 5)))
    bench.fast_path.attached(replace(bob, address=None))
    bench.turn()
    assert bench.kernel.programs == set()


def test_the_last_port_of_a_tap_takes_the_program_along(bench: Bench) -> None:
    second = replace(bench.guest, index=9, address=IPv4Address("10.0.0.9"))
    bench.fast_path.attached(second)
    bench.turn()
    bench.fast_path.detached(bench.guest)
    assert bench.kernel.programs == set()
    bench.fast_path.detached(second)
    assert bench.kernel.programs == set()


def test_a_port_that_changes_in_place_is_known_as_it_is_now(bench: Bench) -> None:
    """Its flows go on, and it goes as what it became."""
    bench.take()
    changed = replace(bench.guest, port=7)
    bench.fast_path.attached(changed)
    assert len(bench.fast_path) == 1
    bench.fast_path.detached(changed)
    key, _ = bench.flow(5001)
    bench.kernel.queue.append(key)
    bench.turn()
    assert key not in bench.kernel.entries


def test_a_detached_port_gets_nothing_onto_it(bench: Bench) -> None:
    """Even what was told before."""
    key, _ = bench.flow()
    bench.turn()
    bench.kernel.queue.append(key)
    bench.fast_path.detached(bench.guest)
    bench.turn()
    assert bench.kernel.entries == {}


@pytest.mark.parametrize(
    ("mark", "mask", "ends"),
    [
        (2, INDEX_MASK, True),
        (3, INDEX_MASK, False),
        (2 << INDEX_BITS, ENDPOINT_MASK, True),
        (3 << INDEX_BITS, ENDPOINT_MASK, False),
    ],
)
def test_ended_flows_leave_at_once(
    bench: Bench, mark: int, mask: int, ends: bool
) -> None:
    bench.take()
    bench.fast_path.end(mark, mask)
    assert bool(bench.kernel.entries) is not ends
    assert ("revoked" in bench.outcomes()) is ends


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 1},
        {"mark": 3 << INDEX_BITS | 2},
        {"reply": Tuple(UDP, ENDPOINT, HOST, 7777, 9)},
        {"status": SEEN_REPLY | DYING},
    ],
)
def test_what_conntrack_changes_ends_it(
    bench: Bench, changes: dict[str, object]
) -> None:
    _, packet = bench.take()
    bench.change(packet, **changes)
    bench.turn(CHECK + TURN)
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "changed"]


def test_a_flow_that_conntrack_forgot_ends(bench: Bench) -> None:
    _, packet = bench.take()
    del bench.kernel.flows[packet]
    bench.turn(CHECK + TURN)
    assert bench.kernel.entries == {}


@pytest.mark.parametrize(
    ("way", "mtu"), [(None, 1500), (HOP._replace(mtu=1400), 1500), (HOP, 1400)]
)
def test_another_way_ends_it(bench: Bench, way: Hop | None, mtu: int) -> None:
    bench.take()
    bench.kernel.way, bench.kernel.mtu = way, mtu
    bench.turn(CHECK + TURN)
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "changed"]


def test_a_connection_that_closes_ends_it(bench: Bench) -> None:
    key, _ = bench.take()
    bench.kernel.counts[key] = Count(5, 700, is_closed=True)
    bench.turn(CHECK + TURN)
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "closed"]


def test_busy_flows_live_and_idle_ones_give_way(bench: Bench) -> None:
    """Conntrack hears of packets that it does not see, and of nothing else."""
    key, _ = bench.take()
    bench.kernel.counts[key] = Count(5, 700, is_closed=False)
    bench.turn(CHECK + TURN)
    assert len(bench.kernel.kept) == 2
    bench.turn(IDLE - CHECK)
    assert len(bench.kernel.kept) == 2
    assert key in bench.kernel.entries
    bench.turn(2 * CHECK)
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "idle"]


def test_a_lease_that_ran_out_is_not_renewed_with_what_was(bench: Bench) -> None:
    """Entries go before there is a lease again."""
    bench.take()
    bench.kernel.lapsed = True
    bench.turn()
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "lapsed"]
    assert not bench.kernel.lapsed


def test_ipsec_ends_all(bench: Bench) -> None:
    """Policies hold for what is forwarded, which this is not."""
    bench.take()
    bench.kernel.ipsec = True
    key, _ = bench.flow(4001)
    bench.kernel.queue.append(key)
    bench.turn()
    assert bench.kernel.entries == {}
    assert bench.outcomes() == ["taken", "changed"]


@pytest.mark.parametrize("count", [0, 1])
def test_half_of_a_flow_does_not_stay(bench: Bench, count: int) -> None:
    key, _ = bench.flow()
    bench.kernel.queue.append(key)
    bench.kernel.broken = f"put {count}"
    bench.turn()
    assert bench.kernel.entries == {}
    assert len(bench.fast_path) == 0
    assert bench.fast_path.is_open


@pytest.mark.parametrize("mishap", ["lapsed", "ipsec"])
def test_an_entry_that_stays_in_a_turn_ends_the_lease(
    bench: Bench, mishap: str
) -> None:
    bench.take()
    bench.kernel.broken = "delete"
    setattr(bench.kernel, mishap, True)
    renewed = bench.kernel.renewed
    bench.turn(1.0)
    assert not bench.fast_path.is_open
    assert bench.kernel.renewed == renewed


@pytest.mark.parametrize("what", ["keep", "kept", "attach_fabric"])
def test_a_flow_that_cannot_be_taken_stays_where_it_is(bench: Bench, what: str) -> None:
    key, _ = bench.flow()
    bench.kernel.queue.append(key)
    bench.kernel.broken = what
    bench.turn()
    assert bench.outcomes() == ["refused"]
    assert bench.kernel.entries == {}


@pytest.mark.parametrize("what", ["keep", "kept"])
def test_a_flow_that_cannot_be_kept_ends(bench: Bench, what: str) -> None:
    """It has ended in either conntrack, or the answer is none that can be read."""
    key, _ = bench.take()
    bench.kernel.counts[key] = Count(9, 900, is_closed=False)
    bench.kernel.broken = what
    bench.turn(CHECK + TURN)
    assert bench.outcomes() == ["taken", "changed"]
    assert bench.kernel.entries == {}
    assert bench.fast_path.is_open


def test_an_entry_that_stays_ends_the_lease(bench: Bench) -> None:
    """Nothing may hold that cannot be revoked."""
    bench.take()
    bench.kernel.broken = "delete"
    renewed = bench.kernel.renewed
    bench.fast_path.end(2, INDEX_MASK)
    assert not bench.kernel.is_open
    assert not bench.fast_path.is_open
    assert len(bench.fast_path) == 0
    bench.turn(1.0)
    assert bench.kernel.renewed == renewed
    assert any(isinstance(each, FastPathMissing) for each in bench.events)


def test_a_kernel_that_cannot_is_told_and_not_used(alice: Attachment) -> None:
    clock, events, kernel = Clock(), list[Event](), Kernel(broken="open")
    fast_path = FastPath(kernel, guests={}, emit=events.append, clock=clock)
    fast_path.open()
    fast_path.attached(alice)
    fast_path.end(2, INDEX_MASK)
    clock.pump([TURN] * 5)
    fast_path.close()
    assert [type(each) for each in events] == [FastPathMissing]
    assert not fast_path.is_open
    assert kernel.renewed == 0


def test_nothing_happens_before_it_is_opened(alice: Attachment) -> None:
    kernel, events = Kernel(), list[Event]()
    fast_path = FastPath(kernel, guests={}, emit=events.append, clock=Clock())
    fast_path.attached(alice)
    fast_path.detached(alice)
    fast_path.close()
    assert kernel == Kernel()


def test_one_guest_gets_its_share(bench: Bench, bob: Attachment) -> None:
    """Of places, and of looks in a second; further addresses of a port do not add."""
    second = replace(bench.guest, index=9, identity=IPv4Address("169.254.64.9"))
    second = replace(second, address=IPv4Address("10.0.0.9"))
    bench.guests.update({9: bench.guests[2], 3: registration(bob)})
    bench.fast_path.attached(second)
    bench.fast_path.attached(bob)
    bench.turn(1.0)
    for number in range(2 * MAX_TRIES_OF_GUEST):
        guest = second if number % 2 else bench.guest
        bench.kernel.queue.append(bench.flow(4000 + number, guest=guest)[0])
    bench.kernel.queue.append(bench.flow(9000, guest=bob)[0])
    bench.turn()
    assert bench.kernel.asked == MAX_TRIES_OF_GUEST + 1
    for number in range(2 * MAX_FLOWS_OF_GUEST):
        bench.kernel.queue.append(bench.flow(5000 + number)[0])
        bench.turn()
    assert len(bench.fast_path) <= MAX_FLOWS_OF_GUEST + 1
    assert MAX_FLOWS_OF_GUEST < MAX_FLOWS


def test_the_host_has_so_many_places(bench: Bench) -> None:
    """n-1, n, n+1: a flow more than that stays where it is, until a place is free."""
    guests = [
        replace(bench.guest, index=index, address=IPv4Address(f"10.0.0.{index}"))
        for index in range(10, 10 + MAX_FLOWS // MAX_FLOWS_OF_GUEST)
    ]
    for guest in guests:
        bench.guests[guest.index] = registration(guest)
        bench.fast_path.attached(guest)
    ports = iter(range(10_000, 20_000))
    for _ in range(MAX_FLOWS_OF_GUEST):
        for guest in guests:
            bench.kernel.queue.append(bench.flow(next(ports), guest=guest)[0])
        bench.turn()
    assert MAX_FLOWS == len(bench.fast_path)
    assert ["taken"] * MAX_FLOWS == bench.outcomes()
    more = bench.flow(9000)[0]
    bench.kernel.queue.append(more)
    bench.turn()
    (refused,) = [e for e in bench.events[MAX_FLOWS:] if isinstance(e, FastPathFlow)]
    assert ("refused", f"there are {MAX_FLOWS} flows already") == (
        refused.outcome,
        refused.detail,
    )
    bench.kernel.counts.pop(next(key for key in bench.kernel.counts if key != more))
    bench.turn(CHECK)
    assert MAX_FLOWS - 1 == len(bench.fast_path)
    bench.kernel.queue.append(more)
    bench.turn()
    assert more in bench.kernel.entries
    assert MAX_FLOWS == len(bench.fast_path)


def test_what_was_carried_in_former_times_is_bounded(bench: Bench) -> None:
    """n-1, n, n+1: beyond the ceiling what ended first is forgotten, no more."""
    ended = []
    for port in range(4000, 4000 + MAX_PAST + 1):
        _, packet = bench.take(port)
        ended.append((port, bench.kernel.flows[packet].original))
        bench.fast_path.end(2, INDEX_MASK)
        if port % MAX_TRIES_OF_GUEST == 0:
            bench.turn(1.0)
        if port == 4000 + MAX_PAST - 1:
            assert ended == list(bench.fast_path.traffic())
    assert ended[1:] == list(bench.fast_path.traffic())


def test_two_flows_do_not_share_a_way_back(bench: Bench) -> None:
    """Conntrack sees to that; if not, the second stays where it is."""
    _, packet = bench.take(4000)
    key, other = bench.flow(4001)
    bench.change(other, reply=bench.kernel.flows[packet].reply)
    bench.kernel.queue.append(key)
    bench.turn()
    assert bench.outcomes() == ["taken", "refused"]
    assert len(bench.kernel.entries) == 2


def test_what_was_carried_is_remembered(bench: Bench) -> None:
    """Over several times on the fast path."""
    key, packet = bench.take()
    name = 4000, bench.kernel.flows[packet].original
    bench.kernel.counts[key] = Count(5, 700, is_closed=False)
    carried = bench.fast_path.traffic()[name]
    assert carried.sent == Traffic(5, 700)
    assert carried.received == Traffic(0, 0)
    assert carried.is_on_it
    bench.fast_path.end(2, INDEX_MASK)
    assert bench.fast_path.traffic()[name].sent == Traffic(5, 700)
    assert not bench.fast_path.traffic()[name].is_on_it
    bench.kernel.queue.append(key)
    bench.turn()
    bench.kernel.counts[key] = Count(1, 50, is_closed=False)
    assert bench.fast_path.traffic()[name].sent == Traffic(6, 750)


def test_a_flow_is_told_of_its_port(bench: Bench) -> None:
    """When it is taken, and when it ends because its port went."""
    registration = bench.guests[bench.guest.index]
    key, _ = bench.flow()
    bench.kernel.queue.append(key)
    bench.turn()
    bench.guests.clear()
    bench.fast_path.end(bench.guest.index, INDEX_MASK)
    told = [each for each in bench.events if isinstance(each, FastPathFlow)]
    assert [("taken", registration), ("revoked", registration)] == [
        (each.outcome, each.guest) for each in told
    ]


def test_a_flow_of_a_port_that_is_going_is_not_taken(bench: Bench) -> None:
    """It is not registered any more; the rules at its tap go in a moment."""
    bench.guests.clear()
    bench.kernel.queue.append(bench.flow()[0])
    bench.turn()
    assert 0 == bench.kernel.asked
    assert [] == bench.outcomes()
