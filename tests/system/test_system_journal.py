"""What the journal is told of a guest, with fields to look for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.agent import SECRET
from tests.system.test_system_judgements import asks, lines

pytestmark = pytest.mark.system

AS_SYSTEMD = """
mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
mount --bind "$1" /run/systemd/journal && shift && \
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"
"""
"""The agent sees a journald of ours, and is told that its stderr leads there."""


@contextmanager
def journald(folder: Path) -> Iterator[socket.socket]:
    """Something that listens as journald does."""
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(folder / "socket"))
        made.settimeout(30)
        yield made


def entry(journal: socket.socket, **wanted: str) -> dict[str, str]:
    """The next entry with these fields."""
    while True:
        said = journal.recv(65_536).decode()
        found = dict(line.split("=", 1) for line in said.splitlines())
        assert SECRET not in said
        if wanted.items() <= found.items():
            return found


def test_an_unknown_instance_is_found_by_its_port(idle_site: Any) -> None:
    """One entry when it begins and one when it has ended: port, instance, tap, and the
    request of the guest that met it, which the trace has as well.
    """
    site = idle_site
    with journald(site.folder / "j") as journal:
        site.agent.prefix = (
            *("unshare", "--mount", "sh", "-c", AS_SYSTEMD, "-"),
            str(site.folder / "j"),
        )
        site.agent.start()
        alice = site.alice()
        site.introduce(alice)
        site.provision()
        site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
        site.agent.register(replace(alice, tenant_id="7e0000000000400080000000000099"))
        assert "404" == asks(alice)
        about = {"KIND": "instance-unknown", "PORT": alice.port_id}
        began = entry(journal, EVENT="JudgementBegan", **about)
        assert alice.instance_id == began["INSTANCE"]
        assert alice.tap == began["TAP"]
        assert "4" == began["PRIORITY"]
        assert "openstack server show" in began["MESSAGE"]
        number = began["REQUEST_ID"]
        traced = site.agent.tool("vagent.ctl", "trace", "Metadata", "--request", number)
        assert "404" in traced
        site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
        site.agent.register(alice)
        assert "200" == asks(alice)
        ended = entry(journal, EVENT="JudgementEnded", **about)
        assert "ended after" in ended["MESSAGE"]
        assert not lines(site, "instance")
