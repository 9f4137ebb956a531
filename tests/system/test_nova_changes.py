"""Changes of an instance, seen by its guest through the proxy: at once, always.

Store, embedded server and proxy are real and share a reactor, as in the agent; guests
ask from threads while an operator changes the instance.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from lab.waiting import wait_for
from tests.system.metadata_rig import INSTANCE, Running, Start, read_all, status_of
from tests.unit.vagent.nova.identity.made_keys import full_ring, signer_of
from vagent.config.model import Secret
from vagent.metadata.events import ChangeAwaited
from vagent.metadata.http.date import HttpDate
from vagent.metadata.limits import MAX_LONG_POLLS
from vagent.nova.authority import Authority
from vagent.nova.embedded import EmbeddedServer
from vagent.nova.instance import Instance
from vagent.nova.instance_files.precedence import AllInstances
from vagent.nova.server import metadata_site
from vagent.nova.source import KIND, StoredInstances, StoredPasswords
from vagent.nova.vendordata.report import VendorDataReport
from vagent.nova.vendordata.stored import StoredAnswers
from vagent.nova.vendordata.vendor_data import NoVendorData
from vagent.store.sqlite import SqliteStore
from vagent.store.worker import Worker

TENANT = "7e0000000000400080000000000000aa"
CHANGES = 40
ASKING = 6
GET = b"GET %b HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n"
USER_DATA = GET % b"/openstack/latest/user_data"


class SlowInstances:
    """Takes its time between reading an instance and giving it, as a server that is far
    away or busy does; so changes fall between the making of an answer and its end.
    """

    def __init__(self, instances: StoredInstances, reactor: Any) -> None:
        self._instances = instances
        self._reactor = reactor

    async def get(self, instance_id: str) -> Instance | None:
        instance = await self._instances.get(instance_id)
        await deferLater(self._reactor, 0.01, lambda: None)
        return instance


class Cloud:
    """The proxy with the embedded server as its upstream, on a store in a file."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        reactor = running.reactor
        self.worker = Worker("store", reactor=reactor)
        self.store = SqliteStore(folder / "a.sqlite", run_in_thread=self.worker)
        self.instances = StoredInstances(
            self.store,
            running.events.append,
            changed=running.proxy.instance_changed,
        )
        self.worker.start()
        self.wait(self.store.open)
        running.call(self.instances.start)
        site = metadata_site(
            SlowInstances(self.instances, reactor),
            StoredPasswords(self.store),
            Authority(Secret(b"deadbeef2eb84d8d")),
            entropy=os.urandom,
            emit=running.events.append,
            reactor=reactor,
            date=HttpDate(float, reactor.seconds),
        )
        self.listener = running.call(
            lambda: reactor.listenTCP(0, site, interface="127.0.0.1")
        )
        running.target(self.listener.getHost().port)

    def wait(self, coroutine: Callable[[], Any]) -> Any:
        return self.running.call(lambda: Deferred.fromCoroutine(coroutine()))

    def put(self, **fields: Any) -> None:
        """Returns when the change is acknowledged, as the config API does."""
        value = {"uuid": INSTANCE, "tenant_id": TENANT, **fields}
        self.wait(lambda: self.store.put(KIND, INSTANCE, value, expected=None))

    def delete(self) -> None:
        self.wait(lambda: self.store.delete(KIND, INSTANCE))

    def close(self) -> None:
        self.running.call(self.listener.stopListening)
        self.running.call(self.instances.stop)
        self.wait(self.store.close)
        self.worker.stop()


