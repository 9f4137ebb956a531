"""Promises of vagent.ports.registrar: durable before in force, one change at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from vagent.errors import ConflictError, KernelError, StoreError, WireError
from vagent.observe.event import Event
from vagent.ports.codec import PortRecord
from vagent.ports.events import (
    AddressLearned,
    PortFilesFollowed,
    PortFileSkipped,
    PortJournalFailed,
    PortsRestored,
    PortsUnsettled,
    StalePortsRemoved,
)
from vagent.ports.journal import FileChanges
from vagent.ports.port import PortOwner, Registration
from vagent.ports.registrar import LOOK_AGAIN, SETTLE_DEADLINE, STALE_AFTER, Registrar
from vagent.ports.registry import PortRegistry

Make = Callable[..., Any]
SKIPPED = PortFileSkipped("/state/ports/x", "not JSON")


@dataclass
class MemoryJournal:
    """A journal without a disk, which can be made to refuse or to wait."""

    directory: Path = Path("/state/ports")
    files: dict[str, Registration] = field(default_factory=dict)
    records: tuple[PortRecord, ...] = ()
    unsaved: frozenset[str] = frozenset()
    found: list[FileChanges] = field(default_factory=list)
    """What other programs did, for one look each."""
    refusal: StoreError | None = None
    stuck: set[str] = field(default_factory=set)
    """Ports whose files cannot be removed."""
    waiting: Deferred[None] | None = None

    async def load(self) -> tuple[PortRecord, ...]:
        return self.records

    async def changes(self) -> FileChanges:
        return self.found.pop(0) if self.found else FileChanges()

    async def write(self, registrations: Sequence[Registration]) -> None:
        await self._medium()
        self.files.update({r.port.id: r for r in registrations})

    async def delete(self, port_ids: Iterable[str]) -> None:
        await self._medium()
        ids = set(port_ids)
        if ids & self.stuck:
            raise StoreError(f"stuck: {ids & self.stuck}")
        for port_id in ids:
            self.files.pop(port_id, None)

    async def _medium(self) -> None:
        if self.waiting is not None:
            await self.waiting
        if self.refusal is not None:
            raise self.refusal


class Desk:
    """A registrar with everything around it in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.settling: list[Deferred[None]] = []
        self.slow_kernel = False
        self.kernel_error: Exception | None = None
        self.registry = PortRegistry(
            IPv4Network("169.254.64.0/28"),
            emit=self.events.append,
            own_interfaces=frozenset({"vagent0"}),
        )
        self.registrar = Registrar(
            self.registry,
            self.journal,  # type: ignore[arg-type]  # same methods
            settle=self.settle,
            emit=self.events.append,
            clock=self.clock,
        )

    async def settle(self) -> None:
        if self.kernel_error is not None:
            raise self.kernel_error
        if self.slow_kernel:
            self.settling.append(Deferred())
            await self.settling[-1]

    def start(self, work: Any) -> Any:
        seen: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(seen.append)
        return seen

    def ids(self) -> list[str]:
        return [r.port.id for r in self.registry.registrations()]

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def desk() -> Desk:
    """A fresh one."""
    return Desk()


def test_an_added_port_is_on_disk_and_in_force(
    desk: Desk, port: Make, result: Make
) -> None:
    """Both hold the same registration."""
    [added] = result(desk.registrar.add([port(1)]))
    assert desk.journal.files == {added.port.id: added}
    assert desk.registry.get(added.port.id) is added


def test_nothing_is_in_force_before_it_is_on_disk(desk: Desk, port: Make) -> None:
    """A crash between the two loses nothing that a caller was told."""
    desk.journal.waiting = Deferred()
    seen = desk.start(desk.registrar.add([port(1)]))
    assert (seen, desk.ids()) == ([], [])
    desk.journal.waiting.callback(None)
    assert desk.ids() == [port(1).id]
    assert len(seen) == 1


def test_a_full_disk_refuses_the_port(desk: Desk, port: Make, result: Make) -> None:
    """Nothing in force, the number free again, the operator told."""
    desk.journal.refusal = StoreError("disk full")
    for _ in range(20):
        with pytest.raises(StoreError, match="disk full"):
            result(desk.registrar.add([port(1)]))
    assert desk.ids() == []
    assert [str(e.text()) for e in desk.of(PortJournalFailed)] == [
        "Error: disk full"
    ] * 20
    desk.journal.refusal = None
    assert len(result(desk.registrar.add([port(n) for n in range(13)]))) == 13


