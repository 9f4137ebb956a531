"""Two agents, one state directory: the second one changes nothing and says why."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from lab.agent import RunningAgent
from lab.namespaces import PATIENCE, LabError
from lab.waiting import wait_for

pytestmark = pytest.mark.system

OTHER = """<config><agent>
  <state-directory>{state}</state-directory>
  <runtime-directory>{folder}/run</runtime-directory>
  <metadata-proxy><shared-secret>made-up</shared-secret></metadata-proxy>
  <data-path>
    <name>other</name>
    <queue-number>8099</queue-number>
    <identity-range>10.254.0.0/20</identity-range>
  </data-path>
  <port-api><port>19091</port></port-api>
  <config-api><port>18082</port></config-api>
  <introspect><port>18085</port></introspect>
</agent></config>
"""
UNAVAILABLE = 69


def other_agent(site: Any) -> RunningAgent:
    """An agent whose names and ports are others', and whose state directory is not."""
    folder = site.folder / "other"
    config = OTHER.format(folder=folder, state=site.folder / "state")
    return RunningAgent(site.lab, folder, config, spawn=False)


def ended(agent: RunningAgent) -> int:
    """The exit code of an agent that does not start."""
    agent.start(wait=False)
    assert agent.process is not None
    try:
        return agent.process.wait(30 * PATIENCE)
    finally:
        agent.process.kill()


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Each file below a folder, with its number and the time of its last change."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {
        str(path): (state.st_ino, state.st_mtime_ns) for path, state in found.items()
    }


class Adding:
    """Adds and removes ports without a pause, while the block runs."""

    def __init__(self, site: Any) -> None:
        self._site = site
        self._guest = site.alice()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._add)
        self.failures: list[str] = []
        self.added = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _add(self) -> None:
        while not self._over.is_set():
            try:
                self._site.agent.register(self._guest)
                self._site.agent.tool(
                    *("vagent.ctl", "port", "del", self._guest.port_id)
                )
                self.added += 1
            except LabError as failure:
                self.failures.append(str(failure))


def test_a_second_agent_touches_nothing(site: Any) -> None:
    """It ends with 69, names the directory and the process that has it, and no port
    that the first one adds meanwhile is lost.
    """
    other = other_agent(site)
    before = contents(site.folder / "state")
    assert UNAVAILABLE == ended(other)
    assert before == contents(site.folder / "state")
    where, pid = site.folder / "state", site.agent.process.pid
    assert (
        f"state directory {where} is in use by process {pid}" in other.log.read_text()
    )
    with Adding(site) as adding:
        wait_for(lambda: adding.added)
        assert [UNAVAILABLE] * 3 == [ended(other) for _ in range(3)]
    assert [] == adding.failures
    assert "other" not in site.lab.host.run("ip", "-o", "link")


def test_kill_9_lets_the_next_one_in(site: Any) -> None:
    """At once, and it finds the ports; the first one does not get back in beside it."""
    alice = site.alice()
    site.agent.register(alice)
    site.agent.stop(signal.SIGKILL)
    other = other_agent(site)
    other.start(wait=False)
    try:
        wait_for(lambda: alice.port_id in ports_of(other), seconds=30)
        assert UNAVAILABLE == ended(site.agent)
    finally:
        site.agent.process = None
        assert 0 == other.stop()


def ports_of(agent: RunningAgent) -> str:
    """What `GET /ports` of the other agent says; "" without an answer."""
    try:
        return agent.get("http://127.0.0.1:19091/ports")
    except LabError:  # it starts
        return ""


def test_the_doctor_knows_who_has_it(site: Any) -> None:
    """Of an agent that has the directory and answers elsewhere."""
    conf = site.folder / "elsewhere.conf"
    conf.write_text(OTHER.format(folder=site.folder, state=site.folder / "state"))
    conf.chmod(0o600)
    said = site.agent.tool("vagent.ctl", "doctor", "--config", str(conf), check=False)
    pid = site.agent.process.pid
    assert f"(pid {pid}) has the state directory, and does not answer here" in said
