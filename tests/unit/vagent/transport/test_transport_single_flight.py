"""Single flight: one piece of work for all who ask, that nobody can take away."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from vagent.transport.single_flight import SingleFlight


class Works:
    """Counts how often it is started; each start waits for its own Deferred."""

    def __init__(self) -> None:
        self.started: list[Deferred[int]] = []
        self.flights: SingleFlight[int] = SingleFlight()

    def ask(self, key: str = "k") -> tuple[Deferred[int], list[Any]]:
        def work() -> Deferred[int]:
            self.started.append(Deferred())
            return self.started[-1]

        asked = Deferred.fromCoroutine(self.flights.run(key, work))
        results: list[Any] = []
        asked.addBoth(results.append)
        return asked, results


def test_all_get_the_result_of_one() -> None:
    """Work that is under way is not started again, and is forgotten when it is done."""
    works = Works()
    results = [works.ask()[1] for _ in range(3)]
    assert 1 == len(works.started) == len(works.flights)
    works.started[0].callback(7)
    assert [[7]] * 3 == results
    assert 0 == len(works.flights)
    works.ask()
    assert 2 == len(works.started)


def test_keys_do_not_share() -> None:
    """Each key has work of its own."""
    works = Works()
    works.ask("a")
    works.ask("b")
    assert 2 == len(works.started) == len(works.flights)


def test_all_get_the_failure_of_one() -> None:
    """Then the next who asks starts anew."""
    works = Works()
    results = [works.ask()[1] for _ in range(2)]
    works.started[0].errback(ValueError("no"))
    assert [ValueError, ValueError] == [type(one.value) for (one,) in results]
    works.ask()
    assert 2 == len(works.started)


def test_who_leaves_stops_nobody() -> None:
    """Also if it is the one who started the work, or the last one who waits."""
    works = Works()
    first, gone = works.ask()
    _, others = works.ask()
    first.cancel()
    assert isinstance(gone[0].value, CancelledError)
    assert 1 == len(works.flights)
    works.started[0].callback(7)
    assert [7] == others
    last, _ = works.ask()
    last.cancel()
    assert not works.started[1].called
    works.started[1].callback(8)
    assert 0 == len(works.flights)


def test_work_that_is_done_at_once() -> None:
    """No wait, nothing left."""
    flights: SingleFlight[int] = SingleFlight()

    async def work() -> int:
        return 7

    results: list[Any] = []
    Deferred.fromCoroutine(flights.run("k", work)).addBoth(results.append)
    assert [7] == results
    assert 0 == len(flights)