def test_a_conflict_never_reaches_the_disk(
    desk: Desk, port: Make, result: Make
) -> None:
    """Refused is refused after a restart, too."""
    with pytest.raises(ConflictError):
        result(desk.registrar.add([port(1), port(2, system_name="tap1")]))
    assert desk.journal.files == {}


def test_changes_are_in_the_order_of_their_calls(desk: Desk, port: Make) -> None:
    """A removal that is called after an addition wins, however slow the disk is."""
    desk.journal.waiting = Deferred()
    first = desk.start(desk.registrar.add([port(1)]))
    second = desk.start(desk.registrar.remove([port(1).id]))
    slow, desk.journal.waiting = desk.journal.waiting, None
    slow.callback(None)
    assert len(first) == len(second) == 1
    assert (desk.ids(), desk.journal.files) == ([], {})


def test_the_reply_waits_for_the_kernel(desk: Desk, port: Make) -> None:
    """200 means that the guest is served."""
    desk.slow_kernel = True
    seen = desk.start(desk.registrar.add([port(1)]))
    desk.clock.advance(SETTLE_DEADLINE - 0.1)
    assert seen == []
    desk.settling[0].callback(None)
    assert [r.port.id for r in seen[0]] == [port(1).id]
    assert desk.clock.getDelayedCalls() == []


def test_one_slow_kernel_does_not_hold_up_the_next_call(desk: Desk, port: Make) -> None:
    """Settling is outside of the lock."""
    desk.slow_kernel = True
    desk.start(desk.registrar.add([port(1)]))
    desk.start(desk.registrar.add([port(2)]))
    assert len(desk.ids()) == 2


def test_a_kernel_that_never_answers_is_an_error_and_not_cancelled(
    desk: Desk, port: Make
) -> None:
    """At the deadline the caller is told; the port stays, and so does the work."""
    desk.slow_kernel = True
    seen = desk.start(desk.registrar.add([port(1)]))
    desk.clock.advance(SETTLE_DEADLINE)
    assert seen[0].check(KernelError)
    assert "has not taken it within 5 s" in seen[0].getErrorMessage()
    assert not desk.settling[0].called
    desk.settling[0].callback(None)
    assert desk.ids() == [port(1).id]


def test_what_the_kernel_refuses_is_told(desk: Desk, port: Make, result: Make) -> None:
    """An addition raises; a removal reports, as the guest is out either way."""
    desk.kernel_error = KernelError("nft said no")
    with pytest.raises(KernelError, match="nft said no"):
        result(desk.registrar.add([port(1)]))
    assert len(result(desk.registrar.remove([port(1).id]))) == 1
    assert [e.text() for e in desk.of(PortsUnsettled)] == ["Error: nft said no"]


def test_removing_what_is_not_there_is_fine(desk: Desk, result: Make) -> None:
    """Contrail: always 200. The file goes even if the port is unknown."""
    desk.kernel_error = KernelError("not asked")
    desk.journal.files = {"ghost": None}  # type: ignore[dict-item]  # never read
    assert result(desk.registrar.remove(["ghost"])) == ()
    assert desk.journal.files == {}


def test_a_port_whose_file_stays_stays(desk: Desk, port: Make, result: Make) -> None:
    """It would be back after a restart, so it is not gone before; who asks is told."""
    result(desk.registrar.add([port(1), port(2)]))
    desk.journal.refusal = StoreError("read-only")
    with pytest.raises(StoreError, match="read-only"):
        result(desk.registrar.remove([port(1).id, port(2).id]))
    assert [port(1).id, port(2).id] == desk.ids()
    assert ["Error: read-only"] == [e.text() for e in desk.of(PortJournalFailed)]
    desk.journal.refusal = None
    assert 2 == len(result(desk.registrar.remove([port(1).id, port(2).id])))
    assert [] == desk.ids()


def test_a_port_is_in_force_until_its_file_is_gone(desk: Desk, port: Make) -> None:
    """What is in force is never less than what a restart would find."""
    desk.start(desk.registrar.add([port(1)]))
    desk.journal.waiting = Deferred()
    removed = desk.start(desk.registrar.remove([port(1).id]))
    assert ([port(1).id], []) == (desk.ids(), removed)
    desk.journal.waiting.callback(None)
    assert ([], 1) == (desk.ids(), len(removed))


