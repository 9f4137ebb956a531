"""Puts the parts together: a configuration becomes the vendor data of a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vagent.config.model import VendorDataConfig
from vagent.keystone.credentials import CallCredentials
from vagent.nova.server import ANSWER_DEADLINE
from vagent.nova.source import InstanceSource
from vagent.nova.vendordata.dynamic import DynamicVendorData
from vagent.nova.vendordata.http_call import endpoint_of
from vagent.nova.vendordata.static_file import StaticFile
from vagent.nova.vendordata.stored import StoredAnswers
from vagent.nova.vendordata.target import DynamicTarget
from vagent.nova.vendordata.target_tls import TlsContexts
from vagent.observe.event import Emit
from vagent.store.store import ConfigStore

MARGIN = 2.0
"""Seconds beyond the targets' time in which answers are stored and sent."""


def answer_deadline(config: VendorDataConfig) -> float:
    """Seconds that the server has for a request: enough for the slowest target."""
    return max(ANSWER_DEADLINE, config.timeout + MARGIN)


def vendor_data_of(
    config: VendorDataConfig,
    *,
    store: ConfigStore,
    instances: InstanceSource,
    credentials: CallCredentials | None,
    emit: Emit,
    reactor: Any,
    now: Callable[[], float],
) -> DynamicVendorData:
    """The vendor data that `<vendordata>` describes. `now` is the wall clock.

    Raises ConfigError when the static file cannot be used.
    """
    static = StaticFile(config.static_file, emit)
    contexts = TlsContexts()
    if config.targets:
        # Its modules are loaded here, or the first guest would wait 50 ms for them.
        endpoint_of("localhost", 0, config.connect_timeout, reactor)
    return DynamicVendorData(
        config,
        [
            DynamicTarget(
                one,
                config,
                contexts=contexts,
                credentials=credentials,
                reactor=reactor,
            )
            for one in config.targets
        ],
        static=static.content,
        stored=StoredAnswers(store, emit),
        instances=instances,
        emit=emit,
        clock=reactor,
        now=now,
    )
