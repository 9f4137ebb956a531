"""Promises of vagent.guests.process: exit codes, and lines that are plain to read.

That it watches is shown by tests/system/test_system_libvirt.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagent.guests import process
from vagent.guests.hypervisor import HypervisorError
from vagent.guests.process import main, say


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def write(folder: Path, text: str) -> list[str]:
    """Arguments that name an agent.conf."""
    (folder / "agent.conf").write_text(f"<agent>{text}</agent>")
    return ["--config", str(folder / "agent.conf")]


def test_a_configuration_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """78, and what is wrong."""
    text = "<libvirt><enabled>maybe</enabled></libvirt>"
    assert 78 == main(write(tmp_path, text))
    assert "/agent/libvirt/enabled: got 'maybe'" in capsys.readouterr().err


def test_libvirts_module_is_missing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """69, and what to install."""

    def missing() -> None:
        raise HypervisorError("install python3-libvirt")

    monkeypatch.setattr(process, "load_libvirt", missing)
    assert 69 == main(write(tmp_path, ""))
    assert "vagent-libvirt: install python3-libvirt\n" in capsys.readouterr().err


def test_there_is_nothing_to_do(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0 where the operator has switched it off."""
    monkeypatch.setattr(process, "load_libvirt", lambda: None)
    text = "<libvirt><enabled>false</enabled></libvirt>"
    assert 0 == main(write(tmp_path, text))
    assert "libvirt/enabled is false" in capsys.readouterr().err


def test_names_of_domains_do_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Control characters are not written, and each line says whose it is."""
    say("a\x1b[2J\nb")
    assert "vagent-libvirt: a?[2J\nvagent-libvirt: b\n" == capsys.readouterr().err


def test_this_host_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By two files; where they are missing nothing was found."""
    monkeypatch.setattr(process, "FIB_TRIE", tmp_path / "none")
    monkeypatch.setattr(process, "NAMESPACES", tmp_path / "netns")
    assert "" == process.look_elsewhere()
    (tmp_path / "netns" / "ovnmeta-00").mkdir(parents=True)
    assert "ovnmeta-00" in process.look_elsewhere()