def test_link_state_of_the_right_type_only(
    desk: Desk, port: Make, result: Make
) -> None:
    """enable-port and disable-port are for remote ports, and are durable.
    (Contrail: Vcenter_Port_Add_Del.)
    """
    result(desk.registrar.add([port(1, type=2), port(2)]))
    remote, virtual = port(1).id, port(2).id
    set_link = desk.registrar.set_link
    assert result(set_link(remote, up=True, kind=2)).port.link_up is True
    assert desk.journal.files[remote].port.link_up is True
    assert result(set_link(remote, up=False, kind=2)).port.link_up is False
    assert result(set_link("unknown", up=True, kind=2)) is None
    with pytest.raises(WireError, match=f"Incorrect Port type for {virtual}"):
        result(set_link(virtual, up=True, kind=2))


def record(port: Any, identity: str | None) -> PortRecord:
    return PortRecord(port, IPv4Address(identity) if identity else None)


def test_a_restart_brings_ports_back_with_their_identities(
    desk: Desk, port: Make, result: Make
) -> None:
    """A file without an identity gets one, and it is written down."""
    desk.journal.records = (
        record(port(1), None),
        record(port(2), "169.254.64.7"),
    )
    assert result(desk.registrar.restore()) == 2
    assert desk.registry.at("169.254.64.7").port == port(2)  # type: ignore[union-attr]
    assert list(desk.journal.files) == [port(1).id]
    assert [e.text() for e in desk.of(PortsRestored)] == ["2 ports restored"]


def test_files_that_contradict_each_other(desk: Desk, port: Make, result: Make) -> None:
    """The first counts, the other is reported, and its identity is not lost."""
    desk.journal.records = (
        record(port(1), "169.254.64.7"),
        record(port(2, system_name="tap1"), "169.254.64.8"),
        record(port(3), "169.254.64.7"),
    )
    assert result(desk.registrar.restore()) == 2
    [skipped] = desk.of(PortFileSkipped)
    assert skipped.text().startswith(f"Error: port file /state/ports/{port(2).id}")
    result(desk.registrar.add([port(n) for n in range(4, 15)]))
    assert len(desk.registry) == 13


def test_a_file_with_an_interface_of_the_agent_is_skipped_at_the_start(
    desk: Desk, port: Make, result: Make
) -> None:
    """And it is said why; the others are served."""
    desk.journal.records = (
        record(port(1, system_name="vagent0"), "169.254.64.7"),
        record(port(2), "169.254.64.8"),
    )
    assert result(desk.registrar.restore()) == 1
    assert [port(2).id] == desk.ids()
    [skipped] = desk.of(PortFileSkipped)
    assert "tap vagent0 is an interface of the agent itself" in skipped.text()


def test_a_restart_on_a_full_disk_goes_on(desk: Desk, port: Make, result: Make) -> None:
    """Guests are served; that identities may change is reported."""
    desk.journal.records = (record(port(1), None),)
    desk.journal.refusal = StoreError("disk full")
    assert result(desk.registrar.restore()) == 1
    assert len(desk.of(PortJournalFailed)) == 1


def test_after_a_sync_the_silent_ports_go(desk: Desk, port: Make, result: Make) -> None:
    """What is registered again, or newly, stays; the rest goes, from disk as well.
    (Contrail: Port_Sync.)
    """
    result(desk.registrar.add([port(1), port(2)]))
    desk.registrar.sync()
    desk.clock.advance(STALE_AFTER - 1)
    result(desk.registrar.add([port(2), port(3)]))
    assert len(desk.ids()) == 3
    desk.clock.advance(1)
    assert desk.ids() == [port(2).id, port(3).id]
    assert set(desk.journal.files) == {port(2).id, port(3).id}
    assert [e.text() for e in desk.of(StalePortsRemoved)] == [
        "1 stale ports removed after syncports"
    ]


