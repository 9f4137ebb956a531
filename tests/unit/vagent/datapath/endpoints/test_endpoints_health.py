"""What takes an endpoint away from one guest, from all, and what gives it back."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from vagent.config.model import EndpointCheckConfig
from vagent.datapath.endpoints.events import (
    FabricEndpointAvoided,
    FabricEndpointChanged,
)
from vagent.datapath.endpoints.health import (
    FIRST_PAUSE,
    MAX_FAILED_GUESTS,
    MAX_PAUSE,
    MEMORY,
    Choice,
    EndpointHealth,
    EndpointState,
    HealthState,
)
from vagent.datapath.state import NatEndpoint
from vagent.kernel.ip_packet import TCP, UDP
from vagent.observe.event import Event
from vagent.ports.port import Port, Registration

ONE = NatEndpoint(2, IPv4Address("192.0.2.1"), 53)
TWO = NatEndpoint(3, IPv4Address("192.0.2.2"), 53)
BOTH = (2, 3)
ALICE, BOB, CAROL = 5, 6, 7
PORT = Port("p", "i", "t", "", "", "tap", "", IPv4Address("10.0.0.3"), None)
REGISTRATION = Registration(PORT, ALICE, IPv4Address("169.254.64.5"))


class Bench:
    """Two endpoints; of several that live the last is picked."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.offered: list[tuple[int, ...]] = []
        self.guests: dict[int, Registration] = {}
        self.endpoints = EndpointHealth(
            EndpointCheckConfig(rise=2, fall=3),
            pick=self.pick,
            guests=self.guests,
            emit=self.events.append,
        )
        self.endpoints.follow((ONE, TWO))

    def pick(self, numbers: tuple[int, ...]) -> int:
        self.offered.append(numbers)
        return numbers[-1]

    def choice(self, index: int, now: float, protocol: int = TCP) -> Choice:
        return self.endpoints.choose(BOTH, protocol, index, now)

    def fail(self, number: int, *guests: int, now: float = 0.0) -> None:
        for guest in guests:
            self.endpoints.failed(number, TCP, guest, now)

    def check(self, number: int, *outcomes: bool) -> None:
        for passed in outcomes:
            self.endpoints.checked(number, passed=passed, why="refused")

    def health(self, number: int) -> tuple[HealthState, HealthState]:
        (state,) = [
            each for each in self.endpoints.states() if each.endpoint.number == number
        ]
        return state.tcp, state.udp

    def told(self) -> list[str]:
        return [
            f"{each.address} {each.protocol} {each.health}"
            for each in self.events
            if isinstance(each, FabricEndpointChanged | FabricEndpointAvoided)
        ]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_all_that_live_are_offered_to_the_dice(bench: Bench) -> None:
    """The choice is fair among them."""
    assert Choice(3, is_live=True) == bench.choice(ALICE, 0.0)
    assert [BOTH] == bench.offered
    assert "well" in repr(bench.endpoints)


def test_one_guest_takes_nothing_away_from_others(bench: Bench) -> None:
    """However often its flows fail, only its own flows avoid the endpoint."""
    for second in range(100):
        bench.fail(3, ALICE, now=float(second))
    assert 2 == bench.choice(ALICE, 100.0).number
    assert 3 == bench.choice(BOB, 100.0).number
    assert (HealthState.SUSPECT, HealthState.UP) == bench.health(3)
    assert ["192.0.2.2 TCP suspect"] == bench.told()


def test_whose_flows_avoid_an_endpoint_is_told(bench: Bench) -> None:
    """By the port; a reply, which clears all, is told of nobody."""
    bench.guests[ALICE] = REGISTRATION
    bench.fail(3, ALICE)
    bench.endpoints.replied(3, TCP)
    told = [e for e in bench.events if isinstance(e, FabricEndpointAvoided)]
    assert [REGISTRATION, None] == [each.guest for each in told]


