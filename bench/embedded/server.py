"""The embedded metadata server alone, on loopback, composed as the agent composes it:
store, targets, traces and counters are the real ones. A process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.main import installReactor
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner

from bench.clients.crowd import Member, load
from vagent.config.model import Secret, VendorDataConfig, VendorDataTarget
from vagent.listeners import LISTEN_BACKLOG
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority
from vagent.nova.read_ahead import ReadAhead
from vagent.nova.server import metadata_site
from vagent.nova.source import KIND, StoredInstances, StoredPasswords
from vagent.nova.vendordata.compose import vendor_data_of
from vagent.observe.event import event_classes
from vagent.observe.logs import LineLog
from vagent.observe.observer import Observer
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker
from vagent.transport.reactor import QuietEpollReactor, freeze_heap

LOOPBACK = "127.0.0.1"
FILE = "instances.sqlite"


def document(member: Member) -> dict[str, Any]:
    """What is known of one guest: as much as of the real Nova's."""
    return {
        "uuid": member.instance_id,
        "tenant_id": member.tenant_id,
        "name": "bench",
        "hostname": "bench-vm",
        "availability_zone": "zone-1a",
        "meta": {"role": "bench"},
        "public_keys": {"bench-key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA bench"},
        "user_data": "#cloud-config\nlocale: C.UTF-8\n",
    }


async def serve(options: argparse.Namespace, reactor: Any) -> None:
    """Fill the store, open it, and listen."""
    observer = Observer(now=time.time, log_level="info")  # noqa: TID251  shown as a date
    observer.expect(*event_classes())
    worker = Worker("store", reactor=reactor)
    worker.start()
    reactor.addSystemEventTrigger("during", "shutdown", worker.stop)
    path = options.folder / FILE
    store = SqliteStore(path, run_in_thread=worker)
    await store.open()
    await store.close()
    fill(path, load(options.crowd))
    await store.open()
    instances = StoredInstances(store, observer.emit)
    instances.start()
    config = VendorDataConfig(
        targets=tuple(
            VendorDataTarget(f"target{number}", url)
            for number, url in enumerate(options.target)
        ),
        ca_cert=options.ca_cert,
    )
    site = metadata_site(
        instances,
        StoredPasswords(store),
        Authority(Secret(options.secret.encode())),
        entropy=os.urandom,
        emit=observer.emit,
        reactor=reactor,
        date=HttpDate(time.time, time.monotonic),  # noqa: TID251  shown as a date
        vendor_data=vendor_data_of(
            config,
            store=store,
            instances=instances,
            credentials=None,
            emit=observer.emit,
            reactor=reactor,
            now=time.time,  # noqa: TID251  must mean something after a restart
        ),
    )
    # As in the agent, whose guests have ports before they ask.
    read_ahead = ReadAhead(instances, ports_of=lambda _: (), clock=reactor)
    read_ahead.expect(member.instance_id for member in load(options.crowd))
    while read_ahead.waiting:
        await deferLater(reactor, 0.05)
    reactor.listenTCP(options.port, site, backlog=LISTEN_BACKLOG, interface=LOOPBACK)
    freeze_heap()


def fill(path: Path, members: list[Member]) -> None:
    """Write all of them at once: one by one each would wait for the disk."""
    rows = [
        (KIND, member.instance_id, json.dumps(document(member)), number)
        for number, member in enumerate(members, 1)
    ]
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO entry (kind, id, value, revision) VALUES (?, ?, ?, ?)", rows
        )
        connection.execute("UPDATE clock SET revision = ?", (len(rows),))
    connection.close()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--crowd", type=Path, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--ca-cert", type=Path, help="of the targets")
    parser.add_argument("--target", action="append", default=[], metavar="URL")
    options = parser.parse_args()
    build: Any = QuietEpollReactor  # Twisted has no types for it
    reactor = build()
    installReactor(reactor)
    globalLogBeginner.beginLoggingTo(
        [LineLog(sys.stderr, log_level="info")], redirectStandardIO=False
    )
    started = Deferred.fromCoroutine(serve(options, reactor))

    def failed(failure: Any) -> None:
        failure.printTraceback(sys.stderr)
        reactor.stop()

    started.addErrback(failed)
    reactor.run()


if __name__ == "__main__":
    main()
