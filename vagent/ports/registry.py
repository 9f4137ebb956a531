"""The ports that exist, each with its identity address, in memory.

A change is decided first (`plan`, which only sets identity numbers aside), then written
to disk by the caller, then put in force (`commit`): every port in force is one that a
restart finds. A port has an identity address of its own and keeps it only as long as it
is the same guest on the same tap. A tap belongs to one instance; otherwise a guest
could claim the address of an earlier one whose port nobody removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from vagent.errors import ConflictError, LimitError
from vagent.observe.event import Emit
from vagent.ports.events import PortRegistered, PortRemoved
from vagent.ports.identity import index_of, read_identity
from vagent.ports.index_pool import IndexPool
from vagent.ports.port import Port, Registration, Slot
from vagent.ports.tap import check_owner, check_tap, is_same_guest, renewed

MAX_PORTS = 16_000
"""Ports of one host: what the default identity range (/18) holds, rounded down."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of ports, as subscribers are told of it. A port that was replaced is in
    both, with the same index if it kept its identity address.
    """

    added: tuple[Registration, ...] = ()
    removed: tuple[Registration, ...] = ()

    def pairs(self) -> Iterator[tuple[Registration | None, Registration | None]]:
        """Old and new registration of each port: first those that are removed, with
        None as the new one, then the others, with None as the old one of a port that is
        new.
        """
        old = {registration.port.id: registration for registration in self.removed}
        new = {registration.port.id: registration for registration in self.added}
        for port_id in old.keys() - new.keys():
            yield old[port_id], None
        for port_id, registration in new.items():
            yield old.get(port_id), registration


@dataclass(frozen=True, slots=True)
class Plan:
    """A change that was decided: one registration for each port asked for.

    `fresh` are the identity numbers set aside for it; `abandon` gives them back.
    """

    registrations: tuple[Registration, ...]
    change: Change
    fresh: tuple[int, ...]


class PortRegistry:
    """The registrations, by port id, by identity address and by index.

    `guests` has them by each of their indexes. Other rooms read this table; it is
    changed here alone. `own_interfaces` are the names of the agent's own interfaces,
    through which every guest's traffic goes: none of them can be a guest's tap.
    """

    def __init__(
        self,
        network: IPv4Network,
        *,
        emit: Emit,
        own_interfaces: frozenset[str] = frozenset(),
    ) -> None:
        self.guests: dict[int, Registration] = {}
        self._pool = IndexPool(network)
        self._start = int(network.network_address)
        self._emit = emit
        self._own_interfaces = own_interfaces
        self._by_id: dict[str, Registration] = {}
        self._by_identity: dict[str, Registration] = {}
        self._on_tap: dict[str, set[str]] = {}
        self._of_instance: dict[str, dict[str, Port]] = {}
        self._all: tuple[Registration, ...] | None = None
        self._subscribers: list[Callable[[Change], None]] = []

    def __repr__(self) -> str:
        return f"<PortRegistry {len(self._by_id)} ports, {self._pool!r}>"

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, port_id: str) -> Registration | None:
        """The registration of a port."""
        return self._by_id.get(port_id)

    def at(self, peer: str) -> Registration | None:
        """The registration with this identity address; `peer` is the text of a socket's
        peer address.
        """
        # IPv4 is looked up as text: this is asked for each request.
        if ":" not in peer:
            return self._by_identity.get(peer)
        return self.guests.get(read_identity(peer, self._start)[0])

    def ports_of(self, instance_id: str) -> tuple[Port, ...]:
        """The ports of an instance, oldest first."""
        return tuple(self._of_instance.get(instance_id, {}).values())

    def on_tap(self, tap: str) -> tuple[Registration, ...]:
        """The registrations on a tap, whether it is there or not."""
        return tuple(self._by_id[port_id] for port_id in self._on_tap.get(tap, ()))

    def registrations(self) -> tuple[Registration, ...]:
        """All of them, oldest first; the same object until something changes."""
        if self._all is None:
            self._all = tuple(self._by_id.values())
        return self._all

    def subscribe(self, changed: Callable[[Change], None]) -> None:
        """Call `changed` after each change that has an effect. It must not raise."""
        self._subscribers.append(changed)

    def add(self, ports: Iterable[Port]) -> list[Registration]:
        """Plan and commit in one step. Raises what `plan` raises, and then adds
        nothing.
        """
        plan = self.plan(ports)
        self.commit(plan)
        return list(plan.registrations)

    def hold(self, wanted: Mapping[Slot, IPv4Address]) -> dict[Slot, int]:
        """Set aside the identity addresses that ports had before a restart.

        Returns the numbers to pass to `plan`. If several ports name one address, the
        first gets it; addresses outside the range are ignored. Call it once, before
        anything is added, and plan every port that is returned.
        """
        numbers: dict[int, Slot] = {}
        for slot, identity in wanted.items():
            numbers.setdefault(index_of(int(identity), 4, self._start), slot)
        held = self._pool.hold(numbers)
        return {numbers[index]: index for index in held}

    def release(self, index: int) -> None:
        """Give back a number that `hold` set aside, for a port that cannot be added."""
        self._pool.give_back(index)

    def plan(
        self, ports: Iterable[Port], *, held: Mapping[Slot, int] | None = None
    ) -> Plan:
        """Decide what registering these ports would change; all are accepted or none.
        Of two ports with one id the later counts.

        Raises ConflictError where a tap, or an address on it, belongs to another port,
        the watcher asks for a port that is not its own, or the tap is an interface of
        the agent itself, and LimitError where there is no room. Commit or abandon a
        plan before making the next.
        """
        wanted = {port.id: port for port in ports}
        self._check_room(wanted)
        self._check_owners(wanted)
        self._check_taps(wanted)
        fresh: list[int] = []
        try:
            registrations = [
                self._register(port, held or {}, fresh) for port in wanted.values()
            ]
        except LimitError:
            for index in fresh:
                self._pool.give_back(index)
            raise
        return Plan(tuple(registrations), self._change_of(registrations), tuple(fresh))

    def abandon(self, plan: Plan) -> None:
        """Drop a plan and give its identity numbers back."""
        for index in plan.fresh:
            self._pool.give_back(index)

    def commit(self, plan: Plan) -> None:
        """Put a plan in force and tell the subscribers, once."""
        kept = {index for each in plan.registrations for index in each.indexes}
        for old in plan.change.removed:
            self._forget(old)
            for index in old.indexes:
                if index not in kept:
                    self._pool.give_back(index)
        for registration in plan.change.added:
            self._remember(registration)
        replaced = {old.port.id for old in plan.change.removed}
        for new in plan.change.added:
            self._emit(
                PortRegistered(
                    new.port.id,
                    new.port.tap,
                    str(new.identity),
                    new.port.id in replaced,
                )
            )
        self._tell(plan.change)

    def remove(self, port_id: str) -> Registration | None:
        """Take a port out; None where there was none."""
        old = self._by_id.get(port_id)
        if old is None:
            return None
        self._forget(old)
        for index in old.indexes:
            self._pool.give_back(index)
        self._emit(PortRemoved(port_id, old.port.tap, str(old.identity)))
        self._tell(Change(removed=(old,)))
        return old

    def _check_room(self, wanted: Mapping[str, Port]) -> None:
        new = sum(1 for port_id in wanted if port_id not in self._by_id)
        if len(self._by_id) + new > MAX_PORTS:
            raise LimitError(
                f"{len(self._by_id)} ports are registered, {new} more asked for, "
                f"at most {MAX_PORTS}"
            )

    def _check_owners(self, wanted: Mapping[str, Port]) -> None:
        for port_id, port in wanted.items():
            old = self._by_id.get(port_id)
            if old is not None:
                check_owner(old.port, port)

    def _check_taps(self, wanted: Mapping[str, Port]) -> None:
        coming: dict[str, list[Port]] = {}
        for port in wanted.values():
            coming.setdefault(port.tap, []).append(port)
        for tap, ports in coming.items():
            if tap in self._own_interfaces:
                raise ConflictError(
                    f"tap {tap} is an interface of the agent itself (data-path/name in "
                    "agent.conf); name the guest's tap"
                )
            # A difference of sets would go through all of `wanted` for each tap.
            there = self._on_tap.get(tap, ())
            staying = [self._by_id[i].port for i in there if i not in wanted]
            check_tap(tap, [*staying, *ports])

    def _register(
        self, port: Port, held: Mapping[Slot, int], fresh: list[int]
    ) -> Registration:
        old = self._by_id.get(port.id)
        if old is not None and old.port.instance_id == port.instance_id:
            port = renewed(old.port, port)
        known: dict[Slot, int] = {}
        if old is not None and is_same_guest(old.port, port):
            if port == old.port:
                return old
            known = dict(zip(old.port.slots, old.indexes, strict=True))
        index, *further = (
            self._index_of(slot, known, held, fresh) for slot in port.slots
        )
        return Registration(port, index, self._pool.address_of(index), tuple(further))

    def _index_of(
        self,
        slot: Slot,
        known: Mapping[Slot, int],
        held: Mapping[Slot, int],
        fresh: list[int],
    ) -> int:
        """The index of a port or further address: the one that it has, or had before a
        restart, or a new one.
        """
        index = known.get(slot)
        if index is None:
            index = held.get(slot)
            if index is None:
                index = self._pool.take()
            fresh.append(index)
        return index

    def _change_of(self, registrations: Sequence[Registration]) -> Change:
        added = tuple(
            registration
            for registration in registrations
            if self._by_id.get(registration.port.id) is not registration
        )
        removed = tuple(
            self._by_id[registration.port.id]
            for registration in added
            if registration.port.id in self._by_id
        )
        return Change(added, removed)

    def _remember(self, registration: Registration) -> None:
        self._by_id[registration.port.id] = registration
        for index in registration.indexes:
            self._by_identity[str(registration.identity_at(index))] = registration
            self.guests[index] = registration
        port = registration.port
        self._on_tap.setdefault(port.tap, set()).add(port.id)
        self._of_instance.setdefault(port.instance_id, {})[port.id] = port

    def _forget(self, old: Registration) -> None:
        del self._by_id[old.port.id]
        for index in old.indexes:
            del self._by_identity[str(old.identity_at(index))]
            del self.guests[index]
        on_tap = self._on_tap[old.port.tap]
        on_tap.remove(old.port.id)
        if not on_tap:
            del self._on_tap[old.port.tap]
        of_instance = self._of_instance[old.port.instance_id]
        del of_instance[old.port.id]
        if not of_instance:
            del self._of_instance[old.port.instance_id]

    def _tell(self, change: Change) -> None:
        self._all = None
        if change.added or change.removed:
            for changed in self._subscribers:
                changed(change)
