"""The sockets on which the agent listens, opened and closed as one."""

from __future__ import annotations

import os
import select
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
)
from twisted.python.failure import Failure

from vagent.config.model import AgentConfig, Listen
from vagent.datapath.names import Names
from vagent.errors import KernelError
from vagent.kernel.namespace import Network
from vagent.kernel.rtnl_route import is_local
from vagent.linklocal.own_servers import OwnServer, OwnServers
from vagent.metadata.guest.hops import keep_opening_packets
from vagent.web.unix_socket import ROOT_MODE, address_of, give_to_group, make_way

LISTEN_BACKLOG = 1024
"""Guests' connections that the kernel completes while the agent is busy: a rack of
guests that starts at once."""


def own_servers(config: AgentConfig, names: Names) -> OwnServers:
    """All servers that the agent opens over TCP, to which no service may lead."""
    servers = [
        OwnServer("the port API", config.port_api.address, config.port_api.port),
        OwnServer("the config API", config.config_api.address, config.config_api.port),
        OwnServer(
            "the introspection", config.introspect.address, config.introspect.port
        ),
    ]
    servers += [
        OwnServer("the metadata proxy", address, names.listener_port)
        for address in (names.listener_address, names.listener_address6)
    ]
    if config.metadata_server is not None:
        where = config.metadata_server.listen
        servers.append(
            OwnServer(
                "the embedded metadata server",
                where.address,
                where.port,
                answers_metadata=True,
            )
        )
    return OwnServers(
        servers,
        is_local=_is_local,
        identities=(names.identity_range, names.identity_range6),
    )


def _is_local(address: IPv4Address | IPv6Address) -> bool:
    """Is it an address of this host? One of which the kernel says nothing counts."""
    if isinstance(address, IPv6Address) or address.is_loopback:
        return address.is_loopback
    try:
        return is_local(address)
    except KernelError:
        return True


class SocketPort(unix.Port):
    """A listening Unix socket that can be closed although somebody removed its file,
    on which Twisted's never ends closing.
    """

    def connectionLost(self, reason: Failure) -> None:
        """Remove the file, if it is there."""
        if Path(os.fsdecode(self.getHost().name)).exists():
            super().connectionLost(reason)
        else:
            tcp.Port.connectionLost(self, reason)


class Listeners:
    """Opens listening sockets on the reactor and remembers them for `close`."""

    def __init__(self, reactor: Any, network: Network) -> None:
        self._network = network
        self._reactor = reactor
        self._open: list[IListeningPort] = []
        self._guests: list[IListeningPort] = []
        self._addresses = ExitStack()

    def listen(self, where: Listen, site: IProtocolFactory, what: str) -> None:
        """Listen for TCP. Raises KernelError, which begins with `what`."""
        try:
            port = self._reactor.listenTCP(
                where.port, site, interface=str(where.address)
            )
        except CannotListenError as failure:
            raise KernelError(f"{what}: {failure}") from failure
        self._open.append(port)

    def listen_on_socket(
        self, path: Path, site: IProtocolFactory, group: int | None
    ) -> str:
        """Listen on a Unix socket that root can use and, if there is one, a group. Says
        why the group cannot, "" if it can. Raises KernelError.

        Twisted sets its mode after it is bound and before it listens, so at no time can
        anybody else connect.
        """
        try:
            address = self._addresses.enter_context(address_of(path))
            make_way(path, address)
            name = os.fsencode(address)
            port = SocketPort(name, site, mode=ROOT_MODE, reactor=self._reactor)
            port.startListening()
            self._open.append(port)
        except (CannotListenError, OSError) as failure:
            raise KernelError(f"{path}: {failure}") from failure
        return "" if group is None else give_to_group(path, group)

    def listen_for_guests(
        self,
        names: Names,
        factory: IProtocolFactory,
        *,
        ipv6: bool,
        keep_opening: bool,
    ) -> None:
        """Open the metadata listener, to which guests' flows are translated, for IPv4
        and if wanted for IPv6. With `keep_opening` the kernel keeps the packet that
        opened each connection, for its TTL. Raises KernelError.
        """
        families = [(socket.AF_INET, str(names.listener_address))]
        if ipv6:
            families.append((socket.AF_INET6, str(names.listener_address6)))
        for family, address in families:
            with self._network.entered():
                listener = socket.socket(family, socket.SOCK_STREAM)
            with _bound(listener, names, address, keep_opening) as listener:
                self._guests.append(
                    self._reactor.adoptStreamPort(listener.fileno(), family, factory)
                )

    def has_waiting_guests(self) -> bool:
        """Has the kernel connections of guests that were not accepted yet?"""
        waiting = select.poll()
        for port in self._guests:
            waiting.register(cast("IReadDescriptor", port).fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    async def close(self) -> None:
        """Stop listening; connections that are open stay."""
        closing = [*self._guests, *self._open]
        self._guests, self._open = [], []
        for port in closing:
            await maybeDeferred(port.stopListening)
        self._addresses.close()


def _bound(
    listener: socket.socket, names: Names, address: str, keep_opening: bool
) -> socket.socket:
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Packets that come by another interface never get to this socket.
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_BINDTODEVICE, names.inner_side.encode()
        )
        if keep_opening:
            keep_opening_packets(listener)
        listener.bind((address, names.listener_port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as failure:
        listener.close()
        raise KernelError(
            f"metadata listener {address} port {names.listener_port}: {failure}"
        ) from failure
    return listener
