"""What was seen of a probe, as values; and pure readers of what the agent shows.

A probe has a port of its own, so what the agent did for it is found by that port's id:
another guest may have the same address, and another agent other words for the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from introspect.trace_json import ENTRY_MEMBERS, VERSION
from vagent.ctl.explaining.trial import TapTrial
from vagent.errors import WireError

VERDICT = "FlowDecided"
"""The event of a packet that opens a flow."""


@dataclass(frozen=True, slots=True)
class TracedEvent:
    """An entry of a trace buffer. `time` is in seconds since the epoch; `facts` are the
    values that belong to the event (docs/traces.md).
    """

    time: float
    name: str
    is_fault: bool
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ShownPort:
    """A port as the port API shows it."""

    id: str
    name: str
    instance: str
    tenant: str
    network: str
    tap: str
    mac: str
    address: str
    identity: str
    state: str
    project: str = ""
    """The tenant letter for letter, where it is no UUID."""
    vlan: int = 0
    """Of the guest's frames, 0 for none."""
    further: tuple[str, ...] = ()
    """More addresses."""

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> ShownPort:
        """From the JSON of `GET /port/<uuid>`."""
        names = ("id", "display-name", "instance-id", "vm-project-id", "vn-id")
        where = ("system-name", "mac-address", "ip-address", "mdata-ip", "state")
        every = (*names, *where, "project-id")
        vlan = max(int(raw.get("rx-vlan-id") or 0), 0)
        further = tuple(map(str, raw.get("further-addresses") or ()))
        known: list[Any] = [str(raw.get(name) or "") for name in every]
        return replace(cls(*known), vlan=vlan, further=further)

    def __str__(self) -> str:
        """What is registered of its guest's frames."""
        tag = f" VLAN {self.vlan}" if self.vlan else ""
        return f"{self.mac} {', '.join(self.addresses)}{tag} at {self.tap}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The main one and others."""
        return self.address, *self.further

    @property
    def has_address(self) -> bool:
        """Does it have an IPv4 address?"""
        return self.address not in ("", "0.0.0.0")  # noqa: S104 - Contrail's "none"


@dataclass(frozen=True, slots=True)
class MetadataService:
    """The metadata service as it is provisioned."""

    address: str
    port: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What the probe asks."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """What the probe saw. Times are in seconds since the epoch; 0 if it did not happen.
    `failure` says what ended the probe early; of a body only the length is kept.
    """

    arp_asked: float = 0.0
    arp_answered: float = 0.0
    arp_mac: str = ""
    began: float = 0.0
    connected: float = 0.0
    source_port: int = 0
    first_byte: float = 0.0
    ended: float = 0.0
    status: int = 0
    length: int = 0
    header_names: tuple[str, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Everything about one probe."""

    asked: ProbeRequest
    port: ShownPort
    service: MetadataService | None
    probe: ShownPort
    prepared: float
    trial: TapTrial
    answered: ProbeReply
    verdicts: tuple[TracedEvent, ...] = ()
    proxy: tuple[TracedEvent, ...] = ()
    counters: tuple[tuple[str, int], ...] = ()


def read_trace(document: Any) -> tuple[TracedEvent, ...]:
    """The entries in the reply of `GET /vagent/traces/<buffer>`. Raises WireError."""
    try:
        version = document["version"]
        if version != VERSION:
            raise WireError(f"traces of form {version!r}, this tool reads {VERSION}")
        return tuple(
            TracedEvent(
                time=float(raw["time"]),
                name=raw["event"],
                is_fault=raw["fault"] is True,
                facts={name: raw[name] for name in raw if name not in ENTRY_MEMBERS},
            )
            for raw in document["entries"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WireError("the agent's traces have another form") from error


def verdicts(
    events: Iterable[TracedEvent], port_id: str, source_port: int
) -> tuple[TracedEvent, ...]:
    """The verdicts on the packets of one connection of a port."""
    wanted = (port_id, source_port)
    return tuple(
        event
        for event in events
        if event.name == VERDICT
        and wanted == (event.facts.get("port_id"), event.facts.get("source_port"))
    )


def proxy_events(
    events: Iterable[TracedEvent], port_id: str, began: float, ended: float
) -> tuple[TracedEvent, ...]:
    """What the proxy did for a port; and what it told meanwhile of no guest at all:
    of upstream endpoints and of certificates, which all guests share.
    """
    return tuple(
        event
        for event in events
        if event.facts.get("port_id") == port_id
        or (is_shared(event) and began <= event.time <= ended)
    )


def is_shared(event: TracedEvent) -> bool:
    """Is it about no guest? Those that are name a port, if only an unknown one."""
    return "port_id" not in event.facts


def read_service(reply: Any) -> MetadataService | None:
    """The metadata service in the reply of `GET /vagent/services`."""
    try:
        for raw in reply["services"]:
            if raw["linklocal_service_name"] == "metadata":
                hosts = raw["ip_fabric_service_ip"] or [
                    raw["ip_fabric_DNS_service_name"]
                ]
                port = raw["ip_fabric_service_port"]
                endpoints = tuple(f"{host}:{port}" for host in hosts if host)
                address = raw["linklocal_service_ip"]
                number = raw["linklocal_service_port"]
                return MetadataService(address, number, endpoints)
    except (KeyError, TypeError) as error:
        raise WireError("the config API's services have another form") from error
    return None


def read_counters(text: str, table: str) -> dict[str, int]:
    """Packets by name of the counters of our own tables, from nft's JSON."""
    try:
        items = json.loads(text)["nftables"]
        return {
            f"{item['counter']['family']} {item['counter']['name']}": item["counter"][
                "packets"
            ]
            for item in items
            if "counter" in item and item["counter"]["table"] == table
        }
    except (ValueError, KeyError, TypeError):
        return {}


def moved(before: Mapping[str, int], after: Mapping[str, int]) -> Moves:
    """Counters that grew, and by how much."""
    return tuple(
        (name, packets - before.get(name, 0))
        for name, packets in sorted(after.items())
        if packets > before.get(name, 0)
    )


Moves = tuple[tuple[str, int], ...]
