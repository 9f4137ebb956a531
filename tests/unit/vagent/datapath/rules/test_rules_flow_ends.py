"""What must end is owed until the kernel has ended it."""

from __future__ import annotations

from typing import Any, cast
from unittest.mock import Mock, call, create_autospec

import pytest
from twisted.internet.defer import Deferred

from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.rules.flow_ends import FlowEnds
from vagent.datapath.state import ENDPOINT_MASK, INDEX_MASK
from vagent.errors import KernelError


class Bench:
    """A kernel that refuses some marks."""

    def __init__(self) -> None:
        self.refused: set[int] = set()
        self.calls = Mock()
        fast_path = create_autospec(FastPath, instance=True)
        self.calls.attach_mock(fast_path, "fast_path")
        self.ends = FlowEnds(system=cast("Any", self), fast_path=fast_path)

    async def end_flows(self, mark: int, mask: int) -> None:
        if mark in self.refused:
            raise KernelError("no")
        self.calls.end_flows(mark, mask)

    def meet(self) -> list[object]:
        """Try; the failure, if there is one."""
        failures: list[object] = []
        done = Deferred.fromCoroutine(self.ends.meet())
        done.addErrback(lambda failure: failures.append(failure.value))
        assert done.called
        return failures

    def ended(self) -> list[tuple[int, int]]:
        return [each.args for each in self.calls.end_flows.call_args_list]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_flows_end_on_the_fast_path_first(bench: Bench) -> None:
    """conntrack does not see their packets there."""
    bench.ends.owe_index(5)
    assert [] == bench.meet()
    assert bench.calls.mock_calls == [
        call.fast_path.end(5, INDEX_MASK),
        call.end_flows(5, INDEX_MASK),
    ]


def test_flows_of_an_endpoint_are_those_with_its_number(bench: Bench) -> None:
    """The upper half of the mark."""
    bench.ends.owe_endpoints([2, 3])
    bench.meet()
    assert [(2 << 16, ENDPOINT_MASK), (3 << 16, ENDPOINT_MASK)] == bench.ended()


def test_what_is_refused_stays_owed_with_what_comes_after_it(bench: Bench) -> None:
    """What was ended before it is not ended again."""
    for index in (5, 6, 7):
        bench.ends.owe_index(index)
    bench.refused = {6}
    (failure,) = bench.meet()
    assert isinstance(failure, KernelError)
    assert [False, True, True] == [bench.ends.owes_index(i) for i in (5, 6, 7)]
    assert (True, 2) == (bench.ends.any_owed, len(bench.ends))
    bench.refused = set()
    assert [] == bench.meet()
    assert [5, 6, 7] == [mark for mark, _ in bench.ended()]
    assert not bench.ends.any_owed


def test_an_end_is_owed_once(bench: Bench) -> None:
    """However often somebody says so."""
    bench.ends.owe_index(5)
    bench.ends.owe_index(5)
    bench.meet()
    assert [(5, INDEX_MASK)] == bench.ended()
