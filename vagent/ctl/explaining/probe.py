"""A throw-away guest behind a throw-away tap, for the time of one request.

The guest is a network namespace without a name that one thread has entered. When the
thread or the process ends, killed or not, the kernel deletes the namespace and with it
the tap.
"""

from __future__ import annotations

import ctypes
import errno
import http.client
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Self, TypeVar

from scapy.layers.l2 import ARP, Ether

from vagent.ctl.explaining.observed import ProbeReply, ProbeRequest, ShownPort
from vagent.doctor.commands import PATH, ask
from vagent.errors import KernelError

ARP_PATIENCE = 1.0
CONNECT_PATIENCE = 5.0
REPLY_PATIENCE = 40.0
"""Seconds: a request is held for 8 and answered within 30 by default."""
LOOK_AGAIN = 0.1
"""Seconds between two looks whether the tap has refused the probe."""
MAX_BODY = 16 * 1024 * 1024
"""Bytes that are counted, and thrown away."""
_CLONE_NEWNET = 0x40000000
_date = time.time  # noqa: TID251  traces of the agent have such times
_ETH_P_ARP = 0x0806
_INTERFACE = "eth0"

T = TypeVar("T")


class ProbeGuest:
    """A guest with `port`'s address and MAC behind the tap `tap`. A context manager."""

    def __init__(self, tap: str, port: ShownPort) -> None:
        self.tap = tap
        self._port = port
        self._thread = ThreadPoolExecutor(1, initializer=_leave_network)

    def __enter__(self) -> Self:
        """Make tap and guest. Raises KernelError."""
        try:
            self._wire()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        ask(["ip", "link", "del", self.tap])
        self._thread.shutdown(wait=True)

    def arp(self, address: str) -> ProbeReply:
        """Ask who has the address."""
        return self._inside(lambda: _arp(self._port, address))

    def request(
        self,
        asked: ProbeRequest,
        address: str,
        port: int,
        is_refused: Callable[[], bool],
    ) -> ProbeReply:
        """Connect and ask. Never raises for what the network does. `is_refused` says
        that there is nothing to wait for.
        """
        return self._inside(lambda: _request(asked, (address, port), is_refused))

    def _wire(self) -> None:
        thread = self._inside(threading.get_native_id)
        peer = ["peer", "name", _INTERFACE, "address", self._port.mac]
        _ip("link", "add", self.tap, "type", "veth", *peer, "netns", str(thread))
        _ip("link", "set", self.tap, "addrgenmode", "none", "up")
        self._inside(self._set_up)

    def _set_up(self) -> None:
        _ip("link", "set", _INTERFACE, "addrgenmode", "none", "up")
        _ip("address", "add", f"{self._port.address}/32", "dev", _INTERFACE)
        _ip("route", "add", "169.254.0.0/16", "dev", _INTERFACE)

    def _inside(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()


def _leave_network() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")


def _ip(*words: str) -> None:
    """Run in the network of the calling thread, which a child inherits."""
    done = subprocess.run(
        ["ip", *words],  # noqa: S607 - PATH is ours
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": PATH, "LC_ALL": "C"},
    )
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise KernelError(f"ip {' '.join(words)}: {said}")


def _arp(port: ShownPort, address: str) -> ProbeReply:
    question = Ether(src=port.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op="who-has", hwsrc=port.mac, psrc=port.address, pdst=address
    )
    frame = bytes(question)
    protocol = socket.htons(_ETH_P_ARP)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, protocol) as wire:
        wire.bind((_INTERFACE, 0))
        wire.settimeout(ARP_PATIENCE)
        began, end = _date(), time.monotonic() + ARP_PATIENCE
        wire.send(frame)
        while time.monotonic() < end:
            try:
                answer = Ether(wire.recv(256))
            except TimeoutError:
                break
            if ARP in answer and answer[ARP].op == 2 and answer[ARP].psrc == address:
                mac = answer[ARP].hwsrc
                return ProbeReply(arp_asked=began, arp_answered=_date(), arp_mac=mac)
    return ProbeReply(arp_asked=began)


def _request(
    asked: ProbeRequest, service: tuple[str, int], is_refused: Callable[[], bool]
) -> ProbeReply:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.bind(("", 0))
        got = ProbeReply(source_port=connection.getsockname()[1], began=_date())
        try:
            _connect(connection, service, is_refused)
        except OSError as error:
            return replace(got, failure=_why(error), ended=_date())
        got = replace(got, connected=_date())
        connection.settimeout(REPLY_PATIENCE)
        return _exchange(asked, service[0], connection, got)


def _connect(
    connection: socket.socket,
    service: tuple[str, int],
    is_refused: Callable[[], bool],
) -> None:
    connection.setblocking(False)
    code, end = connection.connect_ex(service), time.monotonic() + CONNECT_PATIENCE
    while code == errno.EINPROGRESS:
        if select.select([], [connection], [], LOOK_AGAIN)[1]:
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif is_refused() or time.monotonic() > end:
            raise TimeoutError
    if code:
        raise OSError(code, os.strerror(code))


def _exchange(
    asked: ProbeRequest, address: str, connection: socket.socket, got: ProbeReply
) -> ProbeReply:
    client = http.client.HTTPConnection(address, timeout=REPLY_PATIENCE)
    client.sock = connection
    headers = {"User-Agent": "vagentctl-explain", "Connection": "close"}
    length, end = 0, time.monotonic() + REPLY_PATIENCE
    try:
        client.request(asked.method, asked.path, headers=headers)
        reply = client.getresponse()
        names = tuple(name for name, _value in reply.getheaders())
        got = replace(got, status=reply.status, header_names=names, first_byte=_date())
        while length < MAX_BODY and (piece := reply.read1(65536)):
            length += len(piece)
            if time.monotonic() > end:
                raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        got = replace(got, failure=_why(error))
    return replace(got, length=length, ended=_date())


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "refused at once (TCP reset)"
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno or 0).lower()
    return type(error).__name__
