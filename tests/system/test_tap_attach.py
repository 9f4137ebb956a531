"""Programs at an interface's ingress, beside what others have there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from lab.namespaces import Machine, inside
from vagent.datapath.tap.attach import IngressHook, Program, ingress_hook
from vagent.datapath.taps import LinkMonitor
from vagent.kernel import bpf, tc, tcx
from vagent.kernel.bpf_assembler import Code, Op
from vagent.kernel.tc import DisciplineChange

pytestmark = pytest.mark.kernel

PASS = 0xFFFFFFFF
OTHERS = ("ingress", "clsact")
"""Queueing disciplines that libvirt's `<bandwidth>`, Open vSwitch's policing and the
CNI bandwidth plug-in add: the first one; others the second one."""


def program(name: str) -> Program:
    code = Code()
    code.put(Op.MOV, 0, PASS)
    code.leave()
    return Program.of(bpf.load(code.assembled(), name))


class Tap:
    """An interface, with two of our programs loaded."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("ip", "link", "add", "tap1", "type", "veth", "peer", "name", "p1")
        self.ifindex = inside(machine.name, lambda: socket.if_nametoindex("tap1"))
        self.ours, self.newer = program("ours"), program("newer")

    def hook(self, *, by_filters: bool, is_first: bool = True) -> IngressHook:
        def make() -> IngressHook:
            return ingress_hook(
                is_first=is_first, handle=7, name="vagent", by_filters=by_filters
            )

        return inside(self.machine.name, make)

    def do(self, call: object, *arguments: object) -> object:
        assert callable(call)
        return inside(self.machine.name, lambda: call(*arguments))

    def add_theirs(self) -> None:
        """A filter of somebody else, in the midst of the preferences."""
        self.tc("qdisc", "add", "dev", "tap1", "clsact", check=False)
        their = program("theirs").descriptor

        def add() -> None:
            tc.attach(self.ifindex, their, handle=3, name="theirs", is_first=True)

        inside(self.machine.name, add)

    def tc(self, *argv: str, check: bool = True) -> str:
        return self.machine.run("tc", *argv, check=check)


@pytest.fixture
def tap() -> Iterator[Tap]:
    """In a machine of its own."""
    machine = Machine.create("vt-attach")
    yield Tap(machine)
    machine.destroy()


WAYS = [pytest.param(True, id="filters")] + (
    [pytest.param(False, id="tcx")] if tcx.is_known() else []
)


@pytest.mark.parametrize("by_filters", WAYS)
def test_a_program_comes_is_replaced_and_goes(tap: Tap, *, by_filters: bool) -> None:
    """Each of them once; what is done already is not done again."""
    hook = tap.hook(by_filters=by_filters)
    for _ in range(2):
        tap.do(hook.attach, tap.ifindex, tap.ours)
    assert (True, False) == (
        tap.do(hook.has, tap.ifindex, tap.ours),
        tap.do(hook.has, tap.ifindex, tap.newer),
    )
    tap.do(hook.attach, tap.ifindex, tap.newer, [tap.ours])
    assert (False, True) == (
        tap.do(hook.has, tap.ifindex, tap.ours),
        tap.do(hook.has, tap.ifindex, tap.newer),
    )
    for _ in range(2):
        tap.do(hook.detach, tap.ifindex, [tap.newer, tap.ours])
    assert not tap.do(hook.has, tap.ifindex, tap.newer)


@pytest.mark.parametrize("by_filters", WAYS)
def test_an_interface_that_has_gone_is_no_error(tap: Tap, *, by_filters: bool) -> None:
    """Its port will be detached when the kernel tells."""
    hook = tap.hook(by_filters=by_filters)
    tap.machine.run("ip", "link", "del", "tap1")
    tap.do(hook.attach, tap.ifindex, tap.ours)
    assert not tap.do(hook.has, tap.ifindex, tap.ours)
    tap.do(hook.detach, tap.ifindex, [tap.ours])


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("by_filters", WAYS)
def test_beside_others_that_were_there_before(
    tap: Tap, kind: str, *, by_filters: bool
) -> None:
    """Whichever discipline they have is used, and kept with their filters."""
    tap.tc("qdisc", "add", "dev", "tap1", kind)
    tap.add_theirs()
    hook = tap.hook(by_filters=by_filters)
    tap.do(hook.attach, tap.ifindex, tap.ours)
    assert tap.do(hook.has, tap.ifindex, tap.ours)
    assert () == tap.do(hook.in_front, tap.ifindex, tap.ours)
    tap.do(hook.detach, tap.ifindex, [tap.ours])
    assert "theirs" in tap.tc("filter", "show", "dev", "tap1", "ingress")


