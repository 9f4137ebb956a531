"""Checks of who may use the operator's APIs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vagent.doctor.facts import HostFacts
from vagent.doctor.finding import Finding, note, warning
from vagent.web.caller import GROUP

SHOWN = 3
"""The most users that a finding names."""
HARMLESS = "introspect"
"""The API that shows no secrets and changes nothing of guests'."""


def check_access(facts: HostFacts) -> Iterator[Finding]:
    """Is there the group, are the sockets there, and who else may change things?"""
    access = facts.access
    if access is None:
        return
    if not access.has_group:
        yield note(
            f"there is no group {GROUP}",
            "root alone may use the port API and the config API; Nova's drivers as "
            "another user get 403",
            f"groupadd --system {GROUP} && {facts.agent.restart}",
        )
    if facts.agent.is_up:
        for path in access.missing:
            yield warning(
                f"the socket {path} is missing, although the agent runs",
                "tools of members of the group go without; somebody removed it",
                facts.agent.restart,
            )
    for name in access.open:
        if name != HARMLESS:
            yield _open(name, access.users, facts)


def _open(name: str, users: tuple[str, ...], facts: HostFacts) -> Finding:
    """The finding for an API that every user of the host may use: on a host with users
    of its own, each of them can become any guest.
    """
    tell = warning if users else note
    who = ", ".join(users[:SHOWN]) + (" and others" if len(users) > SHOWN else "")
    return tell(
        f"{name} has access open",
        f"every process of this host may change guests' ports, services or user data"
        f"{f', those of {who} too' if users else ''}",
        f"sed -i '/<{name}>/,/<\\/{name}>/s/>open</>peer-uid</' "
        f"{facts.configuration.path} && {facts.agent.restart}",
    )
