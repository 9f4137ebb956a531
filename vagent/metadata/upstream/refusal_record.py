"""What nova-api has refused and not granted since: the evidence for judgements.

Only replies that prove something are noted: of an endpoint, that it refuses what the
agent does for every guest; of a port, that nova-api does not know it. A guest decides
what is asked for, so what it asks wrongly is never evidence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from vagent.metadata.events import Caller
from vagent.metadata.upstream.events import UpstreamRefused
from vagent.metadata.upstream.refusal import (
    RefusalKind,
    UpstreamRefusal,
    exists_for_all,
    is_signed_for,
    read_refusal,
)
from vagent.observe.event import Emit

MAX_REFUSED_PORTS = 1024
"""Ports that are remembered. Further ones are not, until one of these is served."""

_OF_PORTS = (RefusalKind.UNKNOWN_INSTANCE, RefusalKind.FAILED)
_PROVEN = (
    RefusalKind.SIGNATURE,
    RefusalKind.NO_HEADER,
    RefusalKind.LOAD_BALANCER,
    RefusalKind.CLIENT_CERTIFICATE,
    RefusalKind.NEEDS_TLS,
)
"""In words that no request of a guest can bring about."""


@dataclass(frozen=True, slots=True)
class PortRefusal:
    """What nova-api refused to the guest of a port, and the endpoint that said so.
    `request_id` is the newest request that it refused.
    """

    caller: Caller
    endpoint: str
    refusal: UpstreamRefusal
    request_id: int


class RefusalRecord:
    """The newest refusal of each endpoint and of each port.

    `is_empty`: there is none, so a good reply need not be noted.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.endpoints: dict[str, UpstreamRefusal] = {}
        self.ports: dict[str, PortRefusal] = {}
        self.is_empty = True

    def note(
        self,
        endpoint: str,
        status: int,
        body: bytes,
        *,
        request_id: int,
        caller: Caller,
        path: bytes,
    ) -> None:
        """Take in a reply to a request that was signed for this guest; report it if it
        is an error that shows a fault of the setup. `body` may be its beginning.
        """
        refusal = read_refusal(status, body, path)
        if refusal is None:
            if is_signed_for(path):
                self.endpoints.pop(endpoint, None)
                self.ports.pop(caller.port_id, None)
        elif _is_evidence(refusal, path):
            self._remember(endpoint, caller, refusal, request_id)
            self._emit(
                UpstreamRefused(
                    request_id,
                    caller,
                    endpoint,
                    status,
                    refusal.kind,
                    refusal.header,
                    refusal.text,
                    refusal.remedy,
                )
            )
        self._changed()

    def forget(self, port_id: str) -> None:
        """The port was removed, or is another guest's now."""
        self.ports.pop(port_id, None)
        self._changed()

    def keep(self, endpoints: Collection[str]) -> None:
        """These are the endpoints now; drop what others said."""
        self.endpoints = {e: r for e, r in self.endpoints.items() if e in endpoints}
        self.ports = {p: r for p, r in self.ports.items() if r.endpoint in endpoints}
        self._changed()

    def _remember(
        self,
        endpoint: str,
        caller: Caller,
        refusal: UpstreamRefusal,
        request_id: int,
    ) -> None:
        if refusal.kind not in _OF_PORTS:
            self.endpoints[endpoint] = refusal
            return
        if refusal.kind is RefusalKind.UNKNOWN_INSTANCE:
            # Nova looks the instance up only when the signature is right.
            self.endpoints.pop(endpoint, None)
        if caller.port_id in self.ports or len(self.ports) < MAX_REFUSED_PORTS:
            found = PortRefusal(caller, endpoint, refusal, request_id)
            self.ports[caller.port_id] = found

    def _changed(self) -> None:
        self.is_empty = not self.endpoints and not self.ports


def _is_evidence(refusal: UpstreamRefusal, path: bytes) -> bool:
    """Could no request for this path have brought it about by itself?"""
    return refusal.is_setup_fault and (refusal.kind in _PROVEN or exists_for_all(path))
