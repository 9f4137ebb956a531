"""Checks of what the kernel and the programs that the agent runs can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vagent.doctor.facts import HostFacts
from vagent.doctor.finding import Finding, wrong

PACKAGES = {"nft": "nftables", "ip": "iproute2"}


def check_tools(facts: HostFacts) -> Iterator[Finding]:
    """Are the programs installed that the agent runs?"""
    for tool, is_there in facts.host.tools.items():
        if not is_there:
            yield wrong(
                f"{tool} is not installed",
                "the agent cannot start: it puts rules and interfaces in place with it",
                f"apt-get install {PACKAGES[tool]}",
            )


def check_kernel_parts(facts: HostFacts) -> Iterator[Finding]:
    """Which parts of the kernel are missing? Of those that depend on each other only
    the first is reported: without nftables none of the rest can work.
    """
    for trial in facts.host.trials:
        if not trial.said:
            continue
        yield wrong(
            f"the kernel has no {trial.part} ({trial.said})",
            f"the agent cannot start; it needs a kernel with {trial.option}",
            f"modprobe {trial.module}",
        )
        if trial.part == "nf_tables":
            return
