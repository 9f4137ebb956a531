"""Answers of all targets for one guest: kept ones as they are, the others asked for at
the same time, stored before anybody sees them.

Stored first, so that a guest never holds an answer that a restart forgets: a second
call may make the first answer void (novajoin's one-time password). A target that failed
is left alone for a while (negative caching), in memory only; that it failed is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from vagent.config.model import FailureMode, VendorDataConfig
from vagent.errors import StoreError
from vagent.nova.instance import Instance
from vagent.nova.source import InstanceSource
from vagent.nova.vendordata.answer import TargetError
from vagent.nova.vendordata.events import (
    AnswersNotStored,
    AnswersReused,
    InstanceMarkedFailed,
    InstanceRecovered,
    TargetAnswered,
    TargetFailed,
)
from vagent.nova.vendordata.question import digest_of, question_of
from vagent.nova.vendordata.stored import Failure, Known, StoredAnswers, TargetAnswer
from vagent.nova.vendordata.target import DynamicTarget
from vagent.nova.vendordata.vendor_data import VendorDataError
from vagent.observe.event import Emit
from vagent.transport.single_flight import SingleFlight

MAX_REMEMBERED = 4_096
"""Failures that are remembered, and instances whose answers could not be stored."""
MAX_KEPT = 768 * 1024
"""Bytes of one instance's answers together, as they are stored (a value of the store
may have 1 MiB)."""

Outcomes = dict[str, TargetAnswer | Failure]
_NEVER = (float("-inf"), Failure(0.0, ""))


class DynamicVendorData:
    """Vendor data of targets. All of it works in the reactor's thread."""

    def __init__(
        self,
        config: VendorDataConfig,
        targets: Iterable[DynamicTarget],
        *,
        static: Callable[[], Mapping[str, Any]],
        stored: StoredAnswers,
        instances: InstanceSource,
        emit: Emit,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._config = config
        self._targets = tuple(targets)
        self._static = static
        self._stored = stored
        self._instances = instances
        self._emit = emit
        self._clock = clock
        self._now = now
        self._flights: SingleFlight[Mapping[str, Any]] = SingleFlight()
        self._left_alone: dict[tuple[str, str], tuple[float, Failure]] = {}
        self._unsaved: dict[str, Known] = {}

    def __repr__(self) -> str:
        return (
            f"<DynamicVendorData {len(self._targets)} targets,"
            f" {len(self._flights)} in flight>"
        )

    def static(self, instance: Instance) -> Mapping[str, Any]:
        """The host's, and what the instance's document says instead or besides."""
        return {**self._static(), **instance.vendor_data}

    async def dynamic(self, instance: Instance) -> Mapping[str, Any]:
        """See VendorData. Concurrent requests for one guest share the calls."""
        if not self._targets:
            return {}
        question = question_of(instance)
        return await self._flights.run(
            (instance.uuid, question), lambda: self._answers(instance, question)
        )

    async def _answers(self, instance: Instance, question: bytes) -> Mapping[str, Any]:
        uuid = instance.uuid
        before = await self._known(uuid)
        outcomes = self._outcomes_known(before, uuid, question)
        called = [one for one in self._targets if one.name not in outcomes]
        outcomes |= await self._ask_all(uuid, called, question)
        after = self._together(uuid, before, outcomes)
        if not called:
            self._emit(AnswersReused())
        await self._keep(uuid, question, before, after)
        if after.failures and self._config.failure_mode is FailureMode.HARD:
            raise VendorDataError(_sentence(after.failures))
        return {
            one.name: after.answers[one.name].value if one.name in after.answers else {}
            for one in self._targets
        }

    async def _known(self, uuid: str) -> Known:
        unsaved = self._unsaved.get(uuid)
        return await self._stored.load(uuid) if unsaved is None else unsaved

    def _outcomes_known(self, known: Known, uuid: str, question: bytes) -> Outcomes:
        """Answers that may be given again, and failures of a short while ago."""
        now, outcomes = self._now(), dict[str, TargetAnswer | Failure]()
        for target in self._targets:
            answer = known.answers.get(target.name)
            if answer is not None:
                # Of the future: the clock was set back, and its time begins again.
                answer = replace(answer, asked_at=min(answer.asked_at, now))
                digest = digest_of(target.url, question)
                if answer.is_fresh(digest, now, self._config.cache_time):
                    outcomes[target.name] = answer
                    continue
            until, failure = self._left_alone.get((uuid, target.name), _NEVER)
            if self._clock.seconds() < until:
                outcomes[target.name] = failure
        return outcomes

    async def _ask_all(
        self, uuid: str, targets: Iterable[DynamicTarget], question: bytes
    ) -> Outcomes:
        """The answer of each target, or the reason why it gave none."""
        targets = tuple(targets)
        waits = [
            Deferred.fromCoroutine(self._ask(uuid, target, question))
            for target in targets
        ]
        results = await DeferredList(waits, fireOnOneErrback=True, consumeErrors=True)
        found = [outcome for _, outcome in results]
        return {one.name: outcome for one, outcome in zip(targets, found, strict=True)}

    async def _ask(
        self, uuid: str, target: DynamicTarget, question: bytes
    ) -> TargetAnswer | Failure:
        began, asked_at = self._clock.seconds(), self._now()
        try:
            value = await target.ask(question)
        except TargetError as error:
            return self._failed(uuid, target, error)
        self._emit(TargetAnswered(target.name, uuid, self._clock.seconds() - began))
        self._left_alone.pop((uuid, target.name), None)
        return TargetAnswer(digest_of(target.url, question), asked_at, value)

    def _failed(self, uuid: str, target: DynamicTarget, error: TargetError) -> Failure:
        self._emit(TargetFailed(target.name, uuid, error.kind, str(error)))
        until = self._clock.seconds() + self._config.failure_cache_time
        failure = Failure(self._now(), str(error))
        _remember(self._left_alone, (uuid, target.name), (until, failure))
        return failure

    def _together(self, uuid: str, before: Known, outcomes: Outcomes) -> Known:
        """Answers that can be stored in one value, in the order of agent.conf; each
        failure since the first of its row.
        """
        total, answers, failures = 0, dict[str, TargetAnswer](), dict[str, Failure]()
        for target in self._targets:
            name, outcome = target.name, outcomes[target.name]
            if isinstance(outcome, TargetAnswer):
                total += len(json.dumps(outcome.value))
                if total <= MAX_KEPT:
                    answers[name] = outcome
                    continue
                why = f"the answers together have more than {MAX_KEPT} bytes"
                outcome = self._failed(uuid, target, TargetError("too-large", why))
            first = before.failures.get(name, outcome)
            failures[name] = Failure(first.since, outcome.why)
        return Known(answers, failures)

    async def _keep(
        self, uuid: str, question: bytes, before: Known, after: Known
    ) -> None:
        """Store what is known now, if it is news."""
        if not self._config.cache_time:
            after = Known({}, after.failures)
        if after == before and uuid not in self._unsaved:
            return
        # Somebody may have changed the instance meanwhile: then others ask, and what
        # they store must stay.
        instance = await self._instances.get(uuid)
        if instance is None or question_of(instance) != question:
            return
        await self._save(uuid, after)
        self._tell(uuid, before, after)

    async def _save(self, uuid: str, known: Known) -> None:
        try:
            await self._stored.save(uuid, known)
        except StoreError as error:
            _remember(self._unsaved, uuid, known)
            self._emit(AnswersNotStored(uuid, str(error)))
            return
        self._unsaved.pop(uuid, None)
        # It may have been deleted meanwhile; then nothing of it may stay behind.
        if await self._instances.get(uuid) is None:
            await self._stored.forget(uuid)

    def _tell(self, uuid: str, before: Known, after: Known) -> None:
        if self._config.failure_mode is not FailureMode.HARD:
            return
        if after.failures and not before.failures:
            self._emit(InstanceMarkedFailed(uuid, _sentence(after.failures)))
        elif before.failures and not after.failures:
            self._emit(InstanceRecovered(uuid))


def _sentence(failures: Mapping[str, Failure]) -> str:
    return "; ".join(f"{name}: {one.why}" for name, one in failures.items())


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember, in the place of the oldest if it is full."""
    known.pop(key, None)
    if len(known) >= MAX_REMEMBERED:
        del known[next(iter(known))]
    known[key] = value
