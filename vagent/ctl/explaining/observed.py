"""What was seen of a probe, as values, and the pure readers of what the agent shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vagent.errors import WireError

_TRACE = re.compile(r"(\d+) \w+: (.*) \S+ \d+")
"""The agent's trace line: microseconds, name, text, source file and line."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A line of a trace buffer; `time` is in seconds since the epoch."""

    time: float
    text: str


@dataclass(frozen=True, slots=True)
class PortRecord:
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

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> PortRecord:
        """From the JSON of `GET /port/<uuid>`."""
        names = ("id", "display-name", "instance-id", "vm-project-id", "vn-id")
        where = ("system-name", "mac-address", "ip-address", "mdata-ip", "state")
        return cls(*(str(raw.get(name) or "") for name in (*names, *where)))

    @property
    def has_address(self) -> bool:
        """Does it have an IPv4 address?"""
        return self.address not in ("", "0.0.0.0")  # noqa: S104 - Contrail's "none"


@dataclass(frozen=True, slots=True)
class Service:
    """The metadata service as it is provisioned."""

    address: str
    port: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """The question."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of it. All times in seconds since the epoch, 0 for what did not happen.

    `failure` says what ended it early; of a body only the length is kept.
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
class Observation:
    """Everything about one probe."""

    asked: Asked
    port: PortRecord
    service: Service | None
    probe: PortRecord
    prepared: float
    answered: Answered
    flows: tuple[Trace, ...] = ()
    metadata: tuple[Trace, ...] = ()
    counters: tuple[tuple[str, int], ...] = ()


def read_trace(line: str) -> Trace | None:
    """A line of the introspection; None if it has another form."""
    match = _TRACE.fullmatch(line)
    return Trace(int(match[1]) / 1e6, match[2]) if match else None


def flow_lines(
    lines: Iterable[str], probe: PortRecord, source_port: int
) -> tuple[Trace, ...]:
    """Verdicts on the packets of one connection of the probe."""
    start = f"{probe.identity}:{source_port} "
    traces = filter(None, map(read_trace, lines))
    return tuple(trace for trace in traces if trace.text.startswith(start))


def metadata_lines(
    lines: Iterable[str], address: str, began: float, ended: float
) -> tuple[Trace, ...]:
    """What the proxy told of a guest's address, or of its upstream, in that time."""
    traces = filter(None, map(read_trace, lines))
    about = re.compile(rf"VM ?: {re.escape(address)}(?![\d.])|upstream|TLS")
    return tuple(
        trace
        for trace in traces
        if began <= trace.time <= ended and about.search(trace.text)
    )


def read_service(reply: Any) -> Service | None:
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
                return Service(address, raw["linklocal_service_port"], endpoints)
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