@pytest.mark.parametrize("kind", OTHERS)
def test_others_come_and_go_as_they_like(tap: Tap, kind: str) -> None:
    """With tcx: theirs is not refused, and does not take ours away."""
    if not tcx.is_known():
        pytest.skip("this kernel has no tcx (Linux 6.6); see make test")
    hook = tap.hook(by_filters=False)
    tap.do(hook.attach, tap.ifindex, tap.ours)
    tap.tc("qdisc", "del", "dev", "tap1", "ingress", check=False)
    tap.tc("qdisc", "add", "dev", "tap1", kind)
    tap.tc("qdisc", "del", "dev", "tap1", kind)
    assert tap.do(hook.has, tap.ifindex, tap.ours)


@pytest.mark.parametrize("by_filters", WAYS)
def test_last_lets_others_go_first_and_names_them(
    tap: Tap, *, by_filters: bool
) -> None:
    """First does not, where the kernel lets us."""
    hook = tap.hook(by_filters=by_filters, is_first=False)
    if by_filters:
        tap.tc("qdisc", "add", "dev", "tap1", "ingress")
        tap.add_theirs()
    else:
        tap.do(lambda: tcx.attach(tap.ifindex, tap.newer.descriptor, is_first=True))
    tap.do(hook.attach, tap.ifindex, tap.ours)
    before = tap.do(hook.in_front, tap.ifindex, tap.ours)
    assert isinstance(before, tuple)
    theirs = "theirs" if by_filters else f"program {tap.newer.number}"
    assert [True] == [theirs in each for each in before]


def test_filters_of_others_are_listed_and_not_touched(tap: Tap) -> None:
    """By preference, handle, kind and name."""
    tap.tc("qdisc", "add", "dev", "tap1", "clsact")
    tap.add_theirs()
    hook = tap.hook(by_filters=True)
    tap.do(hook.attach, tap.ifindex, tap.ours)
    found = tap.do(lambda: list(tc.filters(tap.ifindex)))
    assert isinstance(found, list)
    assert {"theirs", "vagent"} == {each.name for each in found}
    tap.do(hook.detach, tap.ifindex, [tap.ours])
    found = tap.do(lambda: list(tc.filters(tap.ifindex)))
    assert isinstance(found, list)
    assert {"theirs"} == {each.name for each in found}


@pytest.mark.parametrize("kind", OTHERS)
def test_whoever_takes_our_filter_away_is_heard(tap: Tap, kind: str) -> None:
    """What others do with their disciplines is what libvirt's <bandwidth> and Open
    vSwitch's policing do: remove ingress, and add it anew. Ours is no obstacle. No
    other discipline, and no interface that goes, is heard as that.
    """
    heard: list[DisciplineChange] = []
    monitor = LinkMonitor(lambda _names: None, heard.append, reactor=Mock())
    tap.do(monitor.open)
    hook = tap.hook(by_filters=True)
    tap.do(hook.attach, tap.ifindex, tap.ours)
    tap.tc("qdisc", "add", "dev", "tap1", "root", "pfifo")
    tap.tc("qdisc", "del", "dev", "tap1", "ingress")
    tap.tc("qdisc", "add", "dev", "tap1", kind)
    assert not tap.do(hook.has, tap.ifindex, tap.ours)
    tap.do(hook.attach, tap.ifindex, tap.ours)
    assert tap.do(hook.has, tap.ifindex, tap.ours)
    assert kind in tap.tc("qdisc", "show", "dev", "tap1")
    tap.machine.run("ip", "link", "del", "tap1")
    monitor.doRead()
    monitor.close()
    come, gone = (DisciplineChange(tap.ifindex, is_gone=each) for each in (False, True))
    assert [come, gone, come] == heard
