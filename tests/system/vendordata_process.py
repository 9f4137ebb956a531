"""Asks targets about one guest, in a process of its own with a store on disk.

`vendordata_process.py FOLDER JSON`: the JSON has `targets` (name → URL), `requests` and
other members of VendorDataConfig. Prints for each request what the guest gets, and how
many seconds it took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from vagent.config.model import VendorDataConfig, VendorDataTarget
from vagent.nova.codec import decode_instance
from vagent.nova.instance import Instance
from vagent.nova.vendordata.compose import vendor_data_of
from vagent.observe.event import Event
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker
from vagent.transport.reactor import QuietEpollReactor

GUEST = decode_instance(
    {
        "uuid": "1a2b3c00-0000-4000-8000-000000000003",
        "tenant_id": "7e000000000040008000000000000001",
    }
)


class OneInstance:
    """Knows the guest."""

    async def get(self, instance_id: str) -> Instance | None:
        return GUEST if instance_id == GUEST.uuid else None


class Account:
    """Has a token."""

    async def headers(self) -> tuple[tuple[str, str], ...]:
        return (("X-Auth-Token", "s3cret-token"),)

    def refused(self, headers: object) -> None:
        del headers


async def ask(folder: Path, wanted: dict[str, Any], reactor: Any) -> None:
    targets = wanted.pop("targets")
    requests = wanted.pop("requests")
    paths = ("ca_cert", "client_cert", "client_key", "target_tls")
    more: dict[str, Any] = {
        name: Path(value) if name in paths else value for name, value in wanted.items()
    }
    config = VendorDataConfig(
        targets=tuple(VendorDataTarget(name, url) for name, url in targets.items()),
        **more,
    )
    worker = Worker("files", reactor=reactor)
    worker.start()
    store = SqliteStore(folder / "store.sqlite", run_in_thread=worker)
    await store.open()
    events: list[Event] = []
    vendor_data = vendor_data_of(
        config,
        store=store,
        instances=OneInstance(),
        credentials=Account(),
        emit=events.append,
        reactor=reactor,
        now=time.time,  # noqa: TID251  as the agent does
    )
    for _ in range(requests):
        began = time.monotonic()
        found = await vendor_data.dynamic(GUEST)
        seconds = time.monotonic() - began
        told = [event.text() for event in events if event.is_fault()]
        print(json.dumps({"found": found, "seconds": seconds, "told": told}))
    await store.close()
    worker.stop()
    reactor.stop()


def main() -> None:
    reactor: Any = QuietEpollReactor()
    folder, wanted = Path(sys.argv[1]), json.loads(sys.argv[2])

    def begin() -> None:
        Deferred.fromCoroutine(ask(folder, wanted, reactor)).addErrback(stop)

    def stop(failure: Any) -> None:
        failure.printTraceback()
        reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()


main()