@pytest.fixture
def cloud(start: Start, tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(start(cache_ttl=15.0), tmp_path)
    yield made
    made.close()


def ask(running: Running, request: bytes) -> bytes:
    with socket.create_connection(
        ("127.0.0.1", running.port), 10, source_address=("127.0.0.2", 0)
    ) as one:
        one.sendall(request)
        return read_all(one)


def test_a_request_after_a_change_never_gets_the_old_document(cloud: Cloud) -> None:
    """Guests ask all the time, so many requests are under way at each change; each must
    get at least what was acknowledged before it was sent.
    """
    cloud.put(user_data="0")
    acknowledged = [0]
    over = threading.Event()
    wrong: list[tuple[int, bytes]] = []
    answered: list[int] = []

    def guest() -> None:
        while not over.is_set():
            least = acknowledged[0]
            reply = ask(cloud.running, USER_DATA)
            body = reply.partition(b"\r\n\r\n")[2]
            if not body.isdigit() or int(body) < least:
                wrong.append((least, reply))
                return
            answered.append(int(body))

    guests = [threading.Thread(target=guest, daemon=True) for _ in range(ASKING)]
    for one in guests:
        one.start()
    for number in range(1, CHANGES):
        cloud.put(user_data=str(number))
        acknowledged[0] = number
        assert b"%d" % number == ask(cloud.running, USER_DATA).split()[-1]
    over.set()
    for one in guests:
        one.join(10)
    assert [] == wrong
    assert answered
    assert cloud.running.snapshot().coalesced, "none was under way with another"


def test_a_guest_waits_for_a_change(cloud: Cloud) -> None:
    """It is answered when its own instance is changed, with the new document; what the
    random seed of meta_data.json does is no change.
    """
    cloud.put(user_data="0", name="a")
    waits = b"?wait_for_change=true"
    paths = (b"/openstack/latest/user_data", b"/openstack/latest/meta_data.json")
    replies: dict[bytes, bytes] = {}

    def wait(path: bytes) -> None:
        replies[path] = ask(cloud.running, GET % (path + waits))

    guests = [threading.Thread(target=wait, args=(path,)) for path in paths]
    for one in guests:
        one.start()

    def waiting() -> int:
        return sum(isinstance(one, ChangeAwaited) for one in cloud.running.events)

    wait_for(lambda: 2 == waiting())
    cloud.put(user_data="1", name="a")
    guests[0].join(10)
    assert replies[paths[0]].endswith(b"\r\n\r\n1")
    assert [paths[0]] == list(replies)
    cloud.put(user_data="1", name="b")
    guests[1].join(10)
    assert b'"name": "b"' in replies[paths[1]]
    (etag,) = re.findall(rb'ETag: W/"([0-9a-f]+)"', replies[paths[1]])
    again = GET % (paths[1] + waits + b"&timeout_sec=0&last_etag=" + etag)
    assert b'ETag: W/"%b"' % etag in ask(cloud.running, again)


def test_who_closes_waits_no_more(cloud: Cloud) -> None:
    """Clients that give up leave no connection and no place behind; one that only
    half-closes is answered with what there is.
    """
    cloud.put(user_data="0")
    waits = GET % b"/openstack/latest/user_data?wait_for_change=true"

    def waiting() -> int:
        return sum(isinstance(one, ChangeAwaited) for one in cloud.running.events)

    clients = [cloud.running.connect() for _ in range(MAX_LONG_POLLS)]
    for one in clients:
        one.sendall(waits)
    wait_for(lambda: MAX_LONG_POLLS == waiting())
    for one in clients:
        one.close()
    wait_for(lambda: not cloud.running.snapshot().connections)
    half = cloud.running.connect()
    half.sendall(waits)
    wait_for(lambda: MAX_LONG_POLLS < waiting())
    half.shutdown(socket.SHUT_WR)
    assert read_all(half).endswith(b"\r\n\r\n0")


def test_a_password_from_the_guest_to_the_operator(cloud: Cloud) -> None:
    """Posted once, read by the operator, cleared, and the guest may post another."""
    cloud.put()
    path = b"/openstack/2013-04-04/password"
    wanted, passwords = GET % path, StoredPasswords(cloud.store)
    server = EmbeddedServer(
        VendorDataReport(StoredAnswers(cloud.store, print)),
        instances=AllInstances(cloud.instances, None),
        passwords=passwords,
        vendor_data=NoVendorData(),
        signer=signer_of(full_ring()),
        entropy=os.urandom,
    )

    def post(text: bytes) -> int:
        head = (GET % path).replace(b"GET", b"POST")[:-2]
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(text), text)
        return status_of(ask(cloud.running, request))

    for password in (b"c2VjcmV0", b"another"):
        assert ask(cloud.running, wanted).endswith(b"\r\n\r\n")
        assert 200 == post(password)
        assert 409 == post(b"second")
        assert ask(cloud.running, wanted).endswith(password)
        assert password.decode() == cloud.wait(lambda: server.password(INSTANCE))
        assert cloud.wait(lambda: server.clear_password(INSTANCE))


def test_what_was_deleted_is_gone_and_what_came_is_there(cloud: Cloud) -> None:
    """Neither a document nor its absence is remembered anywhere on the way."""

    def status() -> int:
        return status_of(ask(cloud.running, USER_DATA))

    assert 404 == status()
    for _ in range(3):
        cloud.put(user_data="secret")
        assert 200 == status()
        cloud.put()
        assert 404 == status()
        cloud.put(user_data="secret")
        assert 200 == status()
        cloud.delete()
        assert 404 == status()
