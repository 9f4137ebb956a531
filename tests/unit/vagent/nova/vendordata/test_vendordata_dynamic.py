"""When targets are called, what guests get, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from vagent.config.model import FailureMode, VendorDataConfig
from vagent.errors import StoreError
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.vendordata import dynamic
from vagent.nova.vendordata.answer import TargetError
from vagent.nova.vendordata.dynamic import DynamicVendorData
from vagent.nova.vendordata.events import (
    AnswersNotStored,
    AnswersReused,
    InstanceMarkedFailed,
    InstanceRecovered,
    TargetAnswered,
    TargetFailed,
)
from vagent.nova.vendordata.stored import KIND, StoredAnswers
from vagent.nova.vendordata.vendor_data import VendorDataError
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore

UUID = "1a2b3c00-0000-4000-8000-000000000003"
TENANT = "7e000000000040008000000000000001"
GUEST = decode_instance({"uuid": UUID, "tenant_id": TENANT, "name": "web"})
OTHER = replace(GUEST, uuid=UUID.replace("3", "4"))
HARD = FailureMode.HARD


class FakeTarget:
    """Answers with how often it was asked, or as it is told; waits if it has a gate."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = f"http://{name}/"
        self.asked: list[bytes] = []
        self.says: Any = None
        self.fails: Exception | None = None
        self.gates: list[Deferred[None]] | None = None

    async def ask(self, question: bytes) -> Any:
        self.asked.append(question)
        if self.gates is not None:
            self.gates.append(Deferred())
            await self.gates[-1]
        if self.fails is not None:
            raise self.fails
        return len(self.asked) if self.says is None else self.says


class Instances:
    """Those that there are."""

    def __init__(self, *instances: Instance) -> None:
        self.known = {one.uuid: one for one in instances}

    async def get(self, instance_id: str) -> Instance | None:
        return self.known.get(instance_id)


class House:
    """Two targets, and a server that may be restarted."""

    def __init__(self, **config: Any) -> None:
        self.config = VendorDataConfig(**config)
        self.targets = [FakeTarget("a"), FakeTarget("b")]
        self.store = MemoryStore()
        self.instances = Instances(GUEST, OTHER)
        self.events: list[Event] = []
        self.clock = Clock()
        self.wall = 1_000_000.0
        self.start()

    def start(self) -> None:
        """A server that knows only what is in the store."""
        made: Any = self.targets
        self.vendor_data = DynamicVendorData(
            self.config,
            made,
            static=lambda: {"host": 1, "both": "host"},
            stored=StoredAnswers(self.store, self.events.append),
            instances=self.instances,
            emit=self.events.append,
            clock=self.clock,
            now=lambda: self.wall,
        )

    def begin(self, instance: Instance = GUEST) -> list[Any]:
        """Ask; the list gets the result, or the exception."""
        results: list[Any] = []
        asked = Deferred.fromCoroutine(self.vendor_data.dynamic(instance))
        asked.addBoth(
            lambda result: results.append(
                result.value if isinstance(result, Failure) else dict(result)
            )
        )
        return results

    def ask(self, instance: Instance = GUEST) -> Any:
        (result,) = self.begin(instance)
        return result

    def pass_time(self, seconds: float) -> None:
        """On both clocks."""
        self.clock.advance(seconds)
        self.wall += seconds

    @property
    def calls(self) -> list[int]:
        """How often each target was called."""
        return [len(one.asked) for one in self.targets]

    def told(self, kind: type[Event]) -> list[Event]:
        return [one for one in self.events if type(one) is kind]

    def stored(self) -> Mapping[str, Any]:
        (entry,) = _now(self.store.entries(KIND))
        value: Mapping[str, Any] = entry.value
        return value


