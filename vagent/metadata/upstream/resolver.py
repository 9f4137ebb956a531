"""Names of nova-api never lead to the agent's own servers, nor where none can be.

A request that went there would come from the agent itself, and a guest that chose its
path would be an operator.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from vagent.linklocal.own_servers import OwnServers
from vagent.metadata.upstream.events import UpstreamNotUsed
from vagent.observe.event import Emit


@implementer(IReactorPluggableNameResolver)
class ReactorWithout:
    """A reactor whose names have no addresses that must not be used."""

    def __init__(self, reactor: Any, own: OwnServers, emit: Emit) -> None:
        self._reactor = reactor
        self.nameResolver: IHostnameResolver = _ResolverWithout(
            reactor.nameResolver, own, emit
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Nobody installs one here."""
        raise NotImplementedError


@implementer(IHostnameResolver)
class _ResolverWithout:
    def __init__(self, resolver: Any, own: OwnServers, emit: Emit) -> None:
        self._resolver = resolver
        self._own = own
        self._emit = emit

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        *more: Any,
        **named: Any,
    ) -> Any:
        """As the resolver behind it."""
        receiver = _Receiver(resolutionReceiver, hostName, self._own, self._emit)
        return self._resolver.resolveHostName(
            receiver, hostName, portNumber, *more, **named
        )


@implementer(IResolutionReceiver)
class _Receiver:
    def __init__(self, receiver: Any, name: str, own: OwnServers, emit: Emit) -> None:
        self._receiver = receiver
        self._name = name
        self._own = own
        self._emit = emit

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Pass it on."""
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IAddress) -> None:
        """Pass it on, unless it must not be used, which is said."""
        where: Any = address
        found = ip_address(where.host)
        why_not = self._own.why_not_at(found, where.port, metadata=True)
        if why_not:
            self._emit(UpstreamNotUsed(self._name, where.host, where.port, why_not))
        else:
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """Pass it on."""
        self._receiver.resolutionComplete()