def test_a_guest_goes_back_after_its_pause(bench: Bench) -> None:
    """Twice as long each time, up to a ceiling."""
    now = 0.0
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE):
        bench.fail(3, ALICE, now=now)
        assert 2 == bench.choice(ALICE, now + pause - 0.1).number
        now += pause
        assert 3 == bench.choice(ALICE, now).number
    for _ in range(20):
        bench.fail(3, ALICE, now=now)
        now += MAX_PAUSE
        assert 3 == bench.choice(ALICE, now).number


def test_two_guests_take_it_down_for_all(bench: Bench) -> None:
    """They agree, and nobody got a reply in between; UDP is another matter."""
    bench.fail(3, ALICE, BOB)
    assert (HealthState.DOWN, HealthState.UP) == bench.health(3)
    assert Choice(2, is_live=True) == bench.choice(CAROL, 1.0)
    assert 3 == bench.choice(CAROL, 1.0, UDP).number
    assert ["192.0.2.2 TCP suspect", "192.0.2.2 TCP down"] == bench.told()
    assert "192.0.2.2:53 down/up" in repr(bench.endpoints)


def test_a_reply_in_between_clears_the_first(bench: Bench) -> None:
    """Two guests that fail in turn, with replies to others between, change nothing."""
    for _ in range(10):
        bench.fail(3, ALICE)
        bench.endpoints.replied(3, TCP)
        bench.fail(3, BOB)
        bench.endpoints.replied(3, TCP)
    assert (HealthState.UP, HealthState.UP) == bench.health(3)
    assert not any(isinstance(each, FabricEndpointChanged) for each in bench.events)


def test_an_old_failure_is_forgotten(bench: Bench) -> None:
    """What a guest did minutes ago does not join another's today."""
    bench.fail(3, ALICE)
    bench.fail(3, BOB, now=FIRST_PAUSE + MEMORY)
    assert HealthState.SUSPECT == bench.health(3)[0]
    bench.endpoints.prune(2 * (FIRST_PAUSE + MEMORY))
    assert HealthState.UP == bench.health(3)[0]


def test_a_reply_brings_it_back(bench: Bench) -> None:
    """One is enough: no guest can make it itself."""
    bench.fail(3, ALICE, BOB)
    bench.endpoints.replied(3, TCP)
    assert 3 == bench.choice(ALICE, 1.0).number
    assert "192.0.2.2 TCP up" == bench.told()[-1]


def test_a_reply_of_an_endpoint_that_is_well_says_nothing(bench: Bench) -> None:
    """No event for what did not change."""
    bench.endpoints.replied(3, TCP)
    assert [] == bench.events


def test_one_flow_tries_an_endpoint_that_is_down(bench: Bench) -> None:
    """After a pause, which grows; never of a guest that failed there lately."""
    bench.fail(3, ALICE, BOB)
    assert 2 == bench.choice(CAROL, FIRST_PAUSE - 0.1).number
    now = FIRST_PAUSE + 1
    bench.fail(3, ALICE, now=now)
    assert 2 == bench.choice(ALICE, now).number
    assert 3 == bench.choice(CAROL, now).number
    assert 2 == bench.choice(BOB, now).number
    bench.fail(3, CAROL, now=now)
    assert 2 == bench.choice(8, now + 2 * FIRST_PAUSE - 0.1).number
    assert 3 == bench.choice(8, now + 2 * FIRST_PAUSE).number


def test_when_all_are_down_all_are_used(bench: Bench) -> None:
    """Better than to refuse, and it is said."""
    bench.fail(2, ALICE, BOB)
    bench.fail(3, ALICE, BOB)
    assert Choice(3, is_live=False) == bench.choice(ALICE, 1.0)
    assert BOTH == bench.offered[-1]


def test_a_guest_that_avoids_all_gets_one_that_lives(bench: Bench) -> None:
    """What is down for all is not better than what failed for it alone."""
    bench.fail(2, ALICE, BOB)
    bench.fail(3, ALICE)
    assert Choice(3, is_live=False) == bench.choice(ALICE, 1.0)
    assert Choice(3, is_live=True) == bench.choice(BOB, 1.0)


