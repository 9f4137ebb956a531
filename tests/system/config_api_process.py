"""A real config API in a process of its own: SQLite, reactor, loopback.

Started by tests as `python config_api_process.py FILE.sqlite`; prints the port that it
got and then runs until it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twisted.internet import reactor as _reactor  # noqa: TID251  # this process is the root
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from provision.config_api.server import config_api_site
from tests.gates import real_gate
from vagent.linklocal.watcher import ServiceWatcher
from vagent.observe.event import Event
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker

reactor = cast("Any", _reactor)  # zope's interfaces say less than it can do


async def _serve(path: Path, worker: Worker) -> None:
    def emit(event: Event) -> None:
        print(event.text(), file=sys.stderr, flush=True)

    store = SqliteStore(path, run_in_thread=worker)
    await store.open()
    watcher = ServiceWatcher(store, lambda _table: None, emit)
    watcher.start()
    site = config_api_site(
        store,
        names=("localhost",),
        gate=real_gate(),
        emit=emit,
        clock=reactor,
        services=lambda: watcher.table,
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    print(port.getHost().port, flush=True)


def _give_up(failure: Failure) -> None:
    failure.printTraceback()
    reactor.stop()


if __name__ == "__main__":
    worker = Worker("store", reactor=reactor)
    worker.start()
    Deferred.fromCoroutine(_serve(Path(sys.argv[1]), worker)).addErrback(_give_up)
    reactor.addSystemEventTrigger("after", "shutdown", worker.stop)
    reactor.run()
