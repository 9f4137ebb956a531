"""`vagentctl explain`: a real request through a port's path, decision by decision.

The host cannot send from inside a guest, so a tap of its own with a guest of its own
stands for the port's, for a moment; everything above the tap is the real path.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from introspect.trace_json import PATH
from vagent.config.metadata_address import METADATA_ADDRESS
from vagent.config.model import AgentConfig
from vagent.ctl.doctor import Servers, needs_root, servers
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
    read_service,
    read_trace,
    verdicts,
)
from vagent.ctl.explaining.step import PathStep
from vagent.ctl.explaining.tell import (
    about_host,
    about_judgements,
    about_port,
    about_service,
    tell,
)
from vagent.ctl.failure import FAILED, UNAVAILABLE, USAGE, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import as_json, printable
from vagent.errors import VagentError
from vagent.judgements.codec import PATH as STATUS
from vagent.judgements.codec import read_status
from vagent.judgements.judgement import Judgement
from vagent.ports.port import PROBE_AUTHOR
from vagent.web.json_client import ApiError

METHODS = ("GET", "HEAD")
"""A probe changes nothing."""
ONE_TIME = "vendor_data2.json"
"""Nova asks other services for it, and some answer once (novajoin's password)."""
DEFAULT_PATH = "/latest/meta-data/"
SETTLE = 0.2
"""Seconds after the reply for the last trace entry to be there."""
_SIGNS = {True: "✓", False: "✗", None: "·"}
_ADVICE = "vagentctl doctor says what is wrong on this host, and what mends it"


def register(groups: Any) -> None:
    """Add the command to the parser."""
    command = add_command(
        groups, "explain", explain, "send a request through a port's path, and tell all"
    )
    about = "the port whose path is tried"
    command.add_argument("--port", required=True, metavar="UUID", help=about)
    about = f"GET or HEAD, then a path; default: GET {DEFAULT_PATH}"
    command.add_argument("request", nargs="*", metavar="METHOD PATH", help=about)


def explain(session: Session, args: Namespace) -> None:
    """All steps. Raises CommandError if one failed."""
    asked = question(args.request)
    port_id = uuid_argument(args.port)
    needs_root("explain")
    with _ending_is_an_exception():
        steps = _shown(session, _steps(session, port_id, asked))
    failed = next((step for step in steps if step.ok is False), None)
    if failed is not None:
        advice = f"what mends it: {failed.remedy}" if failed.remedy else _ADVICE
        text = f"explain: step {failed.name!r} failed: {failed.detail}\n{advice}"
        code = UNAVAILABLE if failed.name == "agent" else FAILED
        raise CommandError(text, code=code)


def question(words: Iterable[str]) -> ProbeRequest:
    """What to ask. Raises CommandError (usage)."""
    method, path = METHODS[0], DEFAULT_PATH
    match list(words):
        case []:
            pass
        case [only] if only.startswith("/"):
            path = only
        case [only]:
            method = only.upper()
        case [first, second]:
            method, path = first.upper(), second
        case _:
            raise CommandError("a method and a path, no more", code=USAGE)
    if method not in METHODS:
        what = f"{method}: a probe changes nothing, so it is one of {METHODS}"
        raise CommandError(what, code=USAGE)
    plain = path.isascii() and path.isprintable() and " " not in path
    if not path.startswith("/") or not plain:
        raise CommandError(f"{path!r} is not a path of plain ASCII", code=USAGE)
    if ONE_TIME in path:
        what = f"{ONE_TIME} may hold a password that is given once; a probe must not"
        raise CommandError(f"{what} use it up", code=USAGE)
    return ProbeRequest(method, path)


def _shown(session: Session, steps: Iterator[PathStep]) -> list[PathStep]:
    """Each step as it happens; in JSON, all at the end."""
    told = []
    for step in steps:
        told.append(step)
        if session.output != "json":
            session.stdout.write(_line(step))
            session.stdout.flush()
    if session.output == "json":
        session.stdout.write(as_json([asdict(step) for step in told]))
    return told


def _line(step: PathStep) -> str:
    at = "" if step.at is None else f"{step.at:+.1f} ms"
    took = "" if step.took is None else f" [{step.took:.1f} ms]"
    detail = printable(step.detail)
    line = f"{_SIGNS[step.ok]} {at:>11}  {step.name:<9} {detail}{took}\n"
    if step.remedy:
        line += f"{'':25}{printable(step.remedy)}\n"
    return line


def _steps(session: Session, port_id: str, asked: ProbeRequest) -> Iterator[PathStep]:
    config = session.agent_config
    apis = servers(session)
    try:
        apis.introspect.call("GET", "/readyz")
    except ApiError as error:
        yield PathStep("agent", ok=False, detail=str(error))
        return
    yield PathStep("agent", ok=True, detail="ready")
    try:
        port = ShownPort.of(apis.port_api.json("GET", f"/port/{port_id}"))
    except ApiError as error:
        what = "is not registered" if error.status == 404 else str(error)
        yield PathStep("port", ok=False, detail=f"{port_id} {what}")
        return
    yield about_port(port)
    yield about_host(port, host_to_guest=config.data_path.host_to_guest)
    service = read_service(apis.config_api.json("GET", "/vagent/services"))
    yield about_service(service)
    yield from about_judgements(_judgements(apis), port)
    if not port.has_address:
        return
    try:
        seen = _observe(apis, config, port, service, asked)
    except VagentError as error:
        yield PathStep("probe", ok=False, detail=str(error))
        return
    yield from tell(seen)


def _judgements(apis: Servers) -> tuple[Judgement, ...]:
    """What the agent says is wrong; nothing if it does not say."""
    try:
        return read_status(apis.introspect.json("GET", STATUS))[1]
    except VagentError:
        return ()


def _observe(
    apis: Servers,
    config: AgentConfig,
    port: ShownPort,
    service: MetadataService | None,
    asked: ProbeRequest,
) -> ProbeResult:
    """Make the probe, ask, look, and take everything away again."""
    # scapy takes a third of a second to load
    from vagent.ctl.explaining.probe import ProbeGuest

    _remove_leftovers(apis)
    address = service.address if service else str(METADATA_ADDRESS)
    number = service.port if service else 80
    tap = f"vgx{secrets.token_hex(4)}"
    began = time.monotonic()
    with ProbeGuest(tap, port) as guest, _registered(apis, port, tap) as probe:
        prepared = time.monotonic() - began
        before = _counters(config)
        arp = guest.arp(address)
        answered = guest.request(asked, address, number)
        time.sleep(SETTLE)
        return ProbeResult(
            asked=asked,
            port=port,
            service=service,
            probe=probe,
            prepared=prepared,
            answered=_with_arp(answered, arp),
            verdicts=verdicts(
                _trace(apis, "LinkLocalFlow"), probe.id, answered.source_port
            ),
            proxy=proxy_events(
                _trace(apis, "Metadata"),
                probe.id,
                answered.began,
                answered.ended + SETTLE,
            ),
            counters=moved(before, _counters(config)),
        )


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
        "owner": "cli",
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


def _counters(config: AgentConfig) -> dict[str, int]:
    from vagent.doctor.commands import ask

    listed = ask(["nft", "-j", "list", "counters"])
    return read_counters(listed.out, config.data_path.name)


@contextmanager
def _ending_is_an_exception() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C, so that the probe is taken away."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
