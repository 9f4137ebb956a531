"""What the data path asks of the operating system: the interface, and Linux behind it.

nft and ip run as child processes of the reactor, each with a deadline, so that a slow
kernel transaction never holds up a request.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from vagent.errors import KernelError
from vagent.kernel import conntrack, netlink, nf_tables
from vagent.kernel import rtnl_link as links
from vagent.kernel.conntrack import Tracked, decode_found, encode_find
from vagent.kernel.ip_packet import OpeningPacket
from vagent.kernel.namespace import Network, OwnNetwork
from vagent.kernel.nf_tables import INET, IPV4, IPV6, NftMessage
from vagent.kernel.nf_tables_dump import (
    Elements,
    Place,
    TableCounts,
    encode_generation,
    generation_in,
    read_counts,
)
from vagent.store.worker import RunInThread

P = ParamSpec("P")
T = TypeVar("T")

COMMAND_DEADLINE = 60.0
"""Seconds for one command: a transaction of 5,000 ports takes about one. The first also
loads kernel modules, which takes half a minute in an emulated machine."""
MAX_MESSAGE = 2000
"""Characters kept of what a command says on standard error: nft repeats the line that
it does not like, which may be long."""
MAX_ANSWER = 1 << 20
"""Bytes kept of a command's output. Our counters take a few hundred each, and those of
other tables are listed with them."""
_FAMILIES = (IPV4, IPV6, INET)
"""Families in which tables of ours may be."""
_SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1
_SIOCGIFMTU = 0x8921
_IFNAMSIZ = 16
_QUEUE_DROPPED, _USER_DROPPED = 5, 6
_QUEUES = "/proc/thread-self/net/netfilter/nfnetlink_queue"
_GENERATION = "nf_tables generation"


def counters_of(listed: bytes, table: str) -> dict[str, int]:
    """Packets of each counter of the tables with this name, from the output of
    `nft -j list counters`, which has those of all tables.
    """
    try:
        items = json.loads(listed)["nftables"]
    except (ValueError, KeyError, TypeError) as failure:
        raise KernelError(f"nft -j list counters: {failure}") from failure
    found: dict[str, int] = {}
    for item in items:
        counter = item.get("counter", {})
        if counter.get("table") == table:
            # The tables of IPv4 and IPv6 have counters with the same names.
            name = counter["name"]
            found[name] = found.get(name, 0) + int(counter["packets"])
    return found


def drops_in(table: str, queue_number: int) -> int:
    """Packets that a queue has dropped, from /proc/net/netfilter/nfnetlink_queue. Its
    columns are: number, port id, waiting, copy mode, copy range, dropped because the
    queue was full, dropped because the program was slow, ….
    """
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > _USER_DROPPED and int(fields[0]) == queue_number:
            return int(fields[_QUEUE_DROPPED]) + int(fields[_USER_DROPPED])
    return 0


class System(Protocol):
    """The operating system. Every method may raise KernelError."""

    async def run_nft(self, script: str, *, check: bool = False) -> None:
        """Run an nft script as one transaction: all of it, or nothing. With `check`
        nothing is done; KernelError then says that it would fail.
        """

    async def transact(self, messages: Sequence[NftMessage]) -> None:
        """Send messages as one nf_tables transaction: all of them, or none."""

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        """Run iproute2 commands, one a line, up to the first that fails; with `ipv6`
        what they leave open is about IPv6.
        """

    async def counters(self, table: str) -> dict[str, int]:
        """Packets by the name of each counter, for our tables of this name."""

    def nft_generation(self) -> int:
        """The number by which nf_tables counts transactions, of all programs."""

    async def table_counts(
        self, table: str, counted: Collection[Place], wanted: Callable[[], Elements]
    ) -> TableCounts:
        """How many rules our tables of this name hold, how many elements the sets and
        maps that are to be counted, and how many of those that are wanted are not there
        as such. `wanted` is called in a thread.
        """

    def queue_drops(self, queue_number: int) -> int:
        """Packets that NFQUEUE has dropped because the agent was too slow."""

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        """Send an Ethernet frame out of an interface; at a tap it goes to the guest."""

    async def end_flows(self, mark: int, mask: int) -> None:
        """Delete the flows whose conntrack mark, under the mask, is `mark`."""

    def find_flow(self, packet: OpeningPacket) -> Tracked | None:
        """The flow that a packet opened; None where conntrack has none, or it has no
        mark and so is not ours. Raises WireError, too.
        """

    def ifindex(self, name: str) -> int | None:
        """Index of the interface with this name, None where there is none."""

    def linked(self, name: str) -> int:
        """Ifindex of the other end of a veth, or of the interface that a VLAN interface
        is on; 0 where there is none.
        """

    def linked_elsewhere(self, name: str) -> int:
        """Ifindex, in its own network namespace, of the other end of a veth that lies
        in another one; 0 where there is none.
        """

    def is_up(self, name: str) -> bool:
        """Is there such an interface, and is it up?"""

    def mtu(self, name: str) -> int | None:
        """Bytes of IP that an interface carries, None where it is not there."""

    def mac(self, name: str) -> str:
        """Hardware address of an interface."""

    def address(self, name: str) -> IPv4Interface | None:
        """IPv4 address of an interface, None where it has none or is not there."""

    def has_sysctl(self, key: str) -> bool:
        """Is there such a key below /proc/sys?"""

    def read_sysctl(self, key: str) -> str:
        """The value of a key below /proc/sys, without white space around it."""

    def write_sysctl(self, key: str, value: str) -> None:
        """Set a key below /proc/sys; keys are written with slashes."""


class LinuxSystem:
    """The kernel of this host, in one network namespace: that of this process, or
    `network`.
    """

    def __init__(
        self,
        *,
        reactor: IReactorProcess,
        clock: IReactorTime,
        run_in_thread: RunInThread,
        network: Network | None = None,
    ) -> None:
        self._network = network or OwnNetwork()
        self._reactor = reactor
        self._clock = clock
        self._run_in_thread = run_in_thread

    async def run_nft(self, script: str, *, check: bool = False) -> None:
        await self._run("nft", ["-c"] * check + ["-f", "-"], script)

    async def transact(self, messages: Sequence[NftMessage]) -> None:
        # In a thread: another program's transaction may be under way, and the kernel
        # works them off one by one. Without a deadline: what the kernel has begun
        # cannot be taken back, and a second transaction beside it would be worse.
        answers = await self._run_in_thread(
            lambda: self._inside(netlink.transact_batch, nf_tables.encode(messages))
        )
        refused = nf_tables.refusal(messages, answers)
        if refused:
            raise KernelError(refused)

    async def run_ip(self, batch: str, *, ipv6: bool = False) -> None:
        await self._run("ip", ["-6"] * ipv6 + ["-batch", "-"], batch)

    async def counters(self, table: str) -> dict[str, int]:
        listed = await self._run("nft", ["-j", "list", "counters"], "")
        return counters_of(listed, table)

    def nft_generation(self) -> int:
        question = encode_generation()
        return generation_in(self._inside(netlink.ask, question, _GENERATION))

    async def table_counts(
        self, table: str, counted: Collection[Place], wanted: Callable[[], Elements]
    ) -> TableCounts:
        # In a thread: thousands of ports have some ten thousand elements.
        return await self._run_in_thread(
            lambda: self._inside(
                read_counts, _ask_nf_tables, table, _FAMILIES, counted, wanted
            )
        )

    def queue_drops(self, queue_number: int) -> int:
        try:
            table = self._inside(Path(_QUEUES).read_text)
        except OSError as failure:
            raise KernelError(f"queue statistics: {failure}") from failure
        return drops_in(table, queue_number)

    def send_frame(self, ifindex: int, frame: bytes) -> None:
        try:
            with self._network.entered():
                wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                name = socket.if_indextoname(ifindex)
            with wire:
                wire.bind((name, 0))
                wire.send(frame)
        except OSError as failure:
            raise KernelError(f"frame to interface {ifindex}: {failure}") from failure

    async def end_flows(self, mark: int, mask: int) -> None:
        # In a thread: the kernel walks through the whole flow table.
        message = conntrack.encode_end(mark, mask)
        await self._run_in_thread(
            lambda: self._inside(netlink.transact, message, "end of flows")
        )

    def find_flow(self, packet: OpeningPacket) -> Tracked | None:
        return decode_found(self._inside(netlink.ask, encode_find(packet), "flow"))

    def ifindex(self, name: str) -> int | None:
        try:
            return self._inside(socket.if_nametoindex, name)
        except OSError:
            return None

    def linked(self, name: str) -> int:
        return links.linked_in(self._link(name))

    def linked_elsewhere(self, name: str) -> int:
        return links.linked_elsewhere_in(self._link(name))

    def is_up(self, name: str) -> bool:
        try:
            answer = self._inside(_ask_interface, name, _SIOCGIFFLAGS)
        except OSError:
            return False
        return bool(struct.unpack_from("=H", answer, _IFNAMSIZ)[0] & _IFF_UP)

    def mtu(self, name: str) -> int | None:
        try:
            answer = self._inside(_ask_interface, name, _SIOCGIFMTU)
        except OSError:
            return None
        return int(struct.unpack_from("=i", answer, _IFNAMSIZ)[0])

    def mac(self, name: str) -> str:
        try:
            answer = self._inside(_ask_interface, name, _SIOCGIFHWADDR)
        except OSError as failure:
            raise KernelError(f"interface {name}: {failure}") from failure
        return answer[18:24].hex(":")

    def address(self, name: str) -> IPv4Interface | None:
        try:
            address = self._inside(_ask_interface, name, _SIOCGIFADDR)[20:24]
            mask = self._inside(_ask_interface, name, _SIOCGIFNETMASK)[20:24]
        except OSError:
            return None
        return IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(mask)}")

    def has_sysctl(self, key: str) -> bool:
        return self._inside(Path("/proc/sys", key).exists)

    def read_sysctl(self, key: str) -> str:
        try:
            return self._inside(Path("/proc/sys", key).read_text).strip()
        except OSError as failure:
            raise KernelError(f"sysctl {key}: {failure}") from failure

    def write_sysctl(self, key: str, value: str) -> None:
        try:
            self._inside(Path("/proc/sys", key).write_text, value)
        except OSError as failure:
            raise KernelError(f"sysctl {key}={value}: {failure}") from failure

    def _link(self, name: str) -> bytes:
        question = links.encode_question(name)
        what = f"interface {name}"
        return self._inside(netlink.ask, question, what, netlink.NETLINK_ROUTE)

    def _inside(self, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """What `work` returns, called inside the network."""
        with self._network.entered():
            return work(*args, **more)

    async def _run(self, name: str, arguments: list[str], text: str) -> bytes:
        program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
        if program is None:
            raise KernelError(f"{name} is not installed (package nftables or iproute2)")
        child = _Child(name, text)
        with self._network.entered():
            process = self._reactor.spawnProcess(
                child, program, [name, *arguments], env={"LC_ALL": "C"}
            )
        deadline = self._clock.callLater(
            COMMAND_DEADLINE, lambda: process.signalProcess("KILL")
        )
        try:
            return await child.ended
        finally:
            if deadline.active():
                deadline.cancel()


def _ask_nf_tables(question: bytes) -> Iterator[tuple[int, bytes]]:
    return netlink.dump(question, "nf_tables", netlink.NETLINK_NETFILTER)


def _ask_interface(name: str, what: int) -> bytes:
    """An ifreq of netdevice(7): 16 bytes of name, then the answer to the ioctl."""
    request = struct.pack("256s", name.encode()[: _IFNAMSIZ - 1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return fcntl.ioctl(probe.fileno(), what, request)


class _Child(ProcessProtocol):
    """Gives a script to a command, and keeps the beginning of what it says."""

    def __init__(self, name: str, text: str) -> None:
        self.ended: Deferred[bytes] = Deferred()
        self._name = name
        self._text = text
        self._complaint = ""
        self._answer = b""

    def connectionMade(self) -> None:
        assert self.transport is not None  # noqa: S101 Twisted sets it before this call
        self.transport.write(self._text.encode())
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        if len(self._answer) < MAX_ANSWER:
            self._answer += data

    def errReceived(self, data: bytes) -> None:
        if len(self._complaint) < MAX_MESSAGE:
            self._complaint += data.decode("utf-8", "replace")

    def processEnded(self, reason: Failure) -> None:
        if isinstance(reason.value, ProcessDone):
            self.ended.callback(self._answer)
            return
        complaint = " ".join(self._complaint[:MAX_MESSAGE].split())
        status = getattr(reason.value, "status", None)
        self.ended.errback(
            KernelError(f"{self._name}: {complaint or f'ended with status {status}'}")
        )