def _now(coroutine: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    return results[0]


@pytest.fixture
def house() -> House:
    """With the defaults: answers are kept for a day, failures for 5 s, soft."""
    return House()


def test_static_data_of_host_and_instance(house: House) -> None:
    """The instance's members go before the host's."""
    instance = decode_instance(
        {"uuid": UUID, "tenant_id": TENANT, "vendor_data": {"both": 2, "own": 3}}
    )
    assert {"host": 1, "both": 2, "own": 3} == house.vendor_data.static(instance)


def test_answers_in_the_order_of_the_configuration(house: House) -> None:
    """Whichever comes first."""
    for target in house.targets:
        target.gates = []
    results = house.begin()
    assert [1, 1] == house.calls, "both are asked at once"
    for target in reversed(house.targets):
        assert target.gates is not None
        target.gates[0].callback(None)
    assert [{"a": 1, "b": 1}] == results
    assert ["a", "b"] == list(results[0])


def test_a_second_request_calls_nobody(house: House) -> None:
    """For as long as answers are kept, and each guest has its own."""
    assert {"a": 1, "b": 1} == house.ask()
    house.pass_time(86_399)
    assert {"a": 1, "b": 1} == house.ask()
    assert [1, 1] == house.calls
    assert 1 == len(house.told(AnswersReused))
    assert {"a": 2, "b": 2} == house.ask(OTHER)
    house.pass_time(1)
    assert {"a": 3, "b": 3} == house.ask()


def test_answers_outlive_a_restart(house: House) -> None:
    """A new server gives the same."""
    house.ask()
    house.start()
    assert {"a": 1, "b": 1} == house.ask()
    assert [1, 1] == house.calls


def test_concurrent_requests_share_the_calls(house: House) -> None:
    """One guest that asks three times at once is one call of each target."""
    house.targets[0].gates = []
    results = [house.begin() for _ in range(3)]
    house.targets[0].gates[0].callback(None)
    assert [[{"a": 1, "b": 1}]] * 3 == results
    assert [1, 1] == house.calls


def test_a_guest_that_gave_up_gets_the_same_answer_later(house: House) -> None:
    """The calls go on when nobody waits any more, and their answers are kept."""
    gates = house.targets[0].gates = []
    asked = Deferred.fromCoroutine(house.vendor_data.dynamic(GUEST))
    asked.addErrback(lambda _: None)
    asked.cancel()
    gates[0].callback(None)
    house.targets[0].gates = None
    assert {"a": 1, "b": 1} == house.ask()
    assert [1, 1] == house.calls


def test_stored_before_it_is_given(house: House) -> None:
    """When the guest has the answer, a crash cannot lose it any more."""
    gates: list[Deferred[None]] = []
    save = house.store.put

    async def slow(*args: Any, **kwargs: Any) -> Any:
        gates.append(Deferred())
        await gates[-1]
        return await save(*args, **kwargs)

    house.store.put = slow  # type: ignore[method-assign]
    results = house.begin()
    assert [] == results
    gates[0].callback(None)
    assert [{"a": 1, "b": 1}] == results


def test_another_document_is_another_question(house: House) -> None:
    """New metadata: targets are asked again, and the new answer is kept."""
    house.ask()
    changed = replace(GUEST, meta=(("ipa_enroll", "true"),))
    house.instances.known[UUID] = changed
    assert {"a": 2, "b": 2} == house.ask(changed)
    assert {"a": 2, "b": 2} == house.ask(changed)
    assert b'"ipa_enroll": "true"' in house.targets[0].asked[1]


def test_a_change_while_targets_are_asked(house: House) -> None:
    """What belongs to the old document is given to who asked, and not kept."""
    house.targets[0].gates = []
    old = house.begin()
    changed = replace(GUEST, meta=(("x", "y"),))
    house.instances.known[UUID] = changed
    new = house.begin(changed)
    house.targets[0].gates[1].callback(None)
    house.targets[0].gates[0].callback(None)
    assert 1 == len(old) == len(new)
    house.targets[0].gates = None
    assert new == [house.ask(changed)]
    assert [2, 2] == house.calls


def test_deleted_while_targets_are_asked(house: House) -> None:
    """Nothing of an instance that is gone stays in the store."""
    house.targets[0].gates = []
    house.begin()
    del house.instances.known[UUID]
    house.targets[0].gates[0].callback(None)
    assert () == _now(house.store.entries(KIND))


def test_deleted_while_answers_are_stored(house: House) -> None:
    """Not even if it went between the last look and the write."""
    save = house.store.put

    async def slow(*args: Any, **kwargs: Any) -> Any:
        del house.instances.known[UUID]
        return await save(*args, **kwargs)

    house.store.put = slow  # type: ignore[method-assign]
    house.ask()
    assert () == _now(house.store.entries(KIND))


def test_the_soft_mode(house: House) -> None:
    """A target that fails is {}, the others are there, and the trace says why."""
    house.targets[0].fails = TargetError("status", "status 500")
    assert {"a": {}, "b": 1} == house.ask()
    assert [TargetFailed("a", UUID, "status", "status 500")] == house.told(TargetFailed)
    assert [] == house.told(InstanceMarkedFailed)


def test_a_failure_is_kept_for_a_while(house: House) -> None:
    """Then that target is asked again, and no other."""
    house.targets[0].fails = TargetError("connect", "refused")
    house.ask()
    house.pass_time(4.9)
    assert {"a": {}, "b": 1} == house.ask()
    assert [1, 1] == house.calls
    house.targets[0].fails = None
    house.pass_time(0.1)
    assert {"a": 2, "b": 1} == house.ask()
    assert {"a": 2, "b": 1} == house.ask()
    assert [2, 1] == house.calls


def test_a_failure_of_one_guest_is_not_another_s() -> None:
    """It may lie in what the guest is."""
    house = House()
    house.targets[0].fails = TargetError("status", "status 400")
    house.ask()
    house.targets[0].fails = None
    assert {"a": 2, "b": 2} == house.ask(OTHER)


def test_an_answer_whose_time_is_over_is_not_given_again(house: House) -> None:
    """A target that fails then has nothing to say."""
    house.ask()
    house.pass_time(86_400)
    house.targets[0].fails = TargetError("timeout", "late")
    assert {"a": {}, "b": 2} == house.ask()


def test_the_hard_mode() -> None:
    """The document is an error, the instance is marked, once, and recovers."""
    house = House(failure_mode=HARD)
    house.targets[0].fails = TargetError("status", "status 500")
    for _ in range(2):
        error = house.ask()
        assert isinstance(error, VendorDataError)
        assert "a: status 500" == str(error)
    assert [1, 1] == house.calls
    assert [InstanceMarkedFailed(UUID, "a: status 500")] == house.told(
        InstanceMarkedFailed
    )
    assert {"a": {"since": 1_000_000.0, "why": "status 500"}} == house.stored()[
        "failures"
    ]
    house.targets[0].fails = None
    house.pass_time(5)
    assert {"a": 2, "b": 1} == house.ask()
    assert [InstanceRecovered(UUID)] == house.told(InstanceRecovered)
    assert {} == house.stored()["failures"]


def test_a_mark_outlives_a_restart() -> None:
    """It says since when, and the last reason; it is not told again."""
    house = House(failure_mode=HARD)
    house.targets[0].fails = TargetError("status", "status 500")
    house.ask()
    house.pass_time(60)
    house.start()
    house.targets[0].fails = TargetError("timeout", "late")
    house.ask()
    assert {"a": {"since": 1_000_000.0, "why": "late"}} == house.stored()["failures"]
    assert 1 == len(house.told(InstanceMarkedFailed))


def test_a_full_disk(house: House) -> None:
    """The guest gets its answer and the same again; it is stored when that works."""
    save = house.store.put

    async def full(*_args: Any, **_kwargs: Any) -> Any:
        raise StoreError("disk is full")

    house.store.put = full  # type: ignore[method-assign]
    assert {"a": 1, "b": 1} == house.ask()
    assert {"a": 1, "b": 1} == house.ask()
    assert [1, 1] == house.calls
    assert AnswersNotStored(UUID, "disk is full") == house.told(AnswersNotStored)[0]
    house.store.put = save  # type: ignore[method-assign]
    house.ask()
    house.start()
    assert {"a": 1, "b": 1} == house.ask()
    assert [1, 1] == house.calls


def test_a_store_that_cannot_be_read(house: House) -> None:
    """Nobody is called: the answer may be there."""
    house.store.broken = "gone"
    assert isinstance(house.ask(), StoreError)
    assert [0, 0] == house.calls


def test_nothing_is_kept_if_told_so() -> None:
    """Each request calls, as in Nova, and the store is left alone."""
    house = House(cache_time=0, failure_cache_time=0)
    assert {"a": 1, "b": 1} == house.ask()
    assert {"a": 2, "b": 2} == house.ask()
    assert () == _now(house.store.entries(KIND))


def test_a_clock_that_was_set_back(house: House) -> None:
    """An answer of the future is kept for its time from now on, not for ever."""
    house.ask()
    house.wall -= 400 * 86_400
    house.start()
    assert {"a": 1, "b": 1} == house.ask()
    house.wall += 86_399
    assert {"a": 1, "b": 1} == house.ask()
    house.wall += 1
    assert {"a": 2, "b": 2} == house.ask()


def test_steps_of_the_clock_do_not_touch_failures(house: House) -> None:
    """How long a target is left alone is measured, not read off the wall."""
    house.targets[0].fails = TargetError("connect", "refused")
    house.ask()
    house.wall += 400 * 86_400
    house.ask()
    assert 1 == house.calls[0]
    house.wall -= 800 * 86_400
    house.clock.advance(5)
    house.ask()
    assert 2 == house.calls[0]


def test_answers_that_are_too_large_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come first in agent.conf fit; the others count as failed."""
    monkeypatch.setattr(dynamic, "MAX_KEPT", 10)
    house.targets[0].says = "x" * 8
    house.targets[1].says = "y"
    assert {"a": "x" * 8, "b": {}} == house.ask()
    (failed,) = house.told(TargetFailed)
    assert isinstance(failed, TargetFailed)
    assert ("b", "too-large") == (failed.target, failed.reason)


def test_what_is_remembered_is_bounded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guests that come and go do not add up; the oldest is forgotten."""
    monkeypatch.setattr(dynamic, "MAX_REMEMBERED", 1)
    for target in house.targets:
        target.fails = TargetError("connect", "refused")
    assert {"a": {}, "b": {}} == house.ask()
    assert {"a": {}, "b": {}} == house.ask()
    assert [2, 1] == house.calls


def test_without_targets() -> None:
    """Neither store nor anybody is asked."""
    house = House()
    house.targets = []
    house.store.broken = "never read"
    house.start()
    assert {} == house.ask()


def test_answers_are_timed(house: House) -> None:
    """From the call to the answer, by the clock that nobody sets."""
    house.targets[0].gates = []
    house.begin()
    house.wall -= 500
    house.clock.advance(0.25)
    house.targets[0].gates[0].callback(None)
    assert TargetAnswered("a", UUID, 0.25) in house.events
