"""The rooms of an agent, tied as `vagent.agent` ties them, on a machine in memory."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec, patch
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from provision.config_api.server import config_api_site
from tests.gates import open_gate
from tests.unit.vagent.datapath.tap.fake_tap_kernel import FakeTapKernel
from tests.unit.vagent.metadata.proxy_rig import GET, FakeTransport
from tests.walks.machine import (
    Machine,
    OpenNamespace,
    Packet,
    Queue,
    System,
    at_once,
    opening_packet,
)
from vagent.config.model import AgentConfig, MetadataProxyConfig, Secret
from vagent.datapath.datapath import DataPath
from vagent.datapath.endpoints.active_check import EndpointChecks, connector
from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.fast_path.kernel import LinuxFastPath
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.names import Names
from vagent.datapath.tap.guard import TapGuard
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.kernel.namespace import OwnNetwork
from vagent.linklocal.codec import FQ_NAME, KIND, PROPERTY, wire_entry
from vagent.linklocal.dns import DnsLookup
from vagent.linklocal.resolution import NameFollower
from vagent.linklocal.table import ServiceTable
from vagent.linklocal.watcher import ServiceWatcher
from vagent.metadata.guest.identity_headers import GuestIdentities, GuestIdentity
from vagent.metadata.http.date import HttpDate
from vagent.metadata.imds_v2.keys import SessionKeys
from vagent.metadata.imds_v2.sessions import Sessions
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.request_id import request_ids
from vagent.metadata.upstream.target import target_of
from vagent.observe.event import event_classes
from vagent.observe.observer import Observer
from vagent.ports.port import Port
from vagent.ports.registry import Change, PortRegistry
from vagent.store.sqlite import SqliteStore

METADATA = wire_entry(
    name="metadata",
    address="169.254.169.254",
    port=80,
    fabric_addresses=["192.0.2.1"],
    fabric_port=8775,
)
NTP = wire_entry(
    name="ntp",
    address="169.254.1.123",
    port=123,
    fabric_addresses=["192.0.2.123", "192.0.2.124"],
    fabric_port=123,
)
DNS = wire_entry(
    name="dns",
    address="169.254.1.53",
    port=53,
    fabric_addresses=["192.0.2.53"],
    fabric_port=53,
)
_UUID = UUID("a0000000-0000-4000-8000-000000000001")
_QUEUE = "vagent.datapath.trap.nfqueue.NetfilterQueue"


class House:
    """An agent with the metadata service and one of other machines. Close it."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine()
        self.queue = Queue()
        observer = Observer(now=self.machine.seconds, log_level="critical")
        observer.expect(*event_classes())
        self._emit = observer.emit
        config = AgentConfig(
            metadata_proxy=MetadataProxyConfig(shared_secret=Secret(b"secret"))
        )
        self._registry = PortRegistry(config.data_path.identity_range, emit=self._emit)
        self._identities = GuestIdentities(config.metadata_proxy.shared_secret)
        self._proxy = self._make_proxy(config.metadata_proxy, folder)
        self._data_path = self._make_data_path(config)
        self._names_of_services = NameFollower(
            DnsLookup(reactor=self.machine),
            self._data_path.services_changed,
            emit=self._emit,
            clock=self.machine,
        )
        self._store = SqliteStore(folder / "store.sqlite", run_in_thread=at_once)
        self._services = ServiceWatcher(self._store, self._services_changed, self._emit)
        self._config_api = config_api_site(
            self._store,
            names=(),
            gate=open_gate(),
            emit=self._emit,
            clock=self.machine,
            services=lambda: self._services.table,
            new_uuid=lambda: _UUID,
        )
        self._registry.subscribe(self._ports_changed)
        _done(self._store.open())
        self._services.start()
        with patch(_QUEUE, lambda: self.queue):
            _done(self._data_path.start())
        self._create_services()
        self.provision(METADATA, NTP)

    def add_guest(self, number: int) -> tuple[str, str, str]:
        """Register a guest. The identities that stand for its IPv4 address, for a
        further one and for its IPv6 address, as a socket spells them.
        """
        port = Port(
            id=f"port-{number}",
            instance_id=f"instance-{number}",
            tenant_id=f"tenant-{number}",
            network_id="",
            display_name="",
            tap=f"tap{number}",
            mac=f"02:00:00:00:00:{number:02x}",
            address=IPv4Address("10.0.0.5"),
            address6=IPv6Address("2001:db8::5"),
            further=(IPv4Address("10.0.0.6"),),
        )
        (registration,) = self._registry.add([port])
        self.machine.advance(0)
        further = registration.identity_at(registration.further[0])
        return str(registration.identity), str(further), str(registration.identity6)

    def warm_up(self, identities: tuple[str, ...]) -> None:
        """Do everything once for this guest: imports and first times are then over."""
        for identity in identities:
            self.identify(identity)
        self.queue.trap(Packet(opening_packet(identities[0])))
        self.request(identities[0])
        self.provision()
        self.provision(METADATA, NTP)

    def request(self, identity: str) -> None:
        """A guest connects to the metadata service and asks once."""
        transport = FakeTransport(identity)
        guest = cast("Any", self._proxy.factory.buildProtocol(transport.getPeer()))
        transport.protocol = guest
        guest.makeConnection(transport)
        guest.dataReceived(GET)

    def identify(self, identity: str) -> GuestIdentity:
        """Who asks from this address: signed headers, and the guest's own address."""
        registration = self._registry.at(identity)
        assert registration is not None
        return self._identities.of(registration, identity)

    def provision(self, *services: dict[str, Any]) -> None:
        """Make these the services, by Contrail's API, and let the agent follow."""
        value = {PROPERTY: {"linklocal_service_entry": list(services)}}
        self._call("PUT", f"/{KIND}/{_UUID}", {KIND: value})
        self.machine.advance(0)

    def close(self) -> None:
        """Close what is open."""
        _done(self._data_path.stop())
        _done(self._store.close())

    def _make_proxy(self, config: MetadataProxyConfig, folder: Path) -> MetadataProxy:
        keys = SessionKeys(
            folder / "session-keys",
            boot="boot",
            now=self.machine.seconds,
            entropy=bytes,
            emit=self._emit,
        )
        return MetadataProxy(
            config,
            identify=self._registry.at,
            emit=self._emit,
            reactor=self.machine,
            request_ids=request_ids(bytes),
            date=HttpDate(self.machine.seconds, self.machine.seconds).line,
            sessions=Sessions(config.session_tokens, keys),
        )

    def _make_data_path(self, config: AgentConfig) -> DataPath:
        health = EndpointHealth(
            config.endpoint_check,
            pick=max,
            guests=self._registry.guests,
            emit=self._emit,
        )
        return DataPath(
            config.data_path,
            Names.of(config.data_path, listener_port=8097, guest_rate=1000),
            guests=self._registry.guests,
            limits=FlowLimits(config.linklocal_flows),
            count_flows=_no_flows,
            host=System(self.machine),
            inside=System(self.machine, OwnNetwork()),
            namespace=OpenNamespace(),
            taps=TapGuard(FakeTapKernel()),
            health=health,
            checks=EndpointChecks(
                config.endpoint_check,
                connect=connector(self.machine),
                checked=health.checked,
                clock=self.machine,
            ),
            fast_path=FastPath(
                create_autospec(LinuxFastPath, instance=True),
                guests=self._registry.guests,
                emit=self._emit,
                clock=self.machine,
            ),
            emit=self._emit,
            reactor=self.machine,
            clock=self.machine,
        )

    def _ports_changed(self, change: Change) -> None:
        self._data_path.ports_changed(change)

    def _services_changed(self, table: ServiceTable) -> None:
        metadata = table.metadata()
        self._proxy.set_target(None if metadata is None else target_of(metadata))
        self._names_of_services.follow(table)

    def _create_services(self) -> None:
        self._call("POST", f"/{KIND}s", {KIND: {"fq_name": list(FQ_NAME)}})

    def _call(self, method: str, path: str, body: dict[str, Any]) -> None:
        transport = StringTransport()
        channel = self._config_api.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        content = json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
        channel.dataReceived(b"%b%d\r\n\r\n%b" % (head.encode(), len(content), content))
        answer = transport.value()
        assert answer.startswith(b"HTTP/1.1 200 "), answer


async def _no_flows() -> dict[int, int]:
    return {}


def _done(work: Any) -> None:
    """Run a coroutine that does not wait."""
    failures: list[object] = []
    deferred = Deferred.fromCoroutine(work)
    deferred.addErrback(lambda failure: failures.append(failure.value))
    assert ([], True) == (failures, deferred.called), failures