def test_a_sync_leaves_the_watchers_ports(desk: Desk, port: Make, result: Make) -> None:
    """No client of Contrail's would register them again."""
    watched = replace(port(1), owner=PortOwner.WATCHER)
    result(desk.registrar.add([watched, port(2)]))
    desk.registrar.sync()
    desk.clock.advance(STALE_AFTER)
    assert desk.ids() == [watched.id]


def test_who_removes_for_an_owner_leaves_others_ports(
    desk: Desk, port: Make, result: Make
) -> None:
    """On the disk, too; what is not there does not matter."""
    watched = replace(port(1), owner=PortOwner.WATCHER)
    result(desk.registrar.add([watched, port(2)]))
    wanted = [watched.id, port(2).id, port(3).id]
    removed = result(desk.registrar.remove(wanted, owner=PortOwner.WATCHER))
    assert [watched.id] == [each.port.id for each in removed]
    assert [port(2).id] == desk.ids() == list(desk.journal.files)


def test_explicit_ports_come_back_before_the_watchers(
    desk: Desk, port: Make, result: Make
) -> None:
    """Where both name one tap, after a restart the watcher's gives way."""
    one, two = port(1), port(2)
    watched = replace(min(one, two, key=lambda p: p.id), owner=PortOwner.WATCHER)
    theirs = replace(max(one, two, key=lambda p: p.id), tap=watched.tap)
    desk.journal.records = (PortRecord(watched, None), PortRecord(theirs, None))
    assert 1 == result(desk.registrar.restore())
    assert [theirs.id] == desk.ids()


def test_a_second_sync_starts_anew(desk: Desk, port: Make, result: Make) -> None:
    """Its time counts, and what was said before it does not."""
    result(desk.registrar.add([port(1)]))
    desk.registrar.sync()
    result(desk.registrar.add([port(1)]))
    desk.clock.advance(STALE_AFTER / 2)
    desk.registrar.sync()
    desk.clock.advance(STALE_AFTER - 1)
    assert len(desk.ids()) == 1
    desk.clock.advance(1)
    assert desk.ids() == []


def test_a_stale_port_whose_file_stays_is_tried_again(
    desk: Desk, port: Make, result: Make
) -> None:
    """It stays registered, the others go, and after STALE_AFTER it is tried again."""
    result(desk.registrar.add([port(1), port(2), port(3)]))
    desk.registrar.sync()
    desk.journal.stuck = {port(2).id}
    desk.clock.advance(STALE_AFTER)
    assert [port(2).id] == desk.ids()
    desk.clock.advance(STALE_AFTER)
    assert [port(2).id] == desk.ids()
    desk.journal.stuck = set()
    desk.clock.advance(STALE_AFTER)
    assert [] == desk.ids()
    assert ["2 stale", "1 stale"] == [e.text()[:7] for e in desk.of(StalePortsRemoved)]
    assert [] == desk.clock.getDelayedCalls()


def test_a_port_refused_after_a_sync_is_not_seen(
    desk: Desk, port: Make, result: Make
) -> None:
    """Only what was really registered counts."""
    result(desk.registrar.add([port(1)]))
    desk.registrar.sync()
    desk.journal.refusal = StoreError("full")
    with pytest.raises(StoreError):
        result(desk.registrar.add([port(1)]))
    desk.journal.refusal = None
    desk.clock.advance(STALE_AFTER)
    assert desk.ids() == []


def test_stop_ends_a_sync(desk: Desk, port: Make, result: Make) -> None:
    """A stopped agent removes nothing, and leaves no timer."""
    result(desk.registrar.add([port(1)]))
    desk.registrar.sync()
    desk.registrar.stop()
    desk.registrar.stop()
    assert desk.clock.getDelayedCalls() == []


def test_a_broken_sweep_is_reported(desk: Desk, port: Make, result: Make) -> None:
    """Border: nobody awaits the sweep."""
    result(desk.registrar.add([port(1)]))
    desk.registrar.sync()
    desk.kernel_error = RuntimeError("bug")
    desk.clock.advance(STALE_AFTER)
    assert [e.text() for e in desk.of(PortsUnsettled)] == [
        "Error: sweep of stale ports: RuntimeError('bug')"
    ]


def test_repr_says_what_is_awaited(desk: Desk) -> None:
    """For logs and failing tests."""
    assert repr(desk.registrar).endswith("0 unseen since sync>")


