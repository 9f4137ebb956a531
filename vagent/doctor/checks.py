"""All checks, in the order in which they are shown: kernel first, services
last. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vagent.doctor import (
    check_access,
    check_agent,
    check_host,
    check_kernel,
    check_rules,
    check_upstream,
)
from vagent.doctor.facts import HostFacts
from vagent.doctor.finding import Finding
from vagent.judgements.judgement import Severity


@dataclass(frozen=True, slots=True)
class Check:
    """A check: its name, and the function that gives its findings."""

    name: str
    find: Callable[[HostFacts], Iterator[Finding]]
    always: bool = False
    """Does it run even if agent.conf has errors?"""


CHECKS = (
    Check("programs", check_kernel.check_tools, always=True),
    Check("kernel", check_kernel.check_kernel_parts, always=True),
    Check("agent.conf", check_agent.check_configuration, always=True),
    Check("shared secret", check_agent.check_secret),
    Check("agent", check_agent.check_life),
    Check("fast path", check_agent.check_fast_path),
    Check("taps", check_kernel.check_taps),
    Check("access", check_access.check_access),
    Check("contrail", check_host.check_contrail),
    Check("queue", check_agent.check_queue),
    Check("interfaces", check_host.check_interfaces),
    Check("own rules", check_rules.check_own_rules),
    Check("other rules", check_rules.check_foreign_rules),
    Check("addresses", check_host.check_foreign_addresses),
    Check("listeners", check_host.check_foreign_listeners),
    Check("routes", check_host.check_routes),
    Check("ways", check_host.check_ways),
    Check("IPv6 forwarding", check_host.check_forwarding6),
    Check("bridges", check_host.check_bridge_rules),
    Check("conntrack", check_host.check_conntrack),
    Check("ports", check_agent.check_ports),
    Check("domains", check_host.check_domains),
    Check("services", check_agent.check_services),
    Check("files", check_agent.check_files),
    Check("TLS files", check_upstream.check_tls_files),
    Check("clock", check_host.check_clock),
    Check("upstream", check_upstream.check_upstream),
    Check("judgements", check_upstream.check_judgements),
)


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found. No findings mean that all is well."""

    name: str
    findings: tuple[Finding, ...]


def diagnose(facts: HostFacts) -> tuple[Result, ...]:
    """Run every check that is possible with these facts; a finding that several checks
    have is reported once.
    """
    refused = bool(facts.configuration.problems)
    return tuple(
        Result(check.name, tuple(dict.fromkeys(check.find(facts))))
        for check in CHECKS
        if check.always or not refused
    )


def worst(results: tuple[Result, ...]) -> Severity | None:
    """The worst severity of all findings."""
    found = {finding.severity for result in results for finding in result.findings}
    return next((severity for severity in Severity if severity in found), None)
