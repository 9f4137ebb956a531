"""Brings the kernel to the wanted state: one transaction at a time, only what changed.

Changes that arrive while a transaction runs are taken together by the next one. When
the kernel refuses, its old state is still in force, and the whole wanted state replaces
it after a pause, until it holds.

Flows of what went are ended after the transaction that took it away, and before the
same index is served again: no guest gets packets that were meant for another. What the
kernel does not end is tried again after the same pause; other changes do not wait for
it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import Names
from vagent.datapath.rules.events import (
    FlowsNotEnded,
    RulesApplied,
    RulesLost,
    RulesRefused,
    RulesUnread,
)
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.flow_ends import FlowEnds
from vagent.datapath.rules.in_force import InForce, WantedTable
from vagent.datapath.rules.mtu_routes import flush, routes
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.rules.render import change_of_services, ruleset
from vagent.datapath.rules.table_counts import wanted_at_uplink, wanted_counts
from vagent.datapath.rules.uplink import (
    change_of_near,
    uplink_ruleset,
    wanted_near,
)
from vagent.datapath.rules.wanted_elements import wanted_elements
from vagent.datapath.state import Address, Attachment, Services
from vagent.datapath.system import System
from vagent.datapath.tap.guard import TapGuard
from vagent.errors import KernelError
from vagent.kernel.nf_tables import NftMessage
from vagent.observe.event import Emit

RETRY_AFTER = 1.0
"""Seconds between a refusal and the next attempt."""


class Applier:
    """Holds what is wanted and what the kernel has. Nothing happens before `start`.

    `refresh` is called before the whole state is tried again, because taps may have
    gone meanwhile.
    """

    def __init__(
        self,
        names: Names,
        *,
        inside: System,
        host: System,
        taps: TapGuard,
        services: Services,
        refresh: Callable[[], None],
        fast_path: FastPath,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._names = names
        self._fast_path = fast_path
        self._inside = inside
        self._host = host
        self._taps = taps
        self._refresh = refresh
        self._emit = emit
        self._clock = clock
        self._features = Features(nft_queue=True)
        self._wanted: dict[int, Attachment] = {}
        self._applied: dict[int, Attachment] = {}
        self._changed: set[int] = set()
        self._ends = FlowEnds(system=inside, fast_path=fast_path)
        self._ends_failed = False
        self._held: set[int] = set()
        self._offered_services = services
        self._wanted_services = services
        self._applied_services = services
        self._replace = True
        self._in_force = InForce(names.table, system=inside, emit=emit)
        self._uplink_in_force = InForce(names.table, system=host, emit=emit)
        self._commits = self._uplink_commits = 0
        self._lost = ""
        self._lookers: list[Deferred[None]] = []
        self._looks_at_taps = False
        self._running = False
        self._waiting: list[Deferred[None]] = []
        self._started = False
        self.refusal = ""
        """Why the kernel refused the last change, "" if it took it."""

    def __repr__(self) -> str:
        return (
            f"<Applier {self._names.table}: {len(self._applied)} attachments applied,"
            f" {len(self._changed)} changes waiting, {len(self._ends)} ends of flows>"
        )

    def is_applied(self, index: int) -> bool:
        """Does the kernel serve this index as it is wanted?"""
        wanted = self._wanted.get(index)
        return wanted is not None and self._applied.get(index) == wanted

    def applied(self, index: int) -> Attachment | None:
        """The attachment that the kernel serves under this index, if any."""
        return self._applied.get(index)

    def why_not_served(self, address: Address, endpoints: Collection[int]) -> str:
        """Why guests cannot reach these endpoints at this service address, or ""."""
        if address not in self._wanted_services.addresses:
            return "this host does not serve IPv6"
        has = self._applied_services
        wanted = self._wanted_services.numbered(endpoints)
        if address in has.addresses and wanted <= has.endpoints:
            return ""
        return self.refusal or "the kernel does not have it yet"

    async def start(self, features: Features) -> None:
        """Replace whatever is in the kernel by the wanted state. Raises KernelError."""
        self._features = features
        self.offer(self._offered_services)
        self._running = True
        try:
            await self._replace_all()
        finally:
            self._running = False
        self._started = True
        self._kick()

    def stop(self) -> None:
        """Begin nothing any more."""
        self._started = False
        self._answer_lookers()
        self._release(KernelError("the agent stops"))

    def attach(self, attachment: Attachment) -> None:
        """Serve this attachment from now on, in place of any other with its index."""
        self._want(attachment.index, attachment)

    def detach(self, index: int) -> None:
        """Serve this index no more."""
        self._want(index, None)

    @property
    def trouble(self) -> str:
        """Why guests are not served as it is wanted, as far as is known; "" if they
        are.
        """
        refused = self.refusal and f"the kernel refuses rules: {self.refusal}"
        return (
            self._lost
            or refused
            or self._in_force.unread
            or self._uplink_in_force.unread
        )

    async def look(self, *, at_taps: bool = True) -> None:
        """See whether the kernel still holds everything, and put it back if not; return
        when that is known. Those who ask at the same time share a look. Without
        `at_taps` only rules are looked at.
        """
        self._looks_at_taps |= at_taps
        if self._started and not self._replace:
            waiting: Deferred[None] = Deferred()
            self._lookers.append(waiting)
            self._kick()
            await waiting

    def offer(self, services: Services) -> None:
        """Serve these from now on, as far as this host serves their IP version."""
        # Kept whole: before `start` it is not known what the host serves.
        self._offered_services = services
        carries_all = self._features.ipv6
        self._wanted_services = services if carries_all else services.without_ipv6()
        self._kick()

    def end_flows_of(self, index: int) -> None:
        """End all flows that the identity with this index opened: it belongs to no port
        now.
        """
        self._ends.owe_index(index)
        self._kick()

    async def settled(self) -> None:
        """Return when the kernel has what is wanted now, and has ended the flows of
        what went. Raises KernelError when it refused the rules; they are tried again.
        """
        if not self._unsettled():
            return
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        await waiting

    def _want(self, index: int, attachment: Attachment | None) -> None:
        if self._wanted.get(index) == attachment:
            return
        if attachment is None:
            del self._wanted[index]
        else:
            self._wanted[index] = attachment
        self._changed.add(index)
        self._kick()

    def _unsettled(self) -> bool:
        return self._running or self._pending() or self._ends.any_owed

    def _kick(self) -> None:
        if self._started and not self._running and self._pending():
            self._running = True
            # The next turn of the reactor, so that changes made together go together.
            self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        try:
            while self._started and self._pending():
                await self._step()
        except Exception as failure:  # whatever failed, it is tried again
            self._replace = True
            self.refusal = str(failure)
            self._emit(RulesRefused(str(failure), RETRY_AFTER))
            self._answer_lookers()
            self._release(KernelError(str(failure)))
            self._clock.callLater(RETRY_AFTER, self._retry)
            return
        self._running = False
        self.refusal = ""
        if not self._ends.any_owed:
            self._release(None)

    def _pending(self) -> bool:
        """Is there anything to do now?"""
        return (
            self._replace
            or self._wanted_services != self._applied_services
            or bool(self._changed)
            or bool(self._lookers)
            or self._must_end_flows()
        )

    def _must_end_flows(self) -> bool:
        return self._ends.any_owed and not self._ends_failed

    def _retry(self) -> None:
        if self._started:
            self._refresh()
            self._begin()

    def _release(self, failure: KernelError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            if failure is None:
                deferred.callback(None)
            else:
                deferred.errback(failure)

    async def _step(self) -> None:
        if self._replace:
            await self._replace_all()
        elif self._wanted_services != self._applied_services:
            await self._change_services()
        elif self._must_end_flows():
            await self._end_flows()
        elif self._lookers:
            await self._look()
        else:
            await self._change_ports()

    async def _replace_all(self) -> None:
        began = self._clock.seconds()
        services = self._wanted_services
        gone = [
            attachment
            for index, attachment in self._applied.items()
            if not attachment.serves_as(self._wanted.get(index))
        ]
        held = self._to_hold(self._wanted, gone)
        wanted = {i: each for i, each in self._wanted.items() if i not in held}
        self._changed.clear()
        await self._run_nft(
            ruleset(self._names, services, wanted.values(), features=self._features)
        )
        await self._run_nft_at_uplink(
            uplink_ruleset(self._names, services, features=self._features)
        )
        await self._transact(netlink_rules(self._names, self._features))
        await self._replace_routes(wanted.values())
        # Behind the rules that guard what the taps send up.
        self._taps.replace(services.addresses, wanted.values())
        self._applied, self._held = wanted, held
        self._serve(services)
        self._detached(gone)
        self._replace = False
        self._lost = ""
        for attachment in wanted.values():
            self._fast_path.attached(attachment)
        self._report(f"all rules, {len(wanted)} ports", began)

    async def _change_ports(self) -> None:
        began = self._clock.seconds()
        changed, self._changed = self._changed, set()
        pairs = [(self._applied.get(i), self._wanted.get(i)) for i in sorted(changed)]
        gone = [old for old, new in pairs if old is not None and old != new]
        ended = [old for old in gone if not old.serves_as(self._wanted.get(old.index))]
        held = self._to_hold(changed, ended)
        self._held |= held
        come = [
            new
            for old, new in pairs
            if new is not None and old != new and new.index not in held
        ]
        if not gone and not come:
            return
        for attachment in gone:
            self._taps.take_away(attachment)
            del self._applied[attachment.index]
        self._detached(ended)
        await self._transact(
            change_of_ports(self._names, gone, come, ipv6=self._features.ipv6)
        )
        await self._change_routes(gone, come)
        for attachment in come:
            self._taps.add(attachment)
            self._applied[attachment.index] = attachment
        for attachment in come:
            self._fast_path.attached(attachment)
        self._report(f"{len(gone)} ports detached, {len(come)} attached", began)

    async def _replace_routes(self, wanted: Iterable[Attachment]) -> None:
        await self._inside.run_ip(flush(self._names))
        if self._features.ipv6:
            await self._inside.run_ip(flush(self._names), ipv6=True)
        await self._change_routes((), wanted)

    async def _change_routes(
        self, gone: Iterable[Attachment], come: Iterable[Attachment]
    ) -> None:
        commands = routes(self._names, gone, come, ipv6=self._features.ipv6)
        if commands:
            await self._inside.run_ip(commands)

    async def _change_services(self) -> None:
        began = self._clock.seconds()
        old, new = self._applied_services, self._wanted_services
        script = change_of_services(self._names, old, new)
        if script:
            await self._run_nft(script)
        near = change_of_near(self._names, old, new, features=self._features)
        if near:
            await self._run_nft_at_uplink(near)
        self._taps.serve(new.addresses)
        self._serve(new)
        self._report(f"{len(new.offers)} services", began)

    async def _run_nft(self, script: str) -> None:
        await self._inside.run_nft(script)
        self._commits += 1

    async def _run_nft_at_uplink(self, script: str) -> None:
        await self._host.run_nft(script)
        self._uplink_commits += 1

    async def _transact(self, messages: Sequence[NftMessage]) -> None:
        if messages:
            await self._inside.transact(messages)
            self._commits += 1

    async def _look(self) -> None:
        # Who asks from now on may know of something that this look does not see.
        lookers, self._lookers = self._lookers, []
        at_taps, self._looks_at_taps = self._looks_at_taps, False
        missing = (
            await self._in_force.look(self._wanted_inside, ours=self._commits),
            await self._uplink_in_force.look(
                self._wanted_at_uplink, ours=self._uplink_commits
            ),
            self._missing_at_taps() if at_taps else "",
        )
        lost = "; ".join(filter(None, missing))
        if lost:
            self._lost = f"{lost}; put back now"
            self._replace = True
        for each in lookers:
            each.callback(None)

    def _wanted_inside(self) -> WantedTable:
        names, services, features = self._names, self._applied_services, self._features
        written = tuple(self._applied.values())
        return WantedTable(
            wanted_counts(names, services, written, features=features),
            lambda: wanted_elements(names, services, written, ipv6=features.ipv6),
        )

    def _wanted_at_uplink(self) -> WantedTable:
        names, services, features = self._names, self._applied_services, self._features
        return WantedTable(
            wanted_at_uplink(names, services, features=features),
            lambda: wanted_near(services, features),
        )

    def _missing_at_taps(self) -> str:
        try:
            missing = self._taps.missing()
        except KernelError as failure:
            self._emit(RulesUnread(str(failure)))
            return ""
        if missing:
            self._emit(RulesLost(missing))
        return missing

    def _answer_lookers(self) -> None:
        """There is no look for them: nothing is known beyond what `trouble` says."""
        lookers, self._lookers = self._lookers, []
        for each in lookers:
            each.callback(None)

    def _to_hold(self, indexes: Iterable[int], gone: Iterable[Attachment]) -> set[int]:
        """Which of these indexes must not be served before flows have ended."""
        ending = {attachment.index for attachment in gone}
        return {
            index
            for index in indexes
            if index in ending or self._ends.owes_index(index)
        }

    def _serve(self, services: Services) -> None:
        """The kernel has these services now; flows to endpoints that went must end."""
        gone = self._applied_services.offered - services.offered
        self._applied_services = services
        self._ends.owe_endpoints(gone)

    def _detached(self, gone: Iterable[Attachment]) -> None:
        """The kernel serves these no more; their flows must end."""
        for attachment in gone:
            self._fast_path.detached(attachment)
            self._ends.owe_index(attachment.index)

    async def _end_flows(self) -> None:
        try:
            await self._ends.meet()
        except Exception as failure:  # whatever failed, it is tried again
            self._ends_failed = True
            self._emit(FlowsNotEnded(str(failure), RETRY_AFTER))
            self._clock.callLater(RETRY_AFTER, self._retry_ends)
        free = {index for index in self._held if not self._ends.owes_index(index)}
        self._held -= free
        self._changed |= free

    def _retry_ends(self) -> None:
        self._ends_failed = False
        self._kick()

    def _report(self, what: str, began: float) -> None:
        self._emit(RulesApplied(what, self._clock.seconds() - began))
