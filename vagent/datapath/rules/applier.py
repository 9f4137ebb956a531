"""Brings the kernel to the wanted state: one transaction at a time, only what changed.

Changes that arrive while a transaction runs are taken together by the next one. When
the kernel refuses, its old state is still in force, and the whole wanted state replaces
it after a pause, until it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import Names
from vagent.datapath.rules.events import RulesApplied, RulesRefused
from vagent.datapath.rules.features import Features
from vagent.datapath.rules.netlink_rules import netlink_rules
from vagent.datapath.rules.port_elements import change_of_ports
from vagent.datapath.rules.render import change_of_services, proxies, ruleset
from vagent.datapath.state import (
    ENDPOINT_MASK,
    INDEX_BITS,
    INDEX_MASK,
    Attachment,
    Services,
)
from vagent.datapath.system import System
from vagent.errors import KernelError
from vagent.observe.event import Emit

RETRY_AFTER = 1.0
"""Seconds between a refusal and the next attempt."""


class Applier:
    """Holds the wanted and the applied state. Nothing happens before `start`.

    `refresh` is called before the whole state is tried again: taps may have gone.
    """

    def __init__(
        self,
        names: Names,
        *,
        system: System,
        services: Services,
        refresh: Callable[[], None],
        fast_path: FastPath,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self._names = names
        self._fast_path = fast_path
        self._system = system
        self._refresh = refresh
        self._emit = emit
        self._clock = clock
        self._features = Features(nft_queue=True)
        self._host_mac = ""
        self._wanted: dict[int, Attachment] = {}
        self._applied: dict[int, Attachment] = {}
        self._taps: Counter[int] = Counter()
        self._changed: set[int] = set()
        self._wanted_services = services
        self._applied_services = services
        self._replace = True
        self._running = False
        self._waiting: list[Deferred[None]] = []
        self._started = False

    def __repr__(self) -> str:
        return (
            f"<Applier {self._names.table}: {len(self._applied)} attachments applied,"
            f" {len(self._changed)} changes waiting>"
        )

    def is_applied(self, index: int) -> bool:
        """Does the kernel serve this attachment as it is wanted?"""
        wanted = self._wanted.get(index)
        return wanted is not None and self._applied.get(index) == wanted

    def applied(self, index: int) -> Attachment | None:
        """The attachment that the kernel serves under this index."""
        return self._applied.get(index)

    async def start(self, features: Features, host_mac: str) -> None:
        """Replace whatever is in the kernel by the wanted state. Raises KernelError."""
        self._features = features
        self._host_mac = host_mac
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

    def attach(self, attachment: Attachment) -> None:
        """Want this attachment, in place of what has its index."""
        self._want(attachment.index, attachment)

    def detach(self, index: int) -> None:
        """Want no attachment with this index."""
        self._want(index, None)

    def put_back(self) -> None:
        """The kernel has lost our rules: replace everything by what is wanted."""
        self._replace = True
        self._kick()

    def offer(self, services: Services) -> None:
        """Want these services."""
        self._wanted_services = services
        self._kick()

    async def settled(self) -> None:
        """Return when the kernel has what is wanted now. Raises KernelError when it
        refused (the applier goes on trying).
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
        return self._running or self._pending()

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
        except Exception as failure:  # border: whatever failed, it is tried again
            self._replace = True
            self._emit(RulesRefused(str(failure), RETRY_AFTER))
            self._release(KernelError(str(failure)))
            self._clock.callLater(RETRY_AFTER, self._retry)
            return
        self._running = False
        self._release(None)

    def _pending(self) -> bool:
        return (
            self._replace
            or bool(self._changed)
            or self._wanted_services != self._applied_services
        )

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
        else:
            await self._change_ports()

    async def _replace_all(self) -> None:
        began = self._clock.seconds()
        wanted = dict(self._wanted)
        services = self._wanted_services
        gone = [
            attachment
            for index, attachment in self._applied.items()
            if not attachment.serves_as(wanted.get(index))
        ]
        self._changed.clear()
        await self._let_kernel_answer(services)
        await self._system.run_nft(
            ruleset(
                self._names,
                self._carried(services),
                wanted.values(),
                host_mac=self._host_mac,
                features=self._features,
            )
        )
        await self._system.transact(netlink_rules(self._names, self._features))
        self._applied = wanted
        self._applied_services = services
        self._taps = Counter(attachment.ifindex for attachment in wanted.values())
        self._replace = False
        self._fast_path.serve(services.addresses)
        self._end_flows_of(gone)
        for attachment in wanted.values():
            self._fast_path.attached(attachment)
        self._report(f"all rules, {len(wanted)} ports", began)

    async def _change_ports(self) -> None:
        began = self._clock.seconds()
        changed, self._changed = self._changed, set()
        pairs = [(self._applied.get(i), self._wanted.get(i)) for i in sorted(changed)]
        gone = [old for old, new in pairs if old is not None and old != new]
        come = [new for old, new in pairs if new is not None and old != new]
        if not gone and not come:
            return
        leaving = Counter(attachment.ifindex for attachment in gone)
        kept = frozenset(
            ifindex
            for ifindex in leaving.keys() | {new.ifindex for new in come}
            if self._taps[ifindex] > leaving[ifindex]
        )
        steps = change_of_ports(self._names, gone, come, kept, ipv6=self._features.ipv6)
        await self._system.transact(steps)
        for attachment in gone:
            del self._applied[attachment.index]
        self._applied.update((attachment.index, attachment) for attachment in come)
        self._taps.subtract(leaving)
        self._taps.update(attachment.ifindex for attachment in come)
        for ifindex in leaving:
            if not self._taps[ifindex]:
                del self._taps[ifindex]
        self._end_flows_of(
            [old for old, new in pairs if old is not None and not old.serves_as(new)]
        )
        for attachment in come:
            self._fast_path.attached(attachment)
        self._report(f"{len(gone)} ports detached, {len(come)} attached", began)

    async def _change_services(self) -> None:
        began = self._clock.seconds()
        old, new = self._applied_services, self._wanted_services
        script = change_of_services(self._names, self._carried(old), self._carried(new))
        if script:
            await self._let_kernel_answer(new)
            await self._system.run_nft(script)
        self._applied_services = new
        self._fast_path.serve(new.addresses)
        for number in old.offered() - new.offered():
            self._end_flows(number << INDEX_BITS, ENDPOINT_MASK)
        self._report(f"{len(new.offers)} services", began)

    async def _let_kernel_answer(self, services: Services) -> None:
        commands = proxies(self._names, self._carried(services))
        if commands:
            await self._system.run_ip(commands)

    def _carried(self, services: Services) -> Services:
        return services if self._features.ipv6 else services.without_ipv6()

    def _end_flows_of(self, gone: list[Attachment]) -> None:
        for attachment in gone:
            self._fast_path.detached(attachment)
            self._end_flows(attachment.index, INDEX_MASK)

    def _end_flows(self, mark: int, mask: int) -> None:
        """First where conntrack does not see them."""
        self._fast_path.end(mark, mask)
        self._system.end_flows(mark, mask)

    def _report(self, what: str, began: float) -> None:
        self._emit(RulesApplied(what, self._clock.seconds() - began))
