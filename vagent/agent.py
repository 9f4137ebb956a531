"""Composition root: an AgentConfig becomes a running agent.

Every arrow between rooms is a line here, and nothing else is: nobody looks anything up.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from introspect.server import introspect_site
from introspect.sources import Sources
from provision.config_api.server import config_api_site
from vagent import __version__
from vagent.certificates.expiry_watch import CertificateWatch, certificates_of
from vagent.config.model import AgentConfig, Listen
from vagent.datapath.datapath import DataPath
from vagent.datapath.endpoints.active_check import EndpointChecks, connector
from vagent.datapath.endpoints.liveness import Liveness
from vagent.datapath.fast_path.kernel import LinuxFastPath
from vagent.datapath.fast_path.offload import FastPath
from vagent.datapath.flows.reader import FlowReader
from vagent.datapath.names import Names
from vagent.datapath.system import LinuxSystem
from vagent.datapath.trap.flow_limits import FlowLimits
from vagent.errors import KernelError
from vagent.linklocal.dns import DnsLookup
from vagent.linklocal.resolution import NameFollower
from vagent.linklocal.table import ServiceTable
from vagent.linklocal.watcher import ServiceWatcher
from vagent.metadata.guest.hops import keep_opening_packets
from vagent.metadata.imds_v2.keys import SessionKeys, boot_name, seconds_since_boot
from vagent.metadata.imds_v2.sessions import Sessions
from vagent.metadata.proxy import MetadataProxy
from vagent.metadata.upstream.target import target_of
from vagent.nova.authority import Authority
from vagent.nova.codec import check_instance
from vagent.nova.server import metadata_site
from vagent.nova.source import PASSWORD_KIND, StoredInstances, StoredPasswords
from vagent.nova.tls import TlsFactory
from vagent.nova.tls_files import server_contexts
from vagent.observe.event import Event
from vagent.observe.observer import Observer
from vagent.ports.journal import Journal
from vagent.ports.port import Registration
from vagent.ports.registrar import Registrar
from vagent.ports.registry import Change, PortRegistry
from vagent.ports.server import port_api_site
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker

LISTEN_BACKLOG = 1024
"""Guests' connections that the kernel completes while the agent is busy: a rack of
guests that starts at once."""


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
        observer.expect(*Event.__subclasses__())
        self._names = Names.of(
            config.data_path,
            listener_port=config.metadata_proxy.port,
            guest_rate=config.linklocal_flows.max_vm_new_flows,
        )
        self._limits = FlowLimits(config.linklocal_flows)
        self._worker = Worker("vagent-files", reactor=reactor)
        self._store = SqliteStore(
            config.state_directory / "vagent.sqlite", run_in_thread=self._worker
        )
        self._registry = PortRegistry(config.data_path.identity_range, emit=emit)
        # A thread of its own: a large flow table must not hold up a port's fsync.
        self._flow_worker = Worker("vagent-flows", reactor=reactor)
        self._kernel_worker = Worker("vagent-rules", reactor=reactor)
        self._fast_path = FastPath(
            LinuxFastPath(
                queue_number=config.data_path.queue_number,
                name=self._names.table,
                host_side=self._names.host_side,
            ),
            emit=emit,
            clock=reactor,
        )
        self._flows = FlowReader(
            config.data_path.identity_range,
            registrations=self._registry.registrations,
            services=lambda: self._services.table,
            run_in_thread=self._flow_worker,
            now=time.time,
            carried=self._fast_path.carried,
        )
        self._liveness = Liveness(
            config.endpoint_check,
            pick=random.Random().choice,  # noqa: S311 it spreads load, no secret
            emit=emit,
        )
        self._data_path = DataPath(
            config.data_path,
            self._names,
            limits=self._limits,
            count_flows=self._flows.count,
            system=LinuxSystem(
                reactor=reactor, clock=reactor, run_in_thread=self._kernel_worker
            ),
            liveness=self._liveness,
            checks=EndpointChecks(
                config.endpoint_check,
                connect=connector(reactor),
                checked=self._liveness.checked,
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
                config.state_directory / "ports", run_in_thread=self._worker, emit=emit
            ),
            settle=self._data_path.settle,
            emit=emit,
            clock=reactor,
        )
        self._sessions = self._make_sessions()
        self._proxy = MetadataProxy(
            config.metadata_proxy,
            identify=self._registry.at,
            emit=emit,
            reactor=reactor,
            sessions=self._sessions,
        )
        self._certificates = CertificateWatch(
            lambda: certificates_of(config),
            emit=emit,
            clock=reactor,
            now=time.time,
        )
        self._instances = StoredInstances(self._store, emit)
        self._first_services: Deferred[None] = Deferred()
        self._names_of_services = NameFollower(
            DnsLookup(reactor=reactor),
            self._data_path.services_changed,
            emit=emit,
            clock=reactor,
        )
        self._services = ServiceWatcher(self._store, self._services_changed, emit)
        self._listening: list[IListeningPort] = []
        self._not_ready: str | None = "starting"
        self._registry.subscribe(self._ports_changed)
        self._add_gauges()

    async def start(self) -> None:
        """Open everything, in the order in which a guest can rely on it.

        Ports and services are known before the first packet is judged, and the listener
        is bound before the first flow is let through. Raises StoreError, KernelError,
        ConfigError; call `stop` in any case.
        """
        self._make_directories()
        self._sessions.load()
        self._certificates.start()
        self._worker.start()
        self._flow_worker.start()
        self._kernel_worker.start()
        await self._store.open()
        self._instances.start()
        await self._registrar.restore()
        self._services.start()
        await self._first_services
        self._start_metadata_server()
        await self._data_path.prepare()
        self._listen_for_guests()
        await self._data_path.start()
        self._start_operator_side()
        self._not_ready = None

    async def stop(self) -> bool:
        """Close everything; what fails on the way does not keep the rest open.

        Returns whether all of it went well.
        """
        clean = True
        self._not_ready = "stopping"
        for step in (
            self._stop_listening,
            self._stop_watching,
            self._proxy.stop,
            self._data_path.stop,
            self._store.close,
        ):
            try:
                await step()
            except Exception as failure:  # border: each part must get its chance
                clean = False
                self._observer.own(_failed(failure), "stop")
        self._worker.stop()
        self._flow_worker.stop()
        self._kernel_worker.stop()
        return clean

    def _add_gauges(self) -> None:
        statistics, limits = self._observer.statistics, self._limits
        watch = self._data_path.watch
        for name in watch.packets:
            statistics.gauge(
                f"datapath_{name}_packets",
                watch.read(name),
                f"Packets counted by the kernel: {name.replace('_', ' ')}.",
            )
        statistics.gauge(
            "linklocal_flows",
            lambda: limits.counts().now,
            "Flows let in, corrected by the kernel's count: at once at a ceiling, else"
            " every 15 s.",
        )
        statistics.gauge(
            "linklocal_flows_peak",
            lambda: limits.counts().peak,
            "The most that the kernel counted.",
        )
        statistics.gauge(
            "linklocal_flows_refused",
            lambda: limits.counts().refused,
            "Flows that max-system-flows or max-vm-flows kept out.",
        )
        statistics.gauge(
            "linklocal_flows_guests",
            lambda: limits.counts().guests,
            "Guests with flows.",
        )
        statistics.gauge(
            "datapath_ipv6",
            lambda: int(self._data_path.carries_ipv6),
            "1 where this host serves IPv6; the DataPath trace says why it does not.",
        )
        statistics.gauge(
            "datapath_fast_path",
            lambda: int(self._fast_path.is_open),
            "1 where flows with many packets may take the fast path; the DataPath trace"
            " says why they may not although it is configured.",
        )
        statistics.gauge(
            "datapath_fast_path_flows",
            lambda: len(self._fast_path),
            "Flows on the fast path.",
        )
        statistics.gauge(
            "metadata_upstream_up_endpoints",
            self._proxy.endpoints_up,
            "Endpoints of the metadata service that are believed to be well.",
        )
        for kind in certificates_of(self._config):
            statistics.gauge(
                f"metadata_{kind.replace('-', '_')}_valid_days",
                partial(self._certificates.days, kind),
                f"Days until the first certificate of {kind} ends.",
            )
        statistics.gauge("ports", lambda: len(self._registry), "Registered ports.")

    def _make_sessions(self) -> Sessions:
        keys = SessionKeys(
            self._config.state_directory / "session-keys",
            boot=boot_name(),
            now=seconds_since_boot,
            entropy=os.urandom,
            emit=self._observer.emit,
        )
        return Sessions(self._config.metadata_proxy.session_tokens, keys)

    def _make_directories(self) -> None:
        config = self._config
        for directory in (config.state_directory, config.runtime_directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _start_metadata_server(self) -> None:
        config = self._config.metadata_server
        if config is None:
            return
        site: IProtocolFactory = metadata_site(
            self._instances,
            StoredPasswords(self._store),
            Authority(config.shared_secret),
            entropy=os.urandom,
            emit=self._observer.emit,
            reactor=self._reactor,
        )
        contexts = server_contexts(config, self._observer.emit)
        if contexts is not None:
            site = TlsFactory(
                contexts, site, emit=self._observer.emit, clock=self._reactor
            )
        self._listen(config.listen, site, "metadata server")

    def _listen_for_guests(self) -> None:
        names = self._names
        self._adopt_listener(socket.AF_INET, str(names.listener_address))
        if self._data_path.carries_ipv6:
            self._adopt_listener(socket.AF_INET6, str(names.listener_address6))

    def _adopt_listener(self, family: socket.AddressFamily, address: str) -> None:
        names = self._names
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Packets that come by another interface never get to this socket.
            listener.setsockopt(
                socket.SOL_SOCKET, socket.SO_BINDTODEVICE, names.host_side.encode()
            )
            if self._config.metadata_proxy.refuse_beyond_hop_limit:
                keep_opening_packets(listener)
            try:
                listener.bind((address, names.listener_port))
                listener.listen(LISTEN_BACKLOG)
            except OSError as failure:
                raise KernelError(
                    f"metadata listener {address} port {names.listener_port}: {failure}"
                ) from failure
            self._listening.append(
                self._reactor.adoptStreamPort(
                    listener.fileno(), family, self._proxy.factory
                )
            )

    def _start_operator_side(self) -> None:
        config, emit, reactor = self._config, self._observer.emit, self._reactor
        self._listen(
            config.port_api,
            port_api_site(
                self._registrar,
                emit=emit,
                clock=reactor,
                state_of=self._data_path.state,
            ),
            "port API",
        )
        self._listen(
            config.config_api,
            config_api_site(
                self._store,
                emit,
                reactor=reactor,
                services=lambda: self._services.table,
                check_instance=check_instance,
                companions=(PASSWORD_KIND,),
                endpoints_of=self._data_path.endpoints_of,
            ),
            "config API",
        )
        self._listen(
            config.introspect,
            introspect_site(
                self._sources(),
                reactor=reactor,
                emit=emit,
                host_names=("localhost", socket.gethostname()),
            ),
            "introspection",
        )

    def _listen(self, where: Listen, site: IProtocolFactory, what: str) -> None:
        try:
            port = self._reactor.listenTCP(
                where.port, site, interface=str(where.address)
            )
        except CannotListenError as failure:
            raise KernelError(f"{what}: {failure}") from failure
        self._listening.append(port)

    def _sources(self) -> Sources:
        return Sources(
            metadata_port=lambda: self._names.listener_port,
            services=lambda: self._services.table,
            registrations=self._registry.registrations,
            port_state=self._data_path.state,
            traces=self._observer.traces,
            statistics=self._observer.statistics,
            ready=lambda: self._not_ready,
            version=__version__,
            proxy=self._proxy_rows,
            flows=self._flows.read,
            endpoints_of=self._data_path.endpoints_of,
        )

    def _proxy_rows(self) -> Iterable[tuple[str, str]]:
        yield from self._proxy.snapshot().rows()
        yield from self._certificates.rows()

    def _ports_changed(self, change: Change) -> None:
        for old, new in change.pairs():
            if old is not None and not _same_identity(old, new):
                self._proxy.forget(str(old.identity))
            self._data_path.port_changed(old, new)

    def _services_changed(self, table: ServiceTable) -> None:
        metadata = table.metadata()
        self._proxy.set_target(None if metadata is None else target_of(metadata))
        self._names_of_services.follow(table)
        if not self._first_services.called:
            self._first_services.callback(None)

    async def _stop_listening(self) -> None:
        listening, self._listening = self._listening, []
        for port in listening:
            await _finished(port.stopListening())

    async def _stop_watching(self) -> None:
        self._instances.stop()
        self._certificates.stop()
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