def test_checks_count_for_all(bench: Bench) -> None:
    """`fall` in a row take it down, for UDP too; `rise` in a row bring it back."""
    bench.check(3, False, False, True, False, False)
    assert (HealthState.UP, HealthState.UP) == bench.health(3)
    bench.check(3, False)
    assert (HealthState.DOWN, HealthState.DOWN) == bench.health(3)
    assert 2 == bench.choice(ALICE, 1000.0).number
    assert not bench.endpoints.is_well(3, TCP)
    bench.check(3, True, False, True)
    assert HealthState.DOWN == bench.health(3)[0]
    bench.check(3, True)
    assert (HealthState.UP, HealthState.UP) == bench.health(3)
    assert bench.endpoints.is_well(3, TCP)
    told = [f"192.0.2.2 {p} {h}" for h in ("down", "up") for p in ("TCP", "UDP")]
    assert told == bench.told()


def test_checks_bring_back_what_guests_took_down(bench: Bench) -> None:
    """And no guest's flow has to try it meanwhile."""
    bench.check(3, True, True, True)
    bench.fail(3, ALICE, BOB)
    assert 2 == bench.choice(CAROL, 1000.0).number
    bench.check(3, True)
    assert HealthState.DOWN == bench.health(3)[0]
    bench.check(3, True)
    assert HealthState.UP == bench.health(3)[0]


def test_a_connection_proves_nothing_of_udp(bench: Bench) -> None:
    """Where UDP flows failed, one of them has to try."""
    bench.check(3, True)
    for guest in (ALICE, BOB):
        bench.endpoints.failed(3, UDP, guest, 0.0)
    bench.check(3, True, True)
    assert (HealthState.UP, HealthState.DOWN) == bench.health(3)
    assert 3 == bench.choice(CAROL, FIRST_PAUSE, UDP).number


def test_a_guest_that_goes_takes_its_word_with_it(bench: Bench) -> None:
    """Whoever gets its number next has said nothing."""
    bench.fail(3, ALICE)
    bench.endpoints.forget(ALICE)
    assert 3 == bench.choice(ALICE, 1.0).number
    bench.fail(3, BOB)
    assert HealthState.SUSPECT == bench.health(3)[0]
    bench.endpoints.forget(CAROL)


def test_an_endpoint_that_goes_is_forgotten(bench: Bench) -> None:
    """Another one with its number begins well; the others keep what is known."""
    bench.fail(2, ALICE, BOB)
    bench.fail(3, ALICE, BOB)
    bench.check(3, False, False, False)
    other = NatEndpoint(3, IPv4Address("192.0.2.9"), 53)
    bench.endpoints.follow((ONE, other))
    expected = (
        EndpointState(ONE, HealthState.DOWN, HealthState.UP),
        EndpointState(other, HealthState.UP, HealthState.UP),
    )
    assert expected == bench.endpoints.states()
    bench.endpoints.follow((ONE, other))
    assert expected == bench.endpoints.states()


def test_what_is_not_provisioned_is_nobody(bench: Bench) -> None:
    """Late words about an endpoint that is gone are not kept."""
    bench.endpoints.follow((ONE,))
    bench.fail(3, ALICE, BOB)
    bench.check(3, False, False, False)
    bench.endpoints.replied(3, TCP)
    assert [] == bench.events


@pytest.mark.parametrize(
    ("beyond", "is_remembered"), [(-1, True), (0, True), (1, False)]
)
def test_so_many_guests_are_remembered_at_an_endpoint(
    bench: Bench, beyond: int, *, is_remembered: bool
) -> None:
    """n-1, n, n+1: who failed twice avoids it when it may be tried, but the one for
    whom there was no room; it gets the trial, and nothing of it is held.
    """
    for _ in range(2):
        bench.fail(3, *range(1, MAX_FAILED_GUESTS + 2))
    chosen = bench.choice(MAX_FAILED_GUESTS + beyond, FIRST_PAUSE).number
    assert (2 if is_remembered else 3) == chosen


