"""Looks a name up with twisted.names, whose answers carry their TTL.

The system's hosts file and resolv.conf are honoured; the system's own resolver does
not tell how long an answer holds.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from vagent.linklocal.resolution import DnsAnswer


class DnsLookup:
    """Call it with a name. The resolver is made at the first call: most hosts never
    need one, and importing it costs some MiB.
    """

    def __init__(self, *, reactor: Any) -> None:
        self._reactor = reactor
        self._resolver: Any = None

    async def __call__(self, name: str, version: int) -> DnsAnswer:
        """IPv4 or IPv6 addresses of a name. Raises what twisted.names raises."""
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