def test_further_addresses_have_the_identities_of_their_files(
    desk: Desk, port: Make, result: Make
) -> None:
    """Those that a file does not name get new ones, and the file is written again; of a
    port that cannot come back all are free.
    """
    network = IPv4Address("169.254.64.0")
    more = {"further_addresses": ["10.9.0.1", "10.9.0.2"]}
    mine = port(1, **more)
    twin = port(2, system_name="tap1")
    desk.journal.records = (
        PortRecord(mine, network + 5, (network + 9,)),
        PortRecord(twin, network + 6, (network + 7,)),
        PortRecord(port(3, **more), network + 3, (network + 4, network + 8)),
    )
    assert 2 == result(desk.registrar.restore())
    made = desk.registry.get(mine.id)
    assert made is not None
    assert (5, 9) == made.indexes[:2]
    assert [mine.id] == list(desk.journal.files)
    assert 1 == len(desk.of(PortFileSkipped))
    last = result(desk.registrar.add([port(n) for n in range(4, 11)]))
    assert 7 == len(last)


def look(desk: Desk, changes: FileChanges) -> None:
    """One look at the files, after which this was found."""
    desk.journal.found.append(changes)
    desk.clock.advance(LOOK_AGAIN)


def test_ports_follow_the_files_of_other_programs(
    desk: Desk, port: Make, result: Make
) -> None:
    """A new file is a port, a changed one replaces it, one that went takes it along;
    that is looked at once at the start, and then from time to time.
    """
    one, two, three = port(1), port(2), port(3)
    result(desk.registrar.add([one]))
    desk.journal.found = [FileChanges(appeared=(record(two, None),))]
    desk.registrar.follow_files()
    assert [one.id, two.id] == desk.ids()
    assert two.id in desk.journal.files
    moved = replace(two, tap="tap9")
    gone = FileChanges((record(moved, None), record(three, None)), gone=(one.id, "x"))
    look(desk, gone)
    assert [two.id, three.id] == desk.ids()
    assert "tap9" == desk.registry.registrations()[0].port.tap
    assert one.id not in desk.journal.files
    said = [each.text() for each in desk.of(PortFilesFollowed)]
    assert ["1 ports added, 0 removed", "2 ports added, 1 removed"] == [
        text.partition(", as")[0] for text in said
    ]


def test_a_file_that_cannot_be_a_port_does_not_stop_the_others(
    desk: Desk, port: Make, result: Make
) -> None:
    """It contradicts a port that is there; that is told."""
    result(desk.registrar.add([port(1)]))
    thief = replace(port(2), tap="tap1")
    desk.journal.found = [
        FileChanges((record(thief, None), record(port(3), None)), skipped=(SKIPPED,))
    ]
    desk.registrar.follow_files()
    assert [port(1).id, port(3).id] == desk.ids()
    told = [each.text() for each in desk.of(PortFileSkipped)]
    assert 2 == len(told)
    assert thief.id in told[0]


def test_a_file_that_names_an_interface_of_the_agent_changes_nothing(
    desk: Desk, port: Make, result: Make
) -> None:
    """The port keeps the tap that it has, and that is told."""
    result(desk.registrar.add([port(1)]))
    desk.journal.found = [FileChanges((record(replace(port(1), tap="vagent0"), None),))]
    desk.registrar.follow_files()
    assert ["tap1"] == [each.port.tap for each in desk.registry.registrations()]
    [skipped] = desk.of(PortFileSkipped)
    assert "tap vagent0 is an interface of the agent itself" in skipped.text()


def test_a_file_on_a_full_disk_is_told_and_the_next_look_comes(
    desk: Desk, port: Make
) -> None:
    """Nothing is registered that a restart would not find."""
    desk.journal.refusal = StoreError("no space")
    desk.journal.found = [FileChanges((record(port(1), None),))]
    desk.registrar.follow_files()
    assert [] == desk.ids()
    assert desk.of(PortJournalFailed)
    desk.journal.refusal = None
    look(desk, FileChanges((record(port(1), None),)))
    assert [port(1).id] == desk.ids()


def test_a_folder_that_cannot_be_looked_at_is_told_once(desk: Desk) -> None:
    """And again when it was well in between."""
    lost = FileChanges(failures=("/x is another folder",))
    desk.registrar.follow_files()
    for changes in (lost, lost, FileChanges(), lost):
        look(desk, changes)
    assert 2 == len(desk.of(PortJournalFailed))


