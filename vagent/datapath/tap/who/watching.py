"""What is looked at while guests are served: who is refused, which ports learn, who has
no port or never asks. Wires the parts; decides nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime

from vagent.datapath.names import Names
from vagent.datapath.tap.kernel import LinuxTapKernel
from vagent.datapath.tap.who.learning import Learner, Taken
from vagent.datapath.tap.who.refusal_watch import RefusalWatch
from vagent.datapath.tap.who.refusals import Address, Refusal, as_members
from vagent.datapath.tap.who.survey import TapSurvey
from vagent.kernel import netlink
from vagent.kernel.rtnl_link import Link, encode_list, link_in
from vagent.observe.event import Emit
from vagent.ports.port import Port
from vagent.ports.registry import PortRegistry
from vagent.store.worker import RunInThread


class TapWatching:
    """From `start` to `stop`. `services` are the guarded addresses, `learn` is the
    registrar's way to give a port an address.
    """

    def __init__(
        self,
        kernel: LinuxTapKernel,
        names: Names,
        *,
        registry: PortRegistry,
        services: Callable[[], Collection[Address]],
        learn: Callable[[str, Address], Awaitable[None]],
        run_in_thread: RunInThread,
        emit: Emit,
        clock: IReactorTime,
    ) -> None:
        learner = Learner(
            Taken((names.identity_range, names.identity_range6), services),
            at_tap=registry.on_tap,
            learn=learn,
            emit=emit,
            clock=clock,
        )
        self._refused = RefusalWatch(
            kernel,
            name_of=name_of_interface,
            at_tap=registry.on_tap,
            heard=learner.hear,
            looked=learner.follow,
            run_in_thread=run_in_thread,
            emit=emit,
            clock=clock,
            now=time.monotonic_ns,
        )
        self._survey = TapSurvey(
            kernel,
            list_links=links_of_host,
            registrations=registry.registrations,
            own=names.interfaces,
            run_in_thread=run_in_thread,
            emit=emit,
            clock=clock,
        )

    def start(self) -> None:
        """Once the programs are loaded."""
        self._refused.start()
        self._survey.start()

    def stop(self) -> None:
        """Before they are let go of."""
        self._refused.stop()
        self._survey.stop()

    def refusals(self) -> tuple[Refusal, ...]:
        """What was refused, the latest first."""
        return self._refused.refusals

    def refusals_of(self, port_id: str) -> Sequence[Mapping[str, object]]:
        """What was refused of one port, as the port API shows it."""
        return [as_members(each) for each in self._refused.of_port(port_id)]

    def without_port(self) -> tuple[str, ...]:
        """Interfaces that look like guests' and have no port."""
        return self._survey.without_port

    def silent(self) -> tuple[Port, ...]:
        """Ports whose guests have never asked anything."""
        return self._survey.silent


def name_of_interface(ifindex: int) -> str:
    """ "" for one that is gone."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""


def links_of_host() -> Iterator[Link]:
    """All interfaces of this network namespace. Raises KernelError."""
    for kind, body in netlink.dump(encode_list(), "interfaces", netlink.NETLINK_ROUTE):
        link = link_in(kind, body)
        if link is not None:
            yield link
