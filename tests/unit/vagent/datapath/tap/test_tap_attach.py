"""Which calls are made for a program at an interface; what they do is in
`tests/system/test_tap_attach.py`.
"""

from __future__ import annotations

import pytest

from vagent.datapath.tap import attach as attaching
from vagent.datapath.tap.attach import FilterHook, Program, TcxHook, ingress_hook
from vagent.errors import KernelError
from vagent.kernel.tc import Filter

OURS, OLD, THEIRS = Program(10, 100), Program(11, 101), Program(12, 102)


class FakeTcx:
    """One interface's list of programs."""

    def __init__(self, *there: int) -> None:
        self.there = list(there)
        self.calls: list[str] = []

    def attached(self, ifindex: int) -> tuple[int, ...]:
        assert 7 == ifindex
        return tuple(self.there)

    def attach(self, ifindex: int, program: int, *, is_first: bool) -> None:
        self.calls.append(f"attach {ifindex} {program} {is_first}")

    def replace(self, ifindex: int, program: int, old: int) -> None:
        self.calls.append(f"replace {ifindex} {old} by {program}")

    def detach(self, ifindex: int, program: int) -> None:
        self.calls.append(f"detach {ifindex} {program}")

    def is_known(self) -> bool:
        return True


def with_tcx(monkeypatch: pytest.MonkeyPatch, *there: int) -> FakeTcx:
    made = FakeTcx(*there)
    monkeypatch.setattr(attaching, "tcx", made)
    return made


@pytest.mark.parametrize(
    ("there", "call"),
    [
        ((), ["attach 7 10 True"]),
        ((102,), ["attach 7 10 True"]),
        ((102, 101), ["replace 7 11 by 10"]),
        ((100,), []),
    ],
)
def test_by_tcx(
    monkeypatch: pytest.MonkeyPatch, there: tuple[int, ...], call: list[str]
) -> None:
    """Attached, in the place of a former one if there is one, and not twice."""
    tcx = with_tcx(monkeypatch, *there)
    TcxHook(is_first=True).attach(7, OURS, [OLD])
    assert call == tcx.calls


def test_only_ours_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there."""
    tcx = with_tcx(monkeypatch, 102, 100)
    hook = TcxHook(is_first=True)
    hook.detach(7, [OURS, OLD])
    assert ["detach 7 10"] == tcx.calls
    assert (True, False) == (hook.has(7, OURS), hook.has(7, OLD))
    assert ("tcx program 102",) == hook.in_front(7, OURS)
    assert () == hook.in_front(7, OLD)


def test_the_hook_that_the_kernel_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters where there is no tcx, or they are asked for."""
    with_tcx(monkeypatch)
    assert isinstance(ingress_hook(is_first=True, handle=5, name="v"), TcxHook)
    asked = ingress_hook(is_first=True, handle=5, name="v", by_filters=True)
    assert isinstance(asked, FilterHook)


class FakeTc:
    """One interface's filters."""

    def __init__(self, *there: Filter) -> None:
        self.there = list(there)
        self.calls: list[str] = []
        self.refuses = False

    def find(self, ifindex: int, *, handle: int, name: str) -> Filter | None:
        assert 7 == ifindex
        ours = [f for f in self.there if (f.handle, f.name) == (handle, name)]
        return ours[0] if ours else None

    def filters(self, ifindex: int) -> list[Filter]:
        if self.refuses:
            raise KernelError("no")
        return self.there

    def attach(
        self, ifindex: int, program: int, *, handle: int, name: str, is_first: bool
    ) -> None:
        self.calls.append(f"attach {ifindex} {program} {handle} {name} {is_first}")

    def detach(self, ifindex: int, *, handle: int, name: str) -> bool:
        self.calls.append(f"detach {ifindex} {handle} {name}")
        return True


def test_by_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by handle and name; another program of ours is replaced in its place."""
    theirs, ours = Filter(1, 3, 9, "u32", "", 0), Filter(2, 3, 5, "bpf", "v", 101)
    tc = FakeTc(theirs, ours)
    monkeypatch.setattr(attaching, "tc", tc)
    with_tcx(monkeypatch, 102)
    hook = FilterHook(is_first=False, handle=5, name="v")
    assert (False, True) == (hook.has(7, OURS), hook.has(7, OLD))
    hook.attach(7, OLD)
    assert [] == tc.calls
    hook.attach(7, OURS, [OLD])
    hook.detach(7, [OURS])
    assert ["attach 7 10 5 v False", "detach 7 5 v"] == tc.calls
    early, before = hook.in_front(7, OLD)
    assert ("tcx program 102", True) == (early, "u32" in before)
    assert () == hook.in_front(7, OURS)
    tc.refuses = True
    assert () == hook.in_front(7, OLD)
