"""Looks from time to time which interfaces look like guests' and have no port, and
which guests have never asked anything. Both are for information alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vagent.datapath.events import CountFailed
from vagent.datapath.tap.entries import Way
from vagent.datapath.tap.layout import Guest
from vagent.datapath.tap.who.unregistered import unregistered
from vagent.errors import KernelError
from vagent.kernel.rtnl_link import Link
from vagent.observe.event import Emit
from vagent.ports.port import Port, Registration
from vagent.store.worker import RunInThread

SURVEY_SECONDS = 60.0
"""Between two looks. With 5,000 guests one takes some 0.1 s, in a thread."""
SILENT_SECONDS = 600.0
"""For so long a port's tap must be there until it is told that its guest never asked:
longer than any guest boots."""


class CountingKernel(Protocol):
    """What the kernel has counted. Raises KernelError."""

    def guests(self) -> Iterable[tuple[Way, Guest]]:
        """For each registered tap, VLAN and MAC address."""


class SilentPorts:
    """Ports whose guests have never asked a service since their tap came. Pure."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def look(
        self, there: Iterable[Port], asked: Container[tuple[str, int, str]], now: float
    ) -> tuple[Port, ...]:
        """`there` are the ports whose taps are there now, `asked` are tap, VLAN and MAC
        address of guests that have asked, `now` is in seconds.
        """
        silent = [
            port for port in there if (port.tap, port.vlan, port.mac) not in asked
        ]
        self._since = {port.id: self._since.get(port.id, now) for port in silent}
        return tuple(
            port for port in silent if now - self._since[port.id] >= SILENT_SECONDS
        )


class TapSurvey:
    """Looks from `start` to `stop`. `without_port` are names of interfaces, `silent`
    ports whose guests have never asked. `list_links` gives the interfaces of this host;
    `own` are the agent's.
    """

    def __init__(
        self,
        kernel: CountingKernel,
        *,
        list_links: Callable[[], Iterable[Link]],
        registrations: Callable[[], Collection[Registration]],
        own: Container[str],
        run_in_thread: RunInThread,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        self.without_port: tuple[str, ...] = ()
        self.silent: tuple[Port, ...] = ()
        self._kernel = kernel
        self._list_links = list_links
        self._registrations = registrations
        self._own = own
        self._run_in_thread = run_in_thread
        self._emit = emit
        self._clock = clock
        self._silence = SilentPorts()
        self._trouble = ""
        self._next: IDelayedCall | None = None
        self._is_running = False

    def __repr__(self) -> str:
        return f"<TapSurvey {len(self.without_port)} without port>"

    def start(self) -> None:
        """Look now, and every SURVEY_SECONDS from now on."""
        self._is_running = True
        Deferred.fromCoroutine(self._look_and_go_on())

    def stop(self) -> None:
        """Look no more."""
        self._is_running = False
        if self._next is not None and self._next.active():
            self._next.cancel()

    async def _look_and_go_on(self) -> None:
        try:
            await self._look()
            self._trouble = ""
        except KernelError as failure:
            if str(failure) != self._trouble:  # else it would be told for ever
                self._trouble = str(failure)
                self._emit(CountFailed(self._trouble))
        if self._is_running:
            self._next = self._clock.callLater(SURVEY_SECONDS, self.start)

    async def _look(self) -> None:
        links, asked = await self._run_in_thread(self._read)
        ports = [registration.port for registration in self._registrations()]
        taps = {port.tap for port in ports}
        self.without_port = unregistered(links.values(), taps, self._own)
        names = {link.name for link in links.values() if link.is_up}
        there = [port for port in ports if port.tap in names]
        heard = {
            (links[way.ifindex].name, way.vlan, way.mac.hex(":"))
            for way in asked
            if way.ifindex in links
        }
        self.silent = self._silence.look(there, heard, self._clock.seconds())

    def _read(self) -> tuple[dict[int, Link], list[Way]]:
        links = {link.ifindex: link for link in self._list_links()}
        return links, [way for way, guest in self._kernel.guests() if guest.packets]
