"""The metadata proxy alone, on loopback, composed as the agent composes it.

Identity, limits, signature, traces and counters are the real ones; only the registry
is a dictionary, of guests that ask from loopback addresses. A process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.main import installReactor
from twisted.logger import globalLogBeginner

from bench.clients.crowd import Member, load
from vagent.config.model import ClientTls, MetadataProxyConfig, Secret
from vagent.listeners import LISTEN_BACKLOG
from vagent.metadata.http.date import HttpDate
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.request_id import request_ids
from vagent.metadata.upstream.target import HostPort, Target
from vagent.observe.event import event_classes
from vagent.observe.logs import LineLog
from vagent.observe.observer import Observer
from vagent.ports.port import Port, Registration
from vagent.transport.reactor import QuietEpollReactor, freeze_heap

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 128
"""wrk opens one more than it is told to, and 64 is a guest's usual ceiling."""


def main() -> None:
    """Serve until SIGTERM."""
    options = _options()
    build: Any = QuietEpollReactor  # Twisted has no types for it
    reactor = build()
    installReactor(reactor)
    globalLogBeginner.beginLoggingTo(
        [LineLog(sys.stderr, log_level="info")], redirectStandardIO=False
    )
    observer = Observer(now=time.time, log_level="info")  # noqa: TID251  shown as a date
    observer.expect(*event_classes())
    registered = {
        member.address: _registration(number, member)
        for number, member in enumerate(load(options.crowd), 2)
    }
    proxy = MetadataProxy(
        _config(options),
        identify=registered.get,
        emit=observer.emit,
        reactor=reactor,
        request_ids=request_ids(os.urandom),
        date=HttpDate(time.time, time.monotonic).line,  # noqa: TID251  shown as a date
    )
    upstream = HostPort(LOOPBACK, options.upstream)
    proxy.set_target(Target((upstream,), server_name=""))
    reactor.listenTCP(
        options.port, proxy.factory, backlog=LISTEN_BACKLOG, interface=LOOPBACK
    )
    freeze_heap()
    reactor.run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--crowd", type=Path, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument(
        "--unlimited", action="store_true", help="no ceiling on one guest's requests"
    )
    parser.add_argument("--cache-ttl", type=float, default=0.0, help="seconds")
    parser.add_argument("--tls", type=Path, nargs=3, metavar=("CERT", "KEY", "CA"))
    return parser.parse_args()


def _config(options: argparse.Namespace) -> MetadataProxyConfig:
    config = MetadataProxyConfig(
        shared_secret=Secret(options.secret.encode()),
        port=options.port,
        tls=ClientTls(*options.tls) if options.tls else None,
        cache_ttl=options.cache_ttl,
    )
    if not options.unlimited:
        return config
    return replace(
        config,
        max_guest_connections=MAX_CONNECTIONS,
        max_guest_requests=MAX_CONNECTIONS,
        guest_request_rate=0.0,
    )


def _registration(number: int, member: Member) -> Registration:
    address = IPv4Address(member.address)
    port = Port(
        id=member.instance_id,
        instance_id=member.instance_id,
        tenant_id=member.tenant_id,
        network_id="",
        display_name="bench",
        tap=f"tap-{number}",
        mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
        address=address,
        address6=None,
    )
    return Registration(port, number, address)


if __name__ == "__main__":
    main()
