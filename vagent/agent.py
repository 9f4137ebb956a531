"""Composition root: an AgentConfig becomes a running agent.

Every arrow between rooms is a line here, and nothing else is: nobody looks anything up.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from introspect.sources import Sources
from provision.config_api.contrail import ensure_default
from vagent import __version__
from vagent.certificates.expiry_watch import CertificateWatch, certificates_of
from vagent.config.model import AgentConfig
from vagent.datapath.datapath import DataPath
from vagent.datapath.endpoints.active_check import EndpointChecks, connector
from vagent.datapath.endpoints.health import EndpointHealth
from vagent.datapath.fast_path.compose import tap_kernel_of
from vagent.datapath.fast_path.kernel import LinuxFastPath
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.flows.reader import FlowReader
from vagent.datapath.names import Names
from vagent.datapath.system import LinuxSystem
from vagent.datapath.tap.guard import TapGuard
from vagent.datapath.tap.who.watching import TapWatching
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.gauges import add_certificate_gauges, add_gauges
from vagent.in_force import ServicesInForce
from vagent.judgements.book import JudgementBook
from vagent.judgements.judge import judge, stops_all
from vagent.judgements.judgement import Judgement
from vagent.judgements.of_events import EventRecord
from vagent.judgements.of_taps import of_taps
from vagent.kernel.namespace import Namespace
from vagent.keystone.account import KeystoneAccount
from vagent.keystone.own_thread import OwnThread
from vagent.keystone.session import KeystoneSession
from vagent.linklocal.dns import DnsLookup
from vagent.linklocal.resolution import NameFollower
from vagent.linklocal.table import ServiceTable
from vagent.linklocal.watcher import ServiceWatcher
from vagent.listeners import Listeners, own_servers
from vagent.metadata.guest.drain import Drain
from vagent.metadata.http.date import HttpDate
from vagent.metadata.imds_v2.keys import SessionKeys, boot_name, seconds_since_boot
from vagent.metadata.imds_v2.sessions import Sessions
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.request_id import request_ids
from vagent.metadata.upstream.target import target_of
from vagent.nova.additions.added_paths import AddedPaths
from vagent.nova.authority import Authority
from vagent.nova.embedded import EmbeddedServer
from vagent.nova.identity.compose import identity_signer
from vagent.nova.instance_files.precedence import all_instances
from vagent.nova.read_ahead import ReadAhead
from vagent.nova.server import metadata_site
from vagent.nova.source import StoredPasswords
from vagent.nova.tls import TlsFactory
from vagent.nova.tls_files import server_contexts
from vagent.nova.vendordata.compose import answer_deadline, vendor_data_of
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import StoredAnswers
from vagent.nova.vendordata.vendor_data import NoVendorData, VendorData
from vagent.observe.event import event_classes
from vagent.observe.observer import Observer
from vagent.operator_side import listen_for_operators
from vagent.ports.journal import Journal
from vagent.ports.port import Registration
from vagent.ports.registrar import Registrar
from vagent.ports.registry import Change, PortRegistry
from vagent.state_directory import StateDirectory
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker
from vagent.web.own_names import OwnNames
from vagent.web.unix_socket import make_folder


class Agent:
    """One agent. Constructed idle; `start` opens everything, `stop` closes it."""

    def __init__(
        self, config: AgentConfig, *, observer: Observer, reactor: Any
    ) -> None:
        self._config = config
        self._observer = observer
        self._reactor = reactor
        emit = observer.emit
        # Counters are shown at zero, and buffers empty, before anything happens.
        observer.expect(*event_classes())
        self._names = Names.of(
            config.data_path,
            listener_port=config.metadata_proxy.port,
            guest_rate=config.linklocal_flows.max_vm_new_flows,
        )
        self._own_servers = own_servers(config, self._names)
        self._state_directory = StateDirectory(config.state_directory)
        self._limits = FlowLimits(config.linklocal_flows)
        self._worker = Worker("vagent-files", reactor=reactor)
        self._store = SqliteStore(
            config.state_directory / "vagent.sqlite", run_in_thread=self._worker
        )
        self._registry = PortRegistry(
            config.data_path.identity_range,
            emit=emit,
            own_interfaces=self._names.interfaces,
        )
        # A thread of its own: a large flow table must not hold up a port's fsync.
        self._flow_worker = Worker("vagent-flows", reactor=reactor)
        self._kernel_worker = Worker("vagent-rules", reactor=reactor)
        namespace = Namespace(self._names.namespace)
        tap_kernel = tap_kernel_of(config.data_path)
        self._fast_path = FastPath(
            LinuxFastPath(tap_kernel, self._names, inside=namespace),
            guests=self._registry.guests,
            emit=emit,
            clock=reactor,
        )
        self._flows = FlowReader(
            config.data_path.identity_range,
            guests=self._registry.guests,
            services=lambda: self._services.table,
            run_in_thread=self._flow_worker,
            now=time.time,  # noqa: TID251  conntrack dates flows by it
            clock=time.monotonic,
            fast_path_traffic=self._fast_path.traffic,
            near=lambda: self._data_path.near_endpoints,
            inside=namespace,
        )
        self._health = EndpointHealth(
            config.endpoint_check,
            pick=random.Random().choice,  # noqa: S311 it spreads load, no secret
            guests=self._registry.guests,
            emit=emit,
        )
        self._data_path = DataPath(
            config.data_path,
            self._names,
            guests=self._registry.guests,
            limits=self._limits,
            count_flows=self._flows.count,
            host=LinuxSystem(
                reactor=reactor, clock=reactor, run_in_thread=self._kernel_worker
            ),
            inside=LinuxSystem(
                reactor=reactor,
                clock=reactor,
                run_in_thread=self._kernel_worker,
                network=namespace,
            ),
            namespace=namespace,
            taps=TapGuard(tap_kernel),
            health=self._health,
            checks=EndpointChecks(
                config.endpoint_check,
                connect=connector(reactor),
                checked=self._health.checked,
                clock=reactor,
            ),
            fast_path=self._fast_path,
            emit=emit,
            reactor=reactor,
            clock=reactor,
        )
        self._registrar = Registrar(
            self._registry,
            Journal(
                config.state_directory / "ports",
                run_in_thread=self._worker,
                emit=emit,
                contrail=config.contrail_ports,
            ),
            settle=self._data_path.settle,
            emit=emit,
            clock=reactor,
        )
        self._at_taps = TapWatching(
            tap_kernel,
            self._names,
            registry=self._registry,
            services=lambda: self._data_path.service_addresses,
            learn=self._registrar.learn,
            run_in_thread=self._flow_worker,
            emit=emit,
            clock=reactor,
        )
        self._sessions = self._make_sessions()
        self._date = HttpDate(
            time.time,  # noqa: TID251  shown as a date
            reactor.seconds,
        )
        self._proxy = MetadataProxy(
            config.metadata_proxy,
            identify=self._registry.at,
            emit=emit,
            reactor=reactor,
            request_ids=request_ids(os.urandom),
            date=self._date.line,
            sessions=self._sessions,
            own=self._own_servers,
        )
        self._told = EventRecord(observer, reactor)
        self._judgements = JudgementBook(
            self._judge,
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  shown as a date
        )
        self._certificates = CertificateWatch(
            lambda: certificates_of(config),
            emit=emit,
            clock=reactor,
            now=time.time,  # noqa: TID251  certificates end by it
        )
        self._vendor_data: VendorData = NoVendorData()
        self._signer = identity_signer(
            config.state_directory,
            host_name=socket.gethostname(),
            now=time.time,  # noqa: TID251  certificates and tokens have dates
            emit=emit,
            reactor=reactor,
        )
        self._passwords = StoredPasswords(self._store)
        self._instances = all_instances(
            config.metadata_server,
            self._store,
            emit=emit,
            changed=self._instance_changed,
            reactor=reactor,
        )
        self._read_ahead = ReadAhead(
            self._instances, ports_of=self._registry.ports_of, clock=reactor
        )
        self._first_services: Deferred[None] = Deferred()
        self._names_of_services = NameFollower(
            DnsLookup(reactor=reactor),
            self._data_path.services_changed,
            emit=emit,
            clock=reactor,
            own=self._own_servers,
        )
        self._services = ServiceWatcher(
            self._store, self._services_changed, emit, own=self._own_servers
        )
        self._in_force = ServicesInForce(
            self._services, self._names_of_services, self._data_path, clock=reactor
        )
        self._own_names = OwnNames(
            config.operator_host_names,
            reactor=reactor,
            host_name=socket.gethostname(),
        )
        self._listeners = Listeners(reactor, namespace)
        self._drain = Drain(
            config.metadata_proxy,
            connections=self._proxy.connections,
            hold_back=self._data_path.hold_back_metadata,
            has_waiting=self._listeners.has_waiting_guests,
            emit=emit,
            clock=reactor,
        )
        self._not_ready: str | None = "starting"
        self.hurry = self._drain.cut
        self._registry.subscribe(self._ports_changed)
        add_gauges(
            observer.statistics,
            data_path=self._data_path,
            fast_path=self._fast_path,
            limits=self._limits,
            proxy=self._proxy,
            registry=self._registry,
            judgements=self._judgements,
            ready=self._why_not_ready,
        )
        add_certificate_gauges(
            observer.statistics, self._certificates, certificates_of(config)
        )

    async def start(self) -> None:
        """Open everything, in the order in which a guest can rely on it.

        The state directory comes first, so that a second agent with the same one
        changes nothing. Ports and services are known before the first packet is judged,
        and the listener is bound before the first flow is let through. Raises
        StoreError, KernelError, ConfigError; call `stop` in any case.
        """
        self._state_directory.take()
        make_folder(self._config.runtime_directory)
        self._sessions.load()
        self._certificates.start()
        self._worker.start()
        self._flow_worker.start()
        self._kernel_worker.start()
        await self._store.open()
        await ensure_default(self._store)
        self._instances.start()
        await self._registrar.restore()
        self._services.start()
        await self._first_services
        self._start_metadata_server()
        await self._data_path.prepare()
        self._listeners.listen_for_guests(
            self._names,
            self._proxy.factory,
            ipv6=self._data_path.carries_ipv6,
            keep_opening=self._config.metadata_proxy.refuse_beyond_hop_limit,
        )
        await self._data_path.start()
        self._at_taps.start()
        self._listen_for_operators()
        # From now on no call is refused, so what was written before is all there is.
        self._registrar.follow_files()
        self._judgements.start()
        self._not_ready = None

    async def stop(self) -> bool:
        """Answer what guests have asked, then close everything; what fails on the way
        does not keep the rest open.

        Returns whether all of it went well. `hurry` cuts the first part short.
        """
        clean = True
        self._not_ready = "stopping"
        self._proxy.end_long_polls()
        for step in (
            self._drain.run,
            self._listeners.close,
            self._stop_watching,
            self._proxy.stop,
            self._data_path.stop,
            self._store.close,
        ):
            try:
                await step()
            except Exception as failure:  # each part must get its chance
                clean = False
                self._observer.own(_failed(failure), "stop")
        self._worker.stop()
        self._flow_worker.stop()
        self._kernel_worker.stop()
        self._state_directory.release()
        return clean

    def _make_sessions(self) -> Sessions:
        keys = SessionKeys(
            self._config.state_directory / "session-keys",
            boot=boot_name(),
            now=seconds_since_boot,
            entropy=os.urandom,
            emit=self._observer.emit,
        )
        return Sessions(self._config.metadata_proxy.session_tokens, keys)

    def _start_metadata_server(self) -> None:
        config = self._config.metadata_server
        if config is None:
            return
        vendordata = self._config.vendordata
        self._vendor_data = vendor_data_of(
            vendordata,
            store=self._store,
            instances=self._instances,
            credentials=self._account(),
            emit=self._observer.emit,
            reactor=self._reactor,
            now=time.time,  # noqa: TID251  must mean something after a restart
        )
        site: IProtocolFactory = metadata_site(
            self._instances,
            self._passwords,
            Authority(config.shared_secret),
            entropy=os.urandom,
            emit=self._observer.emit,
            reactor=self._reactor,
            date=self._date,
            vendor_data=self._vendor_data,
            additions=AddedPaths(ports_of=self._registry.ports_of, signer=self._signer),
            answer_deadline=answer_deadline(vendordata),
        )
        contexts = server_contexts(config, self._observer.emit)
        if contexts is not None:
            site = TlsFactory(
                contexts, site, emit=self._observer.emit, clock=self._reactor
            )
        self._listeners.listen(config.listen, site, "metadata server")
        self._registry.subscribe(self._read_ahead.ports_changed)
        self._read_ahead.expect(
            each.port.instance_id for each in self._registry.registrations()
        )

    def _account(self) -> KeystoneAccount | None:
        credentials = self._config.service_credentials
        if credentials is None:
            return None
        return KeystoneAccount(
            KeystoneSession(credentials),
            run_in_thread=OwnThread("vagent-keystone", reactor=self._reactor),
            emit=self._observer.emit,
            clock=self._reactor,
        )

    def _listen_for_operators(self) -> None:
        self._own_names.start()
        listen_for_operators(
            self._listeners,
            self._config,
            names=self._own_names,
            registrar=self._registrar,
            store=self._store,
            services=lambda: self._services.table,
            data_path=self._data_path,
            refusals_of=self._at_taps.refusals_of,
            in_force=self._in_force,
            own=self._own_servers,
            sources=self._sources(),
            embedded=EmbeddedServer(
                VendorDataReport(StoredAnswers(self._store, self._observer.emit)),
                instances=self._instances,
                passwords=self._passwords,
                vendor_data=self._vendor_data,
                signer=self._signer,
                entropy=os.urandom,
            ),
            emit=self._observer.emit,
            reactor=self._reactor,
        )

    def _sources(self) -> Sources:
        return Sources(
            metadata_port=lambda: self._names.listener_port,
            services=lambda: self._services.table,
            registrations=self._registry.registrations,
            port_state=self._data_path.state,
            traces=self._observer.traces,
            statistics=self._observer.statistics,
            ready=self._why_not_ready,
            look=self._data_path.look,
            version=__version__,
            proxy=self._proxy.snapshot,
            certificates=self._certificates.snapshot,
            judgements=self._judgements.current,
            refusals=self._at_taps.refusals,
            flows=self._flows.read,
            endpoints_of=self._data_path.endpoints_of,
            not_in_force=self._in_force.not_in_force,
        )

    def _judge(self) -> Iterator[Judgement]:
        """Everything that is wrong now."""
        find, taps = self._registry.get, self._at_taps
        found = (*judge(self._proxy.endpoints(), self._proxy.refusals, find),)
        yield from found
        yield from self._told.judgements(find, is_told=stops_all(found))
        yield from self._instances.judgements()
        yield from of_taps(taps.refusals(), taps.without_port(), taps.silent())

    def _why_not_ready(self) -> str | None:
        return self._not_ready or self._data_path.trouble or None

    def _ports_changed(self, change: Change) -> None:
        for old, new in change.pairs():
            if old is not None and not _same_identity(old, new):
                self._proxy.forget(str(old.identity))
                self._proxy.refusals.forget(old.port.id)
        self._data_path.ports_changed(change)

    def _instance_changed(self, instance_id: str) -> None:
        self._proxy.instance_changed(instance_id)
        if self._config.metadata_server is not None:
            self._read_ahead.instance_changed(instance_id)

    def _services_changed(self, table: ServiceTable) -> None:
        self._told.forget_failing()
        metadata = table.metadata()
        self._proxy.set_target(None if metadata is None else target_of(metadata))
        self._names_of_services.follow(table)
        if not self._first_services.called:
            self._first_services.callback(None)

    async def _stop_watching(self) -> None:
        self._own_names.stop()
        self._at_taps.stop()
        self._read_ahead.stop()
        self._instances.stop()
        self._certificates.stop()
        self._judgements.stop()
        self._names_of_services.stop()
        await _finished(self._services.stop())


def _same_identity(old: Registration, new: Registration | None) -> bool:
    """May its connections stay? A mode of session tokens is looked up for each."""
    if new is None or new.index != old.index:
        return False
    return replace(old.port, session_tokens=new.port.session_tokens) == new.port


async def _finished(result: Any) -> None:
    if isinstance(result, Deferred):
        await result


def _failed(failure: Exception) -> Deferred[None]:
    deferred: Deferred[None] = Deferred()
    deferred.errback(failure)
    return deferred
