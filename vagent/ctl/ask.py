"""`vagentctl ask`: a direct, signed question to a metadata service.

The agent is not needed: secret and TLS files are those of agent.conf.
"""

from __future__ import annotations

import base64
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from vagent.config.files import read_bounded, reason
from vagent.config.model import ClientTls, Secret
from vagent.config.shared_secret import MAX_SECRET
from vagent.ctl.asking.exchange import GivenAnswer, exchange
from vagent.ctl.asking.judgement import judged
from vagent.ctl.asking.question import (
    AskedEndpoint,
    AskedQuestion,
    endpoint_of,
    provisioned,
)
from vagent.ctl.failure import UNAVAILABLE, USAGE, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import as_json, printable
from vagent.errors import VagentError
from vagent.metadata.upstream.refusal import UpstreamRefusal
from vagent.web.json_client import NEVER_ANSWERED, ApiError

TIMEOUT = 10.0
"""Seconds for each step; guests wait no longer."""
LEAST, MOST = 0.1, 600.0
"""Seconds that may be given."""


def register(groups: Any) -> None:
    """Add the command to the parser."""
    about = "ask a metadata service directly, signed as the agent signs"
    ask = add_command(groups, "ask", ask_upstream, about)
    add = ask.add_argument
    add("path", metavar="PATH", help="such as /openstack/latest/meta_data.json")
    add("--instance", required=True, metavar="UUID", help="X-Instance-ID")
    add("--tenant", required=True, metavar="ID",
        help="X-Tenant-ID, letter for letter as Nova holds it")  # fmt: skip
    add("--upstream", metavar="URL", help="http://HOST[:PORT] or https://HOST[:PORT]"
        " (default: every endpoint of the service `metadata`)")  # fmt: skip
    add("--address", default="", metavar="IP", help="X-Forwarded-For (default: none)")
    add("--secret-file", metavar="FILE", help="the shared secret (default: agent.conf)")
    add("--timeout", type=_seconds, default=TIMEOUT, metavar="SECONDS",
        help=f"for each step, {LEAST:g} to {MOST:g} "
        f"(default: {TIMEOUT:g})")  # fmt: skip


def ask_upstream(session: Session, args: Namespace) -> None:
    """Each endpoint is asked; the exit code tells whether all of them answered well."""
    question = _question(session, args)
    tls = session.agent_config.metadata_proxy.tls
    outcomes = [
        _asked(session, endpoint, question, tls=tls, timeout=args.timeout)
        for endpoint in _endpoints(session, args.upstream, tls is not None)
    ]
    if session.output == "json":
        session.stdout.write(as_json(outcomes))
    if any(outcome["problem"] for outcome in outcomes):
        raise CommandError(
            "; ".join(str(one["problem"]) for one in outcomes if one["problem"])
        )


def _question(session: Session, args: Namespace) -> AskedQuestion:
    path: str = args.path
    if not path.startswith("/") or not path.isascii() or not _is_word(path):
        raise CommandError(f"got {path!r}, allowed is a path: /a/b", code=USAGE)
    if not args.tenant.isascii() or not args.tenant.isprintable():
        raise CommandError("--tenant: printable ASCII is allowed", code=USAGE)
    if args.address and not _is_address(args.address):
        raise CommandError(
            f"--address: got {args.address!r}, allowed is an IPv4 or IPv6 address",
            code=USAGE,
        )
    secret = session.agent_config.metadata_proxy.shared_secret
    if args.secret_file is not None:
        secret = _secret_in(Path(args.secret_file))
    return AskedQuestion(
        path, uuid_argument(args.instance), args.tenant, secret, args.address
    )


def _secret_in(path: Path) -> Secret:
    """As agent.conf's `file` is read: one newline at the end does not count."""
    try:
        data = read_bounded(path, MAX_SECRET).data
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {reason(error)}") from error
    return Secret(data.removesuffix(b"\n").removesuffix(b"\r"))


def _is_word(text: str) -> bool:
    return text.isprintable() and " " not in text


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # what follows it could be anything


