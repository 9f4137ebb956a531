"""A real port API in a process of its own: journal on disk, reactor, loopback.

Started by tests as `python port_api_process.py FOLDER`; prints the port that it got and
then runs until it is killed.
"""

from __future__ import annotations

import sys
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twisted.internet import reactor as _reactor  # noqa: TID251  # this process is the root
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from tests.gates import real_gate
from vagent.observe.event import Event
from vagent.ports.journal import Journal
from vagent.ports.registrar import Registrar
from vagent.ports.registry import PortRegistry
from vagent.ports.server import port_api_site

reactor = cast("Any", _reactor)  # zope's interfaces say less than it can do


async def _serve(folder: Path) -> None:
    def emit(event: Event) -> None:
        print(event.text(), file=sys.stderr, flush=True)

    async def settle() -> None:
        return None

    registrar = Registrar(
        PortRegistry(IPv4Network("169.254.64.0/18"), emit=emit),
        Journal(
            folder,
            run_in_thread=lambda work: deferToThreadPool(
                reactor, reactor.getThreadPool(), work
            ),
            emit=emit,
        ),
        settle=settle,
        emit=emit,
        clock=reactor,
    )
    await registrar.restore()
    site = port_api_site(
        registrar,
        names=("localhost",),
        gate=real_gate(),
        emit=emit,
        clock=reactor,
        now=time.time,  # noqa: TID251  shown as a date
    )
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    print(port.getHost().port, flush=True)


def _give_up(failure: Failure) -> None:
    failure.printTraceback()
    reactor.stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(_serve(Path(sys.argv[1]))).addErrback(_give_up)
    reactor.run()
