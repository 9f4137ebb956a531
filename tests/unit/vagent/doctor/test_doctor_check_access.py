"""Promises of the doctor on who may use the operator's APIs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vagent.config.model import Access, AccessMode, AgentConfig
from vagent.doctor.check_access import check_access
from vagent.doctor.facts import AccessFacts, HostFacts
from vagent.doctor.look_agent import look_at_access, users_in

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
alice:x:1000:1000::/home/alice:/bin/bash
bob:x:1001:1001::/home/bob:
nova:x:64060:64060::/var/lib/nova:/bin/false
broken
"""


def found(facts: HostFacts, **access: Any) -> list[tuple[str, str]]:
    """Severity and beginning of each finding."""
    changed = replace(facts, access=AccessFacts(**access))
    return [(each.severity.value, each.what) for each in check_access(changed)]


def test_a_host_where_all_is_well(facts: HostFacts) -> None:
    """Introspection is open to all by default; and nothing is said where nothing is
    known.
    """
    assert [] == list(check_access(facts))
    assert [] == list(check_access(replace(facts, access=None)))


def test_no_group(facts: HostFacts) -> None:
    """A note: root can do everything."""
    assert [("note", "there is no group vagent")] == found(facts, has_group=False)


def test_a_missing_socket(facts: HostFacts) -> None:
    """Of an agent that runs; of another there need be none."""
    path = "/run/vagent/port-api.sock"
    what = f"the socket {path} is missing, although the agent runs"
    assert [("warning", what)] == found(facts, missing=(path,))
    stopped = replace(facts, agent=replace(facts.agent, readiness=""))
    assert [] == found(stopped, missing=(path,))


@pytest.mark.parametrize(
    ("users", "severity", "who"),
    [
        ((), "note", "user data"),
        (("alice",), "warning", "user data, those of alice too"),
        (tuple("abcd"), "warning", "user data, those of a, b, c and others too"),
    ],
)
def test_access_that_is_open(
    facts: HostFacts, users: tuple[str, ...], severity: str, who: str
) -> None:
    """Matters where others can log in, whom it names; the command mends it."""
    access = AccessFacts(open=("config-api", "introspect"), users=users)
    (finding,) = check_access(replace(facts, access=access))
    assert (severity, "config-api has access open") == (
        finding.severity.value,
        finding.what,
    )
    assert finding.means.endswith(who)
    assert "sed -i '/<config-api>/,/<\\/config-api>/s/>open</" in finding.mend


def test_users_who_can_log_in() -> None:
    """Not root, nor those whose shell lets nobody in; an empty shell is /bin/sh."""
    assert ("alice", "bob") == users_in(PASSWD)


def test_what_the_host_tells(tmp_path: Path) -> None:
    """Sockets that are not there, and what agent.conf leaves open."""
    (tmp_path / "port-api.sock").touch()
    config = AgentConfig(runtime_directory=tmp_path)
    opened = replace(config.port_api, access=Access(AccessMode.OPEN))
    facts = look_at_access(replace(config, port_api=opened))
    names = ("port-api.sock", "config-api.sock", "introspect.sock")
    assert tuple(str(tmp_path / name) for name in names) == facts.missing
    assert ("port-api", "introspect") == facts.open
