"""Reads the kernel's flow table, in a thread: the dump blocks.

The thread works on copies of the ports and services. It releases the interpreter with
each datagram, after about 1 ms, so the reactor keeps its turns.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Network
from typing import Protocol

from vagent.datapath.flows.flow import (
    FastPathTraffic,
    FlowId,
    FlowList,
    Place,
    flow_list,
    lives,
    of_guests,
    of_port,
)
from vagent.datapath.state import INDEX_MASK
from vagent.errors import KernelError, LimitError, WireError
from vagent.kernel.conntrack import Tracked, decode_part, encode_dump
from vagent.kernel.namespace import Network, OwnNetwork
from vagent.kernel.netlink import NETLINK_NETFILTER
from vagent.linklocal.table import ServiceTable
from vagent.ports.port import Registration
from vagent.store.worker import RunInThread

MAX_READINGS = 4
"""Readings that may wait for the thread: enough for some operators at one time, and a
limit for programs that ask faster than the kernel answers."""
DEADLINE = 5.0
"""Seconds for one dump; 5,000 flows take about 0.3."""
_READ = 8_192
"""Bytes of one read. The kernel makes no longer datagrams then, though it could send
32 KiB: after some 34 flows the reactor gets its turn."""


class Dump(Protocol):
    """Asks the kernel for flows: `kernel_dump`, or a fake of the tests."""

    def __call__(
        self, question: bytes, /, *, clock: Callable[[], float]
    ) -> Iterator[Tracked]:
        """Yield the flows of the answer as they come. Raises KernelError."""


class FlowReader:
    """Reads and counts flows. `guests` has the registered ports by index. `now` gives
    seconds since the epoch, `clock` those of a clock that nobody can set; both are
    called in the thread, too. The flows are those of the network `inside`, if there is
    one. `fast_path_traffic` tells what the fast path has carried; `near` is as
    `flow_list` takes it.
    """

    def __init__(
        self,
        network: IPv4Network,
        *,
        guests: Mapping[int, Registration],
        services: Callable[[], ServiceTable],
        run_in_thread: RunInThread,
        now: Callable[[], float],
        clock: Callable[[], float],
        fast_path_traffic: Callable[[], Mapping[FlowId, FastPathTraffic]] = dict,
        near: Callable[[], Mapping[Place, Place]] = dict,
        inside: Network | None = None,
        dump: Dump | None = None,
    ) -> None:
        self._network = network
        self._dump = dump or partial(kernel_dump, inside or OwnNetwork())
        self._guests = guests
        self._services = services
        self._run_in_thread = run_in_thread
        self._now = now
        self._clock = clock
        self._fast_path_traffic = fast_path_traffic
        self._near = near
        self._readings = 0

    def __repr__(self) -> str:
        return f"<FlowReader {self._network}, {self._readings} readings>"

    async def read(self, registration: Registration | None = None) -> FlowList:
        """The flows of one port, or of all. Raises KernelError and LimitError."""
        if self._readings >= MAX_READINGS:
            raise LimitError(
                f"flow table: {self._readings} readings are under way, at most "
                f"{MAX_READINGS}"
            )
        # The thread reads a copy: the table may change meanwhile.
        guests, services = dict(self._guests), self._services()
        fast_path, near = self._fast_path_traffic(), self._near()

        # The kernel can filter by one index, or give all flows.
        single = None if registration and registration.further else registration

        def work() -> FlowList:
            question = encode_dump(
                family=socket.AF_UNSPEC,
                mark=0 if single is None else single.index,
                mask=0 if single is None else INDEX_MASK,
            )
            tracked = of_guests(self._dump(question, clock=self._clock), self._network)
            if registration is not None:
                tracked = of_port(tracked, registration.indexes)
            return flow_list(tracked, guests, services, self._now(), fast_path, near)

        self._readings += 1
        try:
            return await self._run_in_thread(work)
        finally:
            self._readings -= 1

    async def count(self) -> dict[int, int]:
        """The number of flows under way, by index. Raises KernelError."""

        def work() -> dict[int, int]:
            question = encode_dump(family=socket.AF_UNSPEC)
            ours = of_guests(self._dump(question, clock=self._clock), self._network)
            return dict(Counter(each.mark & INDEX_MASK for each in ours if lives(each)))

        return await self._run_in_thread(work)


def kernel_dump(
    network: Network, question: bytes, *, clock: Callable[[], float]
) -> Iterator[Tracked]:
    """Ask the kernel for flows of this network, and yield them as they come. Blocks.
    Raises KernelError.
    """
    with network.entered():
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with link:
        link.settimeout(DEADLINE)
        try:
            link.bind((0, 0))
            link.send(question)
            yield from received(link.recv, clock=clock)
        except (OSError, WireError) as failure:
            raise KernelError(f"flow dump: {failure}") from failure


def received(
    receive: Callable[[int], bytes], *, clock: Callable[[], float]
) -> Iterator[Tracked]:
    """Read datagrams up to the last one of the dump, and yield their flows. Raises
    KernelError and WireError.
    """
    end = clock() + DEADLINE
    while True:
        part = decode_part(receive(_READ))
        yield from part.flows
        if part.is_last:
            return
        if clock() > end:
            raise KernelError(f"flow dump: not done after {DEADLINE:g} s")
