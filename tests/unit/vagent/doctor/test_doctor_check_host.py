"""Promises of the doctor on Contrail's folder of port files, and libvirt's domains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vagent.config.model import AgentConfig
from vagent.doctor.check_host import MAX_NAMED, check_contrail, check_domains
from vagent.doctor.facts import DomainFact, DomainFacts, HostFacts
from vagent.doctor.look import _contrail
from vagent.judgements.judgement import Severity
from vagent.ports.contrail_folder import ContrailFolder, FolderState

PATH = Path("/var/lib/contrail/ports")


@pytest.mark.parametrize("folder", [None, ContrailFolder(PATH, FolderState.LINKED)])
def test_nothing_is_said_of_our_link(
    facts: HostFacts, folder: ContrailFolder | None
) -> None:
    """Nor where there is none."""
    assert [] == list(check_contrail(replace(facts, contrail=folder)))


@pytest.mark.parametrize(
    ("state", "detail", "severity", "what", "mend"),
    [
        ("beside", "", "note", "is a directory, not a link", f"mv {PATH} {PATH}.old"),
        ("missing", "", "warning", "is missing", "systemctl restart"),
        ("elsewhere", "/x", "warning", "is a link to /x, which", f"rm {PATH}"),
        ("unsafe", "every user may write in it", "warning", "every user", "chmod 0755"),
        ("unusable", "it is no directory", "warning", "no directory", "ls -ld"),
    ],
)
def test_each_other_state_is_explained(
    facts: HostFacts, state: str, detail: str, severity: str, what: str, mend: str
) -> None:
    """What is there, what comes of it, and what mends it."""
    folder = ContrailFolder(PATH, FolderState(state), detail)
    (finding,) = check_contrail(replace(facts, contrail=folder))
    assert severity == finding.severity.value
    assert f"{PATH} " in finding.what
    assert what in finding.what
    assert mend in finding.mend


def test_the_folder_is_that_of_agent_conf(tmp_path: Path) -> None:
    """Another agent's state has nothing to do with it."""
    assert _contrail(AgentConfig(state_directory=tmp_path)) is None
    path = tmp_path / "ports-of-contrail"
    config = AgentConfig(tmp_path, contrail_ports_directory=str(path))
    path.symlink_to(tmp_path / "ports")
    assert ContrailFolder(path, FolderState.LINKED) == _contrail(config)


def domains(*running: DomainFact, **more: Any) -> DomainFacts:
    """What libvirt runs."""
    return DomainFacts(running, **more)


def test_domains_that_are_served(facts: HostFacts) -> None:
    """Nothing is said of them, nor where there is no libvirt."""
    tap = served(facts)
    good = DomainFact("web", (tap,))
    assert [] == list(check_domains(replace(facts, domains=domains(good))))
    assert [] == list(check_domains(replace(facts, domains=None)))


def test_domains_that_will_not_ask(facts: HostFacts) -> None:
    """One note for all, with so many names that a line holds them."""
    silent = [DomainFact(f"g{n}", (served(facts),), asks=False) for n in range(9)]
    [found] = check_domains(replace(facts, domains=domains(*silent)))
    assert (Severity.NOTE, "vagentctl libvirt prepare --all") == (
        found.severity, found.mend
    )  # fmt: skip
    assert f"'g{MAX_NAMED - 1}' and {9 - MAX_NAMED} more" in found.what


@pytest.mark.parametrize(
    ("more", "severity", "said"),
    [
        ({}, Severity.WARNING, "domains without a port: 'web'"),
        ({"elsewhere": "Neutron serves"}, Severity.NOTE, "nothing: Neutron serves"),
    ],
)
def test_domains_without_a_port(
    facts: HostFacts, more: dict[str, str], severity: Severity, said: str
) -> None:
    """Why, where it is known: somebody else serves the host."""
    bare = domains(DomainFact("web", (served(facts), "vnet7")), **more)
    [found] = check_domains(replace(facts, domains=bare))
    assert (severity, True) == (found.severity, said in found.what)
    away = replace(facts, agent=replace(facts.agent, ports=None), domains=bare)
    assert [] == list(check_domains(away))


def test_domains_of_novas(facts: HostFacts) -> None:
    """A note that says what would serve them; with serve they count as all others."""
    bare = domains(DomainFact("nova", ("tap7",), is_novas=True), elsewhere="Neutron")
    [found] = check_domains(replace(facts, domains=bare))
    assert (Severity.NOTE, True) == (found.severity, "'nova'" in found.what)
    assert "nova-domains to serve" in found.mend
    bare = replace(bare, serves_nova=True, elsewhere="")
    [found] = check_domains(replace(facts, domains=bare))
    assert Severity.WARNING is found.severity


def served(facts: HostFacts) -> str:
    """A tap that has a port."""
    assert facts.agent.ports
    return facts.agent.ports[0].tap