def test_memory_is_bounded(bench: Bench) -> None:
    """A crowd of guests adds nothing to an endpoint that is down."""
    bench.fail(3, *range(1, MAX_FAILED_GUESTS + 50))
    assert 3 == bench.choice(MAX_FAILED_GUESTS + 40, FIRST_PAUSE).number
    assert 2 == bench.choice(MAX_FAILED_GUESTS, FIRST_PAUSE - 1).number


def test_trials_grow_apart(bench: Bench) -> None:
    """Twice the pause after each, up to a ceiling; each is one flow's, and it lives."""
    bench.fail(3, ALICE, BOB)
    now = 0.0
    for pause in (5.0, 10.0, 20.0, 40.0, MAX_PAUSE, MAX_PAUSE):
        assert Choice(2, is_live=True) == bench.choice(CAROL, now + pause - 0.1)
        now += pause
        assert Choice(3, is_live=True) == bench.choice(CAROL, now)
        assert Choice(2, is_live=True) == bench.choice(CAROL, now)


def test_an_endpoint_that_is_checked_keeps_no_other_from_its_trial(
    bench: Bench,
) -> None:
    """The agent knows of it without; a flow tries the one behind it."""
    bench.check(2, True)
    for number in BOTH:
        bench.fail(number, ALICE, BOB)
    assert Choice(3, is_live=True) == bench.choice(CAROL, FIRST_PAUSE)


def test_trouble_of_one_endpoint_is_not_anothers(bench: Bench) -> None:
    """Nor that of one protocol."""
    bench.fail(3, ALICE)
    assert [True, False, True] == [
        bench.endpoints.is_well(2, TCP),
        bench.endpoints.is_well(3, TCP),
        bench.endpoints.is_well(3, UDP),
    ]


def test_one_endpoint_alone_can_be_asked_for(bench: Bench) -> None:
    """As it stands among the others; None where nobody has its number."""
    bench.fail(3, ALICE, BOB)
    assert EndpointState(
        TWO, HealthState.DOWN, HealthState.UP
    ) == bench.endpoints.state(3)
    assert EndpointState(ONE, HealthState.UP, HealthState.UP) == bench.endpoints.state(
        2
    )
    assert bench.endpoints.state(4) is None


def test_a_guest_that_goes_said_something_of_one_endpoint_only(bench: Bench) -> None:
    """The others have nothing of it to forget."""
    bench.fail(2, BOB)
    bench.fail(3, ALICE)
    bench.endpoints.forget(ALICE)
    assert (HealthState.SUSPECT, HealthState.UP) == (
        bench.health(2)[0],
        bench.health(3)[0],
    )


def test_each_change_says_why(bench: Bench) -> None:
    """In words, for traces and logs; UDP alone may change."""
    for guest in (ALICE, BOB):
        bench.endpoints.failed(3, UDP, guest, 0.0)
    bench.endpoints.replied(3, UDP)
    bench.check(3, False, False, False)
    bench.check(3, True, True)
    for _ in range(3):
        bench.endpoints.checked(3, passed=False)
    changes = [
        (each.protocol, str(each.health), each.detail)
        for each in bench.events
        if isinstance(each, FabricEndpointChanged | FabricEndpointAvoided)
    ]
    failed, passed = "checks failed: refused", "checks passed"
    assert [
        ("UDP", "suspect", "flows of guests got no reply"),
        ("UDP", "down", "flows of guests got no reply"),
        ("UDP", "up", "a flow got its reply"),
        *(("TCP", "down", failed), ("UDP", "down", failed)),
        *(("TCP", "up", passed), ("UDP", "up", passed)),
        *(("TCP", "down", "checks failed: "), ("UDP", "down", "checks failed: ")),
    ] == changes


def test_what_stands_in_a_failing_test(bench: Bench) -> None:
    """How many there are, and those that are not well."""
    assert "<EndpointHealth 2 endpoints, well>" == repr(bench.endpoints)
    for number in BOTH:
        bench.fail(number, ALICE)
    ill = "192.0.2.1:53 suspect/up, 192.0.2.2:53 suspect/up"
    assert f"<EndpointHealth 2 endpoints, {ill}>" == repr(bench.endpoints)