def _seconds(text: str) -> float:
    """The value of `--timeout`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not LEAST <= seconds <= MOST:  # nan, too
        raise ArgumentTypeError(
            f"got {text!r}, allowed are seconds from {LEAST:g} to {MOST:g}"
        )
    return seconds


def _endpoints(
    session: Session, upstream: str | None, tls: bool
) -> list[AskedEndpoint]:
    if upstream is not None:
        try:
            return [endpoint_of(upstream)]
        except VagentError as error:
            raise CommandError(str(error), code=USAGE) from error
    try:
        reply = session.config_api.json("GET", "/vagent/services")
    except ApiError as error:
        if error.status != NEVER_ANSWERED:
            raise
        raise CommandError(
            f"the agent does not answer, so say where to ask: --upstream URL ({error})",
            code=UNAVAILABLE,
        ) from error
    services = reply.get("services") if isinstance(reply, Mapping) else None
    found = provisioned(services, tls=tls)
    if not found:
        raise CommandError("no service `metadata` is provisioned; give --upstream URL")
    return found


def _asked(
    session: Session,
    endpoint: AskedEndpoint,
    question: AskedQuestion,
    *,
    tls: ClientTls | None,
    timeout: float,
) -> dict[str, Any]:
    """Ask one endpoint, and show it."""
    again = partial(exchange, endpoint, tls=tls, timeout=timeout)
    _show_request(session, endpoint, question)
    shown: dict[str, Any] = {
        "endpoint": endpoint.url,
        "request": {"method": "GET", "path": question.path,
                    "headers": dict(question.headers())},
        "problem": "",
    }  # fmt: skip
    try:
        answer = again(question)
        refusal = judged(question, answer, again)
    except VagentError as error:
        return {**shown, "problem": str(error)}
    _show_answer(session, answer)
    if refusal is not None:
        _show_refusal(session, refusal)
        problem = refusal.text or f"refused with {answer.status}"
        if answer.status == 400 and not endpoint.tls:
            problem += f"; {endpoint.tls_hint}"
        shown["problem"] = f"{endpoint.url}: {problem}"
    return {**shown, "answer": _as_json(answer), "refusal": _refusal_json(refusal)}


def _show_request(
    session: Session, endpoint: AskedEndpoint, question: AskedQuestion
) -> None:
    name = f" as {endpoint.name}" if endpoint.name else ""
    session.say(f"* {endpoint.url}{name}")
    session.say(f"> GET {question.path}")
    for header, value in question.headers():
        session.say(f"> {header}: {value}")
    session.say(
        "* the signature is the HMAC-SHA256 of X-Instance-ID with the shared secret"
        f" ({len(question.secret.value)} bytes)"
    )


def _show_answer(session: Session, answer: GivenAnswer) -> None:
    session.say(f"< {answer.status} {answer.reason}")
    for header, value in answer.headers:
        session.say(f"< {header}: {value}")
    if session.output == "json":
        return
    buffer = getattr(session.stdout, "buffer", None)
    if buffer is not None and not session.stdout.isatty():
        session.stdout.flush()
        buffer.write(answer.body)
        buffer.flush()
        return
    text = answer.body.decode("utf-8", "replace")
    session.stdout.writelines(f"{printable(line)}\n" for line in text.split("\n"))


def _show_refusal(session: Session, refusal: UpstreamRefusal) -> None:
    at_fault = f"{refusal.header}: " if refusal.header else ""
    session.say(f"* {at_fault}{refusal.text or 'an answer to what was asked'}")
    if refusal.remedy:
        session.say(f"* {refusal.remedy}")


def _as_json(answer: GivenAnswer) -> dict[str, Any]:
    try:
        body = {"body": answer.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(answer.body).decode()}
    return {"status": answer.status, "headers": dict(answer.headers), **body}


def _refusal_json(refusal: UpstreamRefusal | None) -> dict[str, str] | None:
    if refusal is None:
        return None
    return {
        "kind": refusal.kind.value,
        "header": refusal.header,
        "text": refusal.text,
        "remedy": refusal.remedy,
    }
