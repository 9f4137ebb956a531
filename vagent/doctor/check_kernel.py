"""Checks of what the kernel and the programs that the agent runs can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vagent.config.model import TapPriority
from vagent.doctor.facts import HostFacts
from vagent.doctor.finding import Finding, note, warning, wrong

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


def check_taps(facts: HostFacts) -> Iterator[Finding]:
    """Do programs of others run before the agent's at the taps? One finding for all:
    where one program does it at every tap, a thousand would say the same.
    """
    if not facts.in_front:
        return
    tap, program = facts.in_front[0]
    more = len({each for each, _ in facts.in_front}) - 1
    what = f"{program} runs before the agent's program at {tap}"
    if more:
        what += f", and so at {more} more taps"
    means = "what it redirects or accepts is neither served nor guarded"
    if facts.ours.tap_priority is TapPriority.LAST:
        yield note(
            f"{what}, as tap-priority is last",
            f"{means}; what it limits, it limits for services as well",
            f"tc filter show dev {tap} ingress; bpftool net show dev {tap}",
        )
    else:
        yield warning(
            f"{what}, though tap-priority is first",
            f"{means}; attach it after the agent's, or accept it: tap-priority last",
            f"tc filter show dev {tap} ingress; bpftool net show dev {tap}",
        )
