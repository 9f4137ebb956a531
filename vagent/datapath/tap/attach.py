"""How a program gets at the ingress of an interface, so that others keep their place.

tcx where the kernel has it (Linux 6.6), traffic control's filters elsewhere. What is
attached outlives the agent; nothing of others is ever removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from vagent.errors import KernelError
from vagent.kernel import bpf, tc, tcx


class Program(NamedTuple):
    """A loaded program: its descriptor, and the number by which the kernel lists it."""

    descriptor: int
    number: int

    @classmethod
    def of(cls, descriptor: int) -> Program:
        """The program with this descriptor. Raises KernelError."""
        return cls(descriptor, bpf.number_of(descriptor))


class IngressHook(Protocol):
    """Where programs are attached. Every method may raise KernelError."""

    def attach(
        self, ifindex: int, program: Program, former: Sequence[Program] = ()
    ) -> None:
        """Attach it unless it is there, in the place of a former one if one is."""

    def detach(self, ifindex: int, programs: Sequence[Program]) -> None:
        """Take these off an interface, which may be gone."""

    def has(self, ifindex: int, program: Program) -> bool:
        """Is it attached?"""

    def in_front(self, ifindex: int, program: Program) -> tuple[str, ...]:
        """What of others runs before it, in words."""


class TcxHook:
    """By tcx."""

    def __init__(self, *, is_first: bool) -> None:
        self._is_first = is_first

    def attach(
        self, ifindex: int, program: Program, former: Sequence[Program] = ()
    ) -> None:
        there = tcx.attached(ifindex)
        if program.number in there:
            return
        for old in former:
            if old.number in there:
                tcx.replace(ifindex, program.descriptor, old.descriptor)
                return
        tcx.attach(ifindex, program.descriptor, is_first=self._is_first)

    def detach(self, ifindex: int, programs: Sequence[Program]) -> None:
        there = tcx.attached(ifindex)
        for each in programs:
            if each.number in there:
                tcx.detach(ifindex, each.descriptor)

    def has(self, ifindex: int, program: Program) -> bool:
        return program.number in tcx.attached(ifindex)

    def in_front(self, ifindex: int, program: Program) -> tuple[str, ...]:
        there = tcx.attached(ifindex)
        if program.number not in there:
            return ()
        before = there[: there.index(program.number)]
        return tuple(f"tcx program {number}" for number in before)


class FilterHook:
    """By filters of traffic control, which are known by handle and name."""

    def __init__(self, *, is_first: bool, handle: int, name: str) -> None:
        self._is_first = is_first
        self._handle = handle
        self._name = name

    def attach(
        self, ifindex: int, program: Program, former: Sequence[Program] = ()
    ) -> None:
        del former  # a filter with our handle and name is replaced
        if not self.has(ifindex, program):
            tc.attach(
                ifindex,
                program.descriptor,
                handle=self._handle,
                name=self._name,
                is_first=self._is_first,
            )

    def detach(self, ifindex: int, programs: Sequence[Program]) -> None:
        del programs
        tc.detach(ifindex, handle=self._handle, name=self._name)

    def has(self, ifindex: int, program: Program) -> bool:
        found = tc.find(ifindex, handle=self._handle, name=self._name)
        return found is not None and found.program == program.number

    def in_front(self, ifindex: int, program: Program) -> tuple[str, ...]:
        before: list[str] = []
        with suppress(KernelError):
            if tcx.is_known():
                before += [f"tcx program {each}" for each in tcx.attached(ifindex)]
            for each in tc.filters(ifindex):
                if each.program == program.number:
                    return tuple(before)
                before.append(f"filter {each.name or each.kind} ({each.preference})")
        return ()


def ingress_hook(
    *, is_first: bool, handle: int, name: str, by_filters: bool = False
) -> IngressHook:
    """What this kernel has, or filters where it is asked for them."""
    if by_filters or not tcx.is_known():
        return FilterHook(is_first=is_first, handle=handle, name=name)
    return TcxHook(is_first=is_first)
