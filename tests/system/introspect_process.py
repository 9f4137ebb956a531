"""A real introspection server in a process of its own: reactor, loopback.

Started by tests as `python introspect_process.py`; prints the port that it got and
then runs until it is killed. One guest's name and one trace line are hostile.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twisted.internet import reactor as _reactor  # noqa: TID251  # this process is the root

from introspect.server import introspect_site
from introspect.sources import Sources
from vagent.config.model import Access, SessionMode
from vagent.kernel.sock_diag import socket_owner
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.snapshot import GuestLimits, ProxySnapshot
from vagent.metadata.upstream.circuit_breaker import BreakerState
from vagent.metadata.upstream.endpoint import EndpointSnapshot
from vagent.observe.event import Event, Metric
from vagent.observe.observer import Observer
from vagent.ports.port import Port, Registration
from vagent.web.caller import Operators
from vagent.web.gate import Gate

reactor = cast("Any", _reactor)  # zope's interfaces say less than it can do

HOSTILE = "\"><svg onload=document.title='owned'><script>alert(1)</script>\x1b&lt;"


@dataclass(slots=True)
class Asked(Event):
    """Requests read from guests."""

    url: str
    counter = Metric("metadata_requests_total", "Requests read from guests.")
    buffer = "Metadata"
    sandesh = "MetadataTrace"

    def text(self) -> str:
        return f"GET request for VM : 1.1.1.3 URL : {self.url}"


PORT = Port(
    id="93c2c386-6e79-485e-bfa4-b9daa713133b",
    instance_id="32d0524b-314d-4594-b3a3-607e3f2354f8",
    tenant_id="0123456789abcdef0123456789abcdef",
    network_id="7cb03bb6-b3f6-4a1c-9cb1-ce0b3b6b0b01",
    display_name=HOSTILE,
    tap="tap93c2c386-6e",
    mac="02:93:c2:c3:86:6e",
    address=IPv4Address("1.1.1.3"),
    address6=None,
)
METADATA = LinkLocalService(
    "metadata", IPv4Address("169.254.169.254"), 80, (IPv4Address("10.0.0.5"),), 8775
)

PROXY = ProxySnapshot(
    port=8097,
    guests=1,
    connections=2,
    requests_in_flight=0,
    requests_waiting=0,
    cached_replies=0,
    cached_bytes=0,
    cache_hits=0,
    coalesced=0,
    limits=GuestLimits(64, 32, 500.0, 1000),
    session_tokens=SessionMode.OFF,
    endpoints=(
        EndpointSnapshot("192.0.2.7:8775", "nova-a", BreakerState.UP, 0, 1, 0, None),
    ),
    conspicuous=(),
)


def _serve() -> None:
    observer = Observer(now=time.time, log_level="info")  # noqa: TID251  shown as a date
    for url in ("latest/meta-data/", "openstack/latest/meta_data.json", HOSTILE):
        observer.emit(Asked(url))
    sources = Sources(
        metadata_port=lambda: 8097,
        services=lambda: [METADATA],
        registrations=lambda: [Registration(PORT, 2, IPv4Address("169.254.64.2"))],
        port_state=lambda _registration: "Active",
        traces=observer.traces,
        statistics=observer.statistics,
        ready=lambda: None,
        version="1.2.3",
        proxy=lambda: PROXY,
    )
    site = introspect_site(
        sources,
        names=("localhost",),
        gate=Gate(Access(), operators=Operators(), owner_of=socket_owner),
        emit=observer.emit,
        clock=reactor,
        now=time.time,  # noqa: TID251  shown as a date
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    print(port.getHost().port, flush=True)


if __name__ == "__main__":
    reactor.callWhenRunning(_serve)
    reactor.run()
