"""The signer of an agent: keys in its state folder, a thread, events in the reactor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

from twisted.internet.defer import Deferred

from tests.unit.vagent.nova.identity.made_keys import NOW
from vagent.nova.identity.compose import identity_signer
from vagent.nova.identity.events import IdentityKeysRotated
from vagent.nova.identity.keys import decode
from vagent.nova.identity.signatures import certificates, key_id
from vagent.observe.event import Event


class Reactor:
    """What other threads want to be called."""

    def __init__(self) -> None:
        self.calls: Queue[tuple[Callable[..., Any], tuple[Any, ...]]] = Queue()

    def callFromThread(self, work: Callable[..., Any], *args: Any) -> None:
        self.calls.put((work, args))


def test_the_signer_of_an_agent(tmp_path: Path) -> None:
    """Nothing is there before it is asked; what it reports comes by the reactor."""
    reactor, events, results = Reactor(), list[Event](), list[bytes]()
    signer = identity_signer(
        tmp_path, host_name="host", now=lambda: NOW, emit=events.append, reactor=reactor
    )
    assert [] == list(tmp_path.iterdir())
    Deferred.fromCoroutine(signer.certificates()).addCallback(results.append)
    while not results:
        work, args = reactor.calls.get(timeout=60)
        work(*args)
    ring = decode((tmp_path / "identity-keys").read_bytes())
    assert [certificates(ring)] == results
    assert [IdentityKeysRotated(key_id(ring.current))] == events
    assert "CN=host" == ring.current.x509.subject.rfc4514_string()
