"""`vagentctl doctor`: finds what stops packets on this host, says what it means and how
to mend it.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vagent.config.model import AgentConfig
from vagent.ctl import session as ctl_session
from vagent.ctl.failure import FAILED, NO_PERMISSION, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session
from vagent.ctl.table import as_json, printable
from vagent.doctor.checks import Result, diagnose, worst
from vagent.doctor.facts import Configuration, HostFacts
from vagent.errors import ConfigError
from vagent.judgements.judgement import Severity
from vagent.web.json_client import JsonClient

PATIENCE = 3.0
"""Seconds to wait for the agent, which answers within milliseconds unless it
is frozen."""
_SIGNS = {Severity.WRONG: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}
_GOOD = "✓"


@dataclass(frozen=True, slots=True)
class Servers:
    """The agent's HTTP servers."""

    introspect: JsonClient
    port_api: JsonClient
    config_api: JsonClient


def register(groups: Any) -> None:
    """Add the command to the parser."""
    command = add_command(
        groups,
        "doctor",
        show_diagnosis,
        "find what stops packets on this host, and say what mends it",
    )
    about = "fail on warnings, too"
    command.add_argument("--strict", action="store_true", help=about)


def show_diagnosis(session: Session, args: Namespace) -> None:
    """Run and show all checks. Raises CommandError if something is wrong."""
    needs_root("doctor")
    results = diagnose(collect(session, datetime.now(UTC)))
    found = worst(results)
    if session.output == "json":
        session.stdout.write(as_json(_as_json(results, found)))
    else:
        session.stdout.writelines(f"{printable(line)}\n" for line in _lines(results))
    failing = {Severity.WRONG, Severity.WARNING} if args.strict else {Severity.WRONG}
    if found in failing:
        raise CommandError(_summary(results), code=FAILED)


def needs_root(command: str) -> None:
    """Raises CommandError unless root runs the command."""
    if os.geteuid() != 0:
        raise CommandError(
            f"{command} needs root: it asks the kernel about rules, queues and sockets",
            code=NO_PERMISSION,
        )


def collect(session: Session, now: datetime) -> HostFacts:
    """Collect the facts that the checks need."""
    # Imported late: lxml, cryptography and the data path are slow to load.
    from vagent.config.read import read_config
    from vagent.ctl.guests.look import look_at_domains
    from vagent.doctor.look import look, look_without_config

    path = session.config_path or ctl_session.DEFAULT_CONFIG
    configuration = Configuration(str(path))
    config = AgentConfig()
    if session.config_path is None and not path.exists():
        configuration = Configuration(str(path), found=False, secret_empty=True)
    else:
        try:
            loaded = read_config(path)
        except ConfigError as error:
            problems = tuple(str(problem) for problem in error.problems)
            return look_without_config(Configuration(str(path), problems), now)
        config = loaded.config
        configuration = Configuration(
            str(path),
            warnings=tuple(str(problem) for problem in loaded.warnings),
            secret_empty=not config.metadata_proxy.shared_secret.value,
        )
    facts = look(servers(session), config, configuration, now)
    return replace(facts, domains=look_at_domains(config.libvirt))


def servers(session: Session) -> Servers:
    """Clients for the agent's servers over TCP, at the addresses of the command line or
    else of agent.conf.
    """
    return Servers(
        session.client("introspection", "introspect", timeout=PATIENCE),
        session.client("port API", "port_api", timeout=PATIENCE),
        session.client("config API", "config_api", timeout=PATIENCE),
    )


def _lines(results: tuple[Result, ...]) -> Iterator[str]:
    """The lines to show: one for a check without findings, three for each finding."""
    for result in results:
        if not result.findings:
            yield f"{_GOOD} {result.name}"
        for finding in result.findings:
            yield f"{_SIGNS[finding.severity]} {result.name}: {finding.what}"
            yield f"    {finding.means}"
            yield f"    $ {finding.mend}"


def _as_json(results: tuple[Result, ...], found: Severity | None) -> dict[str, Any]:
    return {
        "verdict": found.value if found else "good",
        "checks": [
            {
                "name": result.name,
                "findings": [asdict(finding) for finding in result.findings],
            }
            for result in results
        ],
    }


def _summary(results: tuple[Result, ...]) -> str:
    counts = {
        severity: sum(
            finding.severity is severity
            for result in results
            for finding in result.findings
        )
        for severity in (Severity.WRONG, Severity.WARNING)
    }
    wrong, warnings = counts[Severity.WRONG], counts[Severity.WARNING]
    return f"doctor: {wrong} wrong, {warnings} to look at"