def test_a_fault_of_a_look_is_told_and_the_next_comes(desk: Desk, port: Make) -> None:
    """Whatever it was."""
    desk.registrar.follow_files()
    look(desk, cast("Any", None))
    assert desk.of(PortsUnsettled)
    look(desk, FileChanges((record(port(1), None),)))
    assert [port(1).id] == desk.ids()


def test_after_stop_no_file_is_followed(desk: Desk) -> None:
    """No timer is left."""
    desk.registrar.follow_files()
    desk.registrar.stop()
    assert [] == desk.clock.getDelayedCalls()


def test_what_other_programs_wrote_before_the_start_is_written_anew(
    desk: Desk, port: Make, result: Make
) -> None:
    """Though its identity is the one that our file names."""
    one = port(1)
    identity = str(result(desk.registrar.add([one]))[0].identity)
    other = Desk()
    other.journal.records = (record(one, identity),)
    other.journal.unsaved = frozenset([one.id])
    result(other.registrar.restore())
    assert [one.id] == list(other.journal.files)


def test_a_learned_address_is_on_disk_and_in_force(
    desk: Desk, port: Make, result: Make
) -> None:
    """Both hold the same registration; each change is told once, with what was
    before.
    """
    [added] = result(desk.registrar.add([port(1, learn=True, ip_address="None")]))
    port_id = added.port.id
    for address in ("10.0.0.5", "10.0.0.6", "10.0.0.6", "2001:db8::5"):
        result(desk.registrar.learn(port_id, ip_address(address)))
    found = desk.registry.get(port_id)
    assert found is desk.journal.files[port_id]
    assert ("10.0.0.6", "2001:db8::5") == tuple(map(str, found.port.addresses))
    assert [
        AddressLearned(port_id, "tap1", "10.0.0.5", ""),
        AddressLearned(port_id, "tap1", "10.0.0.6", "10.0.0.5"),
        AddressLearned(port_id, "tap1", "2001:db8::5", ""),
    ] == desk.of(AddressLearned)
    assert [
        f"Port {port_id} tap tap1 learned 10.0.0.5",
        f"Port {port_id} tap tap1 learned 10.0.0.6 instead of 10.0.0.5",
    ] == [event.text() for event in desk.of(AddressLearned)[:2]]


def test_a_port_that_does_not_learn_or_is_gone(
    desk: Desk, port: Make, result: Make
) -> None:
    """Stays as it is: it may have changed while the address was on its way."""
    [added] = result(desk.registrar.add([port(1)]))
    for port_id in (added.port.id, port(2).id):
        result(desk.registrar.learn(port_id, IPv4Address("10.0.0.9")))
    assert [added] == [*desk.registry.registrations()]
    assert [] == desk.of(AddressLearned)


def test_what_the_disk_refuses_is_not_learned(
    desk: Desk, port: Make, result: Make
) -> None:
    """A restart would not find it."""
    [added] = result(desk.registrar.add([port(1, learn=True, ip_address="None")]))
    desk.journal.refusal = StoreError("disk full")
    with pytest.raises(StoreError, match="disk full"):
        result(desk.registrar.learn(added.port.id, IPv4Address("10.0.0.9")))
    assert added is desk.registry.get(added.port.id)
    assert [] == desk.of(AddressLearned)


def test_a_kernel_that_does_not_take_what_was_learned(
    desk: Desk, port: Make, result: Make
) -> None:
    """Is reported; the work goes on."""
    [added] = result(desk.registrar.add([port(1, learn=True, ip_address="None")]))
    desk.kernel_error = KernelError("refused")
    result(desk.registrar.learn(added.port.id, IPv4Address("10.0.0.9")))
    assert [PortsUnsettled("refused")] == desk.of(PortsUnsettled)


def test_learning_does_not_keep_a_port_that_no_client_registered_again(
    desk: Desk, port: Make, result: Make
) -> None:
    """After a sync the guest is seen, not the client."""
    [added] = result(desk.registrar.add([port(1, learn=True, ip_address="None")]))
    desk.registrar.sync()
    result(desk.registrar.learn(added.port.id, IPv4Address("10.0.0.9")))
    desk.clock.advance(STALE_AFTER)
    assert [] == desk.ids()
