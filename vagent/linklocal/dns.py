"""Looks up a DNS name with twisted.names, which tells the TTL of an answer.

The system's own resolver does not. Its hosts file and resolv.conf are used here, too.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from vagent.linklocal.resolution import DnsAnswer


class DnsLookup:
    """A look-up that is called with a name. The resolver is made by the first call:
    most hosts never need it, and its import takes some MiB.
    """

    def __init__(self, *, reactor: Any) -> None:
        self._reactor = reactor
        self._resolver: Any = None

    async def __call__(self, name: str, version: int) -> DnsAnswer:
        """The addresses of a name, of IP version 4 or 6. Raises what twisted.names
        does.
        """
        from twisted.names import client, dns, hosts, resolve

        if self._resolver is None:
            self._resolver = resolve.ResolverChain(
                [
                    hosts.Resolver(),
                    client.Resolver("/etc/resolv.conf", reactor=self._reactor),
                ]
            )
        if version == 4:
            found, _, _ = await self._resolver.lookupAddress(name)
            family, kind = socket.AF_INET, dns.A
        else:
            found, _, _ = await self._resolver.lookupIPV6Address(name)
            family, kind = socket.AF_INET6, dns.AAAA
        records = [record for record in found if record.type == kind]
        return DnsAnswer(
            tuple(
                ip_address(socket.inet_ntop(family, record.payload.address))
                for record in records
            ),
            min((float(record.ttl) for record in records), default=0.0),
        )
