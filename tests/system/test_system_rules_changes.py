"""The kernel tells of every transaction of nf_tables, in the network that is asked."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from lab.namespaces import Machine
from vagent.datapath.rules.rules_changes import MAX_BATCH, RulesChanges
from vagent.kernel.namespace import Namespace

pytestmark = [pytest.mark.system, pytest.mark.kernel]


class Heard:
    """A reader in a machine's network, without a reactor."""

    def __init__(self, machine: Machine) -> None:
        self.network = Namespace(machine.name)
        self.network.open()
        self.told = 0
        self.reactor: Any = Mock()
        self.changes = RulesChanges(self.network, self.tell, reactor=self.reactor)
        self.changes.open()

    def tell(self) -> None:
        self.told += 1

    def is_waiting(self, seconds: float = 0.0) -> bool:
        """Is there anything to read?"""
        waiting = select.poll()
        waiting.register(self.changes.fileno(), select.POLLIN)
        return bool(waiting.poll(seconds * 1000))

    def close(self) -> None:
        self.changes.close()
        self.network.close()


@contextmanager
def machine(name: str) -> Iterator[Machine]:
    made = Machine.create(name)
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture
def heard(worker_id: str) -> Iterator[tuple[Machine, Heard]]:
    """A machine, and what is heard of it."""
    with machine(f"vtc-{worker_id}") as made:
        reader = Heard(made)
        yield made, reader
        reader.close()


def test_each_transaction_is_heard_once(heard: tuple[Machine, Heard]) -> None:
    """However much it changes; what it changed is not passed on."""
    host, reader = heard
    elements = ", ".join(f"10.0.{n // 250}.{n % 250}" for n in range(1000))
    table = (
        f"table ip t {{ set s {{ type ipv4_addr; elements = {{ {elements} }}; }}; }}"
    )
    host.run("nft", "-f", "-", text=table)
    assert reader.is_waiting(5)
    for _ in range(2):
        reader.changes.doRead()
    assert not reader.is_waiting()
    assert 2 == reader.told
    host.run("nft", "flush", "ruleset")
    assert reader.is_waiting(5)


def test_other_news_and_other_networks_are_not_heard(
    heard: tuple[Machine, Heard], worker_id: str
) -> None:
    """Links and addresses of this one, rules of another one."""
    host, reader = heard
    host.run("ip", "link", "add", "b0", "type", "bridge")
    with machine(f"vtd-{worker_id}") as other:
        other.run("nft", "add table ip t")
    assert not reader.is_waiting()


def test_more_than_the_buffer_holds_is_heard_too(heard: tuple[Machine, Heard]) -> None:
    """A storm of others' transactions loses messages, never the news."""
    host, reader = heard
    storm = "add table ip t; delete table ip t"
    host.run("sh", "-c", f"for n in $(seq 400); do nft '{storm}'; done")
    rounds = 0
    while reader.is_waiting():
        reader.changes.doRead()
        rounds += 1
    assert 0 < reader.told == rounds <= 1 + 400 // MAX_BATCH + 1
    host.run("nft", "add table ip t")
    assert reader.is_waiting(5)


def test_it_is_read_by_the_reactor_until_it_is_closed(
    heard: tuple[Machine, Heard],
) -> None:
    """And has no descriptor then."""
    _, reader = heard
    reader.reactor.addReader.assert_called_once_with(reader.changes)
    reader.changes.connectionLost(Mock())
    reader.reactor.removeReader.assert_called_once_with(reader.changes)
    assert -1 == reader.changes.fileno()
    reader.changes.doRead()
    assert 0 == reader.told
