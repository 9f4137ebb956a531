"""Makes the probe, lets it ask, looks what became of it, and takes it away again."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

from introspect.trace_json import PATH
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.config.model import DataPathConfig
from vagent.ctl.doctor import Servers
from vagent.ctl.explaining.last_seen import last_seen
from vagent.ctl.explaining.observed import (
    MetadataService,
    ProbeReply,
    ProbeRequest,
    ProbeResult,
    ShownPort,
    TracedEvent,
    moved,
    proxy_events,
    read_counters,
    read_trace,
    verdicts,
)
from vagent.ctl.explaining.step import PathStep
from vagent.ctl.explaining.tell import about_trial, tell
from vagent.ctl.explaining.trial import LastSeen, TapTrial
from vagent.datapath.fast_path.compose import ingress_hook_of
from vagent.datapath.tap.probe import TapPrograms, send_through
from vagent.datapath.tap.probe_up import ProbePath
from vagent.doctor.commands import ask
from vagent.kernel.namespace import entered_if_named
from vagent.ports.port import PROBE_AUTHOR
from vagent.web.json_client import ApiError

SETTLE = 0.2
"""Seconds after the reply for the last trace entry to be there."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """To ask through the path of a port."""

    apis: Servers
    data_path: DataPathConfig
    port: ShownPort
    service: MetadataService | None
    asked: ProbeRequest

    def steps(self) -> Iterator[PathStep]:
        """What became of it. Raises VagentError."""
        _remove_leftovers(self.apis)
        hook = partial(ingress_hook_of, self.data_path)
        with TapPrograms(self.data_path.name, hook) as programs:
            seen = self._last_seen(programs)
            missing = _missing(programs, seen.tap)
            if missing:
                yield about_trial(self.port, TapTrial(seen, missing=missing))
                return
            result = self._result(programs, seen)
        yield from tell(result)

    def _last_seen(self, programs: TapPrograms) -> LastSeen:
        ports = [ShownPort.of(raw) for raw in self.apis.port_api.json("GET", "/ports")]
        taps = dict(socket.if_nameindex())
        now = time.monotonic_ns()
        return last_seen(self.port, ports, taps, programs.seen(), now)

    def _result(self, programs: TapPrograms, seen: LastSeen) -> ProbeResult:
        # scapy takes a third of a second to load
        from vagent.ctl.explaining.probe import ProbeGuest

        tap = f"vgx{secrets.token_hex(4)}"
        guest = replace(self.port, mac=seen.mac, address=str(seen.address))
        began = time.monotonic()
        with _marked(programs) as mark, ProbeGuest(tap, guest) as probe_guest:
            ifindex = socket.if_nametoindex(tap)
            path = ProbePath(
                socket.if_nametoindex(seen.tap),
                mark,
                IPv4Address(self._address),
                seen.vlan,
                seen.is_service_tag,
            )
            with _registered(self.apis, guest, tap) as probe:
                programs.aim(mark, IPv4Address(probe.identity), ifindex)
                send_through(path, ifindex)
                prepared = time.monotonic() - began
                before = _counters(self.data_path)
                arp = probe_guest.arp(self._address)
                number = self.service.port if self.service else 80
                answered = probe_guest.request(
                    self.asked,
                    self._address,
                    number,
                    lambda: bool(TapTrial(seen, programs.outcome(mark)).refusal),
                )
                time.sleep(SETTLE)
                outcome = programs.outcome(mark)
                return self._told(
                    ProbeResult(
                        asked=self.asked,
                        port=self.port,
                        service=self.service,
                        probe=probe,
                        prepared=prepared,
                        trial=TapTrial(seen, outcome),
                        answered=_with_arp(answered, arp),
                        counters=moved(before, _counters(self.data_path)),
                    )
                )

    def _told(self, result: ProbeResult) -> ProbeResult:
        """With what the agent tells of it."""
        probe, answered = result.probe.id, result.answered
        return replace(
            result,
            verdicts=verdicts(
                _trace(self.apis, "LinkLocalFlow"), probe, answered.source_port
            ),
            proxy=proxy_events(
                _trace(self.apis, "Metadata"),
                probe,
                answered.began,
                answered.ended + SETTLE,
            ),
        )

    @property
    def _address(self) -> str:
        return self.service.address if self.service else str(METADATA_ADDRESS)


def _missing(programs: TapPrograms, tap: str) -> str:
    """What keeps a probe from a tap; "" for nothing. Without the agent's program its
    frames would go wherever the host sends them.
    """
    try:
        ifindex = socket.if_nametoindex(tap)
    except OSError:
        return f"this host has no interface {tap}"
    if not programs.is_at(ifindex):
        return (
            f"the agent's program is not at {tap}: nobody is served nor guarded there"
        )
    return ""


@contextmanager
def _marked(programs: TapPrograms) -> Iterator[int]:
    """A mark for the probe's frames. They are its own until its interface is gone: what
    came later would be counted for the guest.
    """
    mark = programs.new_mark()
    try:
        yield mark
    finally:
        programs.end(mark)


def _with_arp(answered: ProbeReply, arp: ProbeReply) -> ProbeReply:
    return replace(
        answered,
        arp_asked=arp.arp_asked,
        arp_answered=arp.arp_answered,
        arp_mac=arp.arp_mac,
    )


@contextmanager
def _registered(apis: Servers, port: ShownPort, tap: str) -> Iterator[ShownPort]:
    """The probe's port, for a while."""
    port_id = str(uuid4())
    body = {
        "id": port_id,
        "instance-id": port.instance,
        "vn-id": port.network,
        "vm-project-id": port.tenant,
        "display-name": f"explain {port.name}"[:64],
        "ip-address": port.address,
        "ip6-address": "None",
        "mac-address": port.mac,
        "system-name": tap,
        "type": 0,
        "rx-vlan-id": -1,
        "tx-vlan-id": -1,
        "author": f"{PROBE_AUTHOR} {os.getpid()}",
    }
    if port.project:
        body["project-id"] = port.project
    try:
        apis.port_api.call("POST", "/port", body)
        yield ShownPort.of(apis.port_api.json("GET", f"/port/{port_id}"))
    finally:
        with suppress(ApiError):
            apis.port_api.call("DELETE", f"/port/{port_id}")


def _remove_leftovers(apis: Servers) -> None:
    """Ports of an explain that was killed: its tap went with it."""
    for raw in apis.port_api.json("GET", "/ports"):
        author = str(raw.get("author") or "")
        if author.startswith(f"{PROBE_AUTHOR} "):
            pid = author.removeprefix(f"{PROBE_AUTHOR} ")
            if pid.isdecimal() and not Path("/proc", pid).exists():
                apis.port_api.call("DELETE", f"/port/{raw['id']}")


def _trace(apis: Servers, buffer: str) -> tuple[TracedEvent, ...]:
    return read_trace(apis.introspect.json("GET", f"{PATH}/{buffer}"))


def _counters(data_path: DataPathConfig) -> dict[str, int]:
    with entered_if_named(data_path.namespace or data_path.name):
        listed = ask(["nft", "-j", "list", "counters"])
    return read_counters(listed.out, data_path.name)
