"""`vagentctl explain`: a real request through a port's path, decision by decision.

The host cannot send from inside a guest, so a tap of its own with a guest of its own
stands for the port's, for a moment; everything above the tap is the real path.
"""

from __future__ import annotations

import signal
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from vagent.ctl.doctor import Servers, needs_root, servers
from vagent.ctl.explaining.observed import (
    ProbeRequest,
    ShownPort,
    read_service,
)
from vagent.ctl.explaining.step import PathStep
from vagent.ctl.explaining.tell import (
    about_host,
    about_judgements,
    about_port,
    about_service,
)
from vagent.ctl.failure import FAILED, UNAVAILABLE, USAGE, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import as_json, printable
from vagent.errors import VagentError
from vagent.judgements.codec import PATH as STATUS
from vagent.judgements.codec import read_status
from vagent.judgements.judgement import Judgement
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
    # What looks at the kernel takes a while to load.
    from vagent.ctl.explaining.attempt import Attempt

    try:
        yield from Attempt(apis, config.data_path, port, service, asked).steps()
    except VagentError as error:
        yield PathStep("probe", ok=False, detail=str(error))


def _judgements(apis: Servers) -> tuple[Judgement, ...]:
    """What the agent says is wrong; nothing if it does not say."""
    try:
        return read_status(apis.introspect.json("GET", STATUS))[1]
    except VagentError:
        return ()


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
