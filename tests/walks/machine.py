"""What surrounds the agent, in memory: reactor, sockets, NFQUEUE and child processes.

Everything answers at once and says yes, so that a walk is one uninterrupted piece of
work. Nothing here needs root, and nothing reaches the kernel.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, cast

from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.unit.vagent.metadata.proxy_rig import FakeTransport
from vagent.datapath.system import LinuxSystem
from vagent.kernel.ip_packet import UDP
from vagent.kernel.namespace import Namespace, Network

Reached = Callable[[], None]
"""Called when the end of a walk is reached."""


def nothing() -> None:
    """For what is reached while no walk is recorded."""


async def at_once(job: Callable[[], Any]) -> Any:
    """In place of a worker's thread, so that one recording sees all of it."""
    return job()


class Machine(MemoryReactorClock):
    """A reactor whose connections succeed and whose child processes do what they are
    told. `reached` is called when a child gets its script, and when the first bytes
    are sent on a connection that the agent opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached: Reached = nothing
        self.scripts: list[bytes] = []
        self.sent: list[bytes] = []

    def spawnProcess(self, child: Any, *_: object, **__: object) -> Any:
        process = _Process(self, child)
        child.makeConnection(process)
        return process

    def connectTCP(self, host: str, port: int, factory: Any, *_: object) -> Any:
        transport = _Upstream(self)
        transport.protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport


class _Process:
    """A child that reads a script and ends well."""

    def __init__(self, machine: Machine, child: Any) -> None:
        self._machine = machine
        self._child = child

    def write(self, script: bytes) -> None:
        self._machine.scripts.append(script)
        self._machine.reached()

    def closeStdin(self) -> None:
        self._child.processEnded(Failure(ProcessDone(0)))

    def signalProcess(self, _signal: str) -> None:
        """It has ended already."""


class _Upstream(FakeTransport):
    """A connection to an endpoint of the metadata service."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine
        self.disconnect = self.abortConnection

    def send(self, data: bytes) -> int:
        self._machine.sent.append(data)
        self._machine.reached()
        return super().send(data)


class System(LinuxSystem):
    """The operating system: it has every interface, and takes every transaction. A walk
    into `network` goes by it.
    """

    def __init__(self, machine: Machine, network: Network | None = None) -> None:
        super().__init__(
            reactor=cast("IReactorProcess", machine),
            clock=machine,
            run_in_thread=at_once,
            network=network,
        )

    async def transact(self, steps: object) -> None:
        """Not walked: what changes a service is a script for nft."""

    def ifindex(self, name: str) -> int | None:
        return 7

    def mac(self, name: str) -> str:
        return "02:00:00:00:00:07"

    async def end_flows(self, mark: int, mask: int) -> None:
        """There are none."""


class OpenNamespace(Namespace):
    """In place of the namespace of guests' flows: the network of this process."""

    def __init__(self) -> None:
        super().__init__("vagent")
        self.is_closed = False

    def open(self) -> None:
        """It is."""

    def close(self) -> None:
        self.is_closed = True

    @contextmanager
    def entered(self) -> Iterator[None]:
        yield


class Queue:
    """In place of the NFQUEUE library: hands packets to whoever bound the queue."""

    def __init__(self) -> None:
        self._take: Callable[[Packet], None]
        self._mine, self._other = socket.socketpair()

    def bind(self, _number: int, take: Callable[[Packet], None], **_: object) -> None:
        self._take = take

    def get_fd(self) -> int:
        return self._mine.fileno()

    def trap(self, packet: Packet) -> None:
        """The kernel has queued this packet, and the agent reads it."""
        self._take(packet)

    def unbind(self) -> None:
        self._mine.close()
        self._other.close()


class Packet:
    """A trapped packet; `reached` is called with its verdict."""

    def __init__(self, payload: bytes, reached: Reached = nothing) -> None:
        self._payload = payload
        self._reached = reached
        self.mark = 0

    def get_payload(self) -> bytes:
        return self._payload

    def get_mark(self) -> int:
        return 0

    def set_mark(self, mark: int) -> None:
        self.mark = mark

    def accept(self) -> None:
        self._reached()

    def drop(self) -> None:
        self._reached()


def opening_packet(identity: str) -> bytes:
    """A datagram from this identity to the NTP service of `house`."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 28, 1, 0, 64, UDP, 0),
        IPv4Address(identity).packed,
        IPv4Address("169.254.1.123").packed,
    )
    return header + struct.pack("!HHHH", 40_000, 123, 8, 0)
