"""Promises of vagentctl guest and libvirt: what is listed and changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vagent.guests import nova_domains as made
from vagent.ctl import command_line as ctl
from vagent.ctl import session as ctl_session
from vagent.guests import definitions as definitions_module
from vagent.guests.definitions import KnownDomain
from vagent.guests.hypervisor import HypervisorError
from vagent.web.json_client import JsonClient

Run = Callable[..., tuple[int, str, str]]
ASKING = made.PLAIN.replace("<memory", made.OPENSTACK + "<memory")


class Libvirt:
    """Definitions in memory."""

    def __init__(self) -> None:
        self.domains_of: dict[str, tuple[str, bool]] = {}
        self.opened: list[tuple[str, bool]] = []
        self.closed = 0
        self.is_away = False

    def __call__(self, uri: str, *, may_write: bool = False) -> Libvirt:
        if self.is_away:
            raise HypervisorError(f"{uri}: no such socket")
        self.opened.append((uri, may_write))
        return self

    def domains(self) -> list[KnownDomain]:
        return [KnownDomain(n, on, xml) for n, (xml, on) in self.domains_of.items()]

    def definition(self, name: str) -> str:
        if name not in self.domains_of:
            raise HypervisorError(f"no domain {name!r}")
        return self.domains_of[name][0]

    def define(self, xml: str) -> None:
        self.domains_of["web"] = (xml, True)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def libvirt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Libvirt:
    """One domain, whose cloud-init will not ask; an agent without ports."""
    made_one = Libvirt()
    made_one.domains_of["web"] = (made.PLAIN, True)
    monkeypatch.setattr(definitions_module, "Definitions", made_one)
    monkeypatch.setattr(ctl_session, "DEFAULT_CONFIG", tmp_path / "absent.conf")
    listed: list[Any] = []
    monkeypatch.setattr(JsonClient, "json", lambda *_: listed)
    return made_one


@pytest.fixture
def run() -> Run:
    """Run vagentctl; exit code, stdout, stderr."""

    def run(*argv: str, stdin: str = "") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        code = ctl.main(argv, stdin=io.StringIO(stdin), stdout=out, stderr=err)
        return code, out.getvalue(), err.getvalue()

    return run


def test_guests_are_listed(libvirt: Libvirt, run: Run) -> None:
    """Each domain, also one whose XML cannot be read; libvirt is only read."""
    libvirt.domains_of["broken"] = ("<x", False)
    code, out, _ = run("-o", "json", "guest", "list")
    plain, broken = json.loads(out)
    assert (0, "vnet0") == (code, plain["tap"])
    assert ("broken", ["domain: not well-formed XML"]) == (
        broken["name"],
        broken["wrong"],
    )
    assert ([("qemu:///system", False)], 1) == (libvirt.opened, libvirt.closed)
    assert "vnet0" in run("guest", "list", "--connect", "test:///x")[1]
    assert ("test:///x", False) == libvirt.opened[-1]


def test_libvirt_is_not_there(libvirt: Libvirt, run: Run) -> None:
    """69, and what it said."""
    libvirt.is_away = True
    code, _, err = run("guest", "list")
    assert (69, "vagentctl: libvirt: qemu:///system: no such socket\n") == (code, err)


def test_the_snippet(libvirt: Libvirt, run: Run) -> None:
    """It can be pasted."""
    code, out, _ = run("libvirt", "snippet")
    assert 0 == code
    assert "<entry name='product'>OpenStack Nova</entry>" in out


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_a_domain_is_prepared_when_the_operator_agrees(
    libvirt: Libvirt, run: Run, answer: str
) -> None:
    """Once: the second time there is nothing to do."""
    code, _, err = run("libvirt", "prepare", "web", stdin=answer)
    assert (0, True) == (code, "shut down and started again" in err)
    assert "OpenStack Nova" in libvirt.domains_of["web"][0]
    assert "nothing to do" in run("libvirt", "prepare", "web")[2]
    assert ("qemu:///system", True) == libvirt.opened[-1]


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yy\n"])
def test_a_domain_is_left_when_not(libvirt: Libvirt, run: Run, answer: str) -> None:
    """No answer is no."""
    assert "left as it is" in run("libvirt", "prepare", "web", stdin=answer)[2]
    assert (made.PLAIN, True) == libvirt.domains_of["web"]


def test_all_that_need_it(libvirt: Libvirt, run: Run) -> None:
    """Not Nova's, not those that ask, not what cannot be read."""
    libvirt.domains_of["nova"] = (made.OVN.replace("sysinfo", "none"), True)
    libvirt.domains_of["asks"] = (ASKING, True)
    libvirt.domains_of["broken"] = ("<x", True)
    code, _, err = run("libvirt", "prepare", "--all", "--yes")
    assert (0, 1) == (code, err.count("done"))
    assert "no domain that needs it" in run("libvirt", "prepare", "--all")[2]


def test_what_cannot_be_prepared(libvirt: Libvirt, run: Run) -> None:
    """Neither named nor all, both, unknown, and no XML."""
    assert 2 == run("libvirt", "prepare")[0]
    assert 2 == run("libvirt", "prepare", "web", "--all")[0]
    code, _, err = run("libvirt", "prepare", "other")
    assert (1, True) == (code, "no domain 'other'" in err)
    libvirt.domains_of["broken"] = ("<x", True)
    code, _, err = run("libvirt", "prepare", "broken", "--yes")
    assert (1, True) == (code, "broken: domain: not well-formed" in err)
    assert len(libvirt.opened) == libvirt.closed
