"""Promises of the doctor on the folder of Contrail's port files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vagent.config.model import AgentConfig
from vagent.doctor.check_host import check_contrail
from vagent.doctor.facts import HostFacts
from vagent.doctor.look import _contrail
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
