"""The metadata proxy alone, on loopback, composed as the agent composes it.

Identity, limits, signature, traces and counters are the real ones; only the registry
is a dictionary with one port in it, for 127.0.0.1. A process of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from twisted.internet.main import installReactor
from twisted.logger import globalLogBeginner

from vagent.agent import LISTEN_BACKLOG
from vagent.config.model import ClientTls, MetadataProxyConfig, Secret
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.reactor import QuietEpollReactor
from vagent.metadata.target import HostPort, Target
from vagent.observe.event import Event
from vagent.observe.logs import LineLog
from vagent.observe.observer import Observer
from vagent.ports.port import Port, Registration

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 128
"""wrk opens one more than it is told to, and 64 is a guest's usual ceiling."""


class _WallClock:
    def seconds(self) -> float:
        return time.time()


def main() -> None:
    """Serve until SIGTERM."""
    options = _options()
    build: Any = QuietEpollReactor  # Twisted has no types for it
    reactor = build()
    installReactor(reactor)
    globalLogBeginner.beginLoggingTo(
        [LineLog(sys.stderr, log_level="info")], redirectStandardIO=False
    )
    observer = Observer(clock=_WallClock(), log_level="info")
    observer.expect(*Event.__subclasses__())
    registered = {LOOPBACK: _registration(options)}
    proxy = MetadataProxy(
        _config(options),
        identify=registered.get,
        emit=observer.emit,
        reactor=reactor,
    )
    upstream = HostPort(LOOPBACK, options.upstream)
    proxy.set_target(Target((upstream,), server_name=""))
    reactor.listenTCP(
        options.port, proxy.factory, backlog=LISTEN_BACKLOG, interface=LOOPBACK
    )
    reactor.run()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--tls", type=Path, nargs=3, metavar=("CERT", "KEY", "CA"))
    return parser.parse_args()


def _config(options: argparse.Namespace) -> MetadataProxyConfig:
    return MetadataProxyConfig(
        shared_secret=Secret(options.secret.encode()),
        port=options.port,
        tls=ClientTls(*options.tls) if options.tls else None,
        max_guest_connections=MAX_CONNECTIONS,
        max_guest_requests=MAX_CONNECTIONS,
        guest_request_rate=0.0,
        cache_ttl=0.0,
    )


def _registration(options: argparse.Namespace) -> Registration:
    port = Port(
        id=options.instance,
        instance_id=options.instance,
        tenant_id=options.tenant,
        network_id="",
        display_name="bench",
        tap="tap-bench",
        mac="02:00:00:00:00:01",
        address=IPv4Address(LOOPBACK),
        address6=None,
    )
    return Registration(port, 2, IPv4Address(LOOPBACK))


if __name__ == "__main__":
    main()
