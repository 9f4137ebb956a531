"""An agent made of values, for pages to show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar

import pytest

from introspect.sources import Sources, no_look
from vagent.certificates.expiry_watch import CertificateSnapshot
from vagent.datapath.flows.flow import FlowList
from vagent.datapath.tap.who.refusals import Refusal
from vagent.judgements.judgement import Judgement
from vagent.linklocal.service import LinkLocalService
from vagent.metadata.snapshot import ProxySnapshot
from vagent.observe.event import Event
from vagent.observe.statistics import Statistics
from vagent.observe.traces import TraceBuffers
from vagent.ports.port import Port, Registration


@dataclass(slots=True)
class Traced(Event):
    line: str
    sandesh: ClassVar[str] = "MetadataTrace"

    def text(self) -> str:
        return self.line


@dataclass
class World:
    """What the sources tell; tests change it between requests."""

    services: list[LinkLocalService] = field(default_factory=list)
    registrations: list[Registration] = field(default_factory=list)
    states: dict[int, str] = field(default_factory=dict)
    reason: str | None = None
    proxy: ProxySnapshot | None = None
    judgements: tuple[Judgement, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    certificates: tuple[CertificateSnapshot, ...] = ()
    flows: FlowList | Exception | Awaitable[FlowList] = field(default_factory=FlowList)
    asked_flows: list[Registration | None] = field(default_factory=list)
    traces: TraceBuffers = field(default_factory=TraceBuffers)
    statistics: Statistics = field(default_factory=Statistics)
    look: Callable[[], Awaitable[None]] = no_look

    def sources(self) -> Sources:
        return Sources(
            metadata_port=lambda: 8097,
            services=lambda: self.services,
            registrations=lambda: self.registrations,
            port_state=lambda each: self.states.get(each.index, "Active"),
            traces=self.traces,
            statistics=self.statistics,
            ready=lambda: self.reason,
            look=self.look,
            version="1.2.3",
            proxy=lambda: self.proxy,
            certificates=lambda: self.certificates,
            judgements=lambda: self.judgements,
            refusals=lambda: self.refusals,
            flows=self.read_flows,
        )

    async def read_flows(self, registration: Registration | None) -> FlowList:
        self.asked_flows.append(registration)
        if isinstance(self.flows, Exception):
            raise self.flows
        return self.flows if isinstance(self.flows, FlowList) else await self.flows

    def trace(self, text: str, *, buffer: str = "Metadata", time: float = 0.0) -> None:
        self.traces.ring(buffer).append((time, Traced(text)))

    def count(self, name: str, reason: str = "", amount: int = 1) -> None:
        self.statistics.counter(name, "About it.").add(reason, amount)

    def service(self, name: str, address: str, port: int, **more: object) -> None:
        values: dict[str, Any] = {
            "fabric_addresses": (IPv4Address("10.0.0.5"),),
            "fabric_port": 8775,
        } | more
        parse = IPv6Address if ":" in address else IPv4Address
        self.services.append(LinkLocalService(name, parse(address), port, **values))

    def register(self, index: int, **more: object) -> None:
        values: dict[str, Any] = {
            "id": f"93c2c386-6e79-485e-bfa4-{index:012}",
            "instance_id": "32d0524b-314d-4594-b3a3-607e3f2354f8",
            "tenant_id": "0123456789abcdef0123456789abcdef",
            "network_id": "7cb03bb6-b3f6-4a1c-9cb1-ce0b3b6b0b01",
            "display_name": f"web-{index}",
            "tap": f"tap{index:04}",
            "mac": f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}",
            "address": IPv4Address("10.0.0.0") + index,
            "address6": None,
        } | more
        identity = IPv4Address("169.254.64.0") + index
        self.registrations.append(Registration(Port(**values), index, identity))


@pytest.fixture
def world() -> World:
    """An agent that has nothing yet."""
    return World()


@pytest.fixture
def many(world: World) -> Callable[[int], World]:
    """An agent with so many interfaces, from index 2 on."""

    def make(count: int) -> World:
        for index in range(2, count + 2):
            world.register(index)
        return world

    return make
