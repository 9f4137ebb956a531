"""The config API over HTTP, in memory."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provision.config_api.events import ApiAnswered, ApiFailed
from provision.config_api.reply import MAX_BODY, NO_AGENT
from provision.config_api.server import config_api_site, is_logged
from tests.gates import open_gate
from vagent.linklocal.codec import FQ_NAME, KIND
from vagent.linklocal.table import EMPTY
from vagent.observe.event import Event
from vagent.store.memory import MemoryStore
from vagent.store.store import StoreEntry
from vagent.web.exchange import SiteRequest

ID = "a0000000-0000-4000-8000-000000000001"


class SlowStore(MemoryStore):
    """Reads wait until `turn` fires."""

    turn: Deferred[None] | None = None

    async def get(self, kind: str, entry_id: str) -> StoreEntry | None:
        if self.turn is not None:
            await self.turn
        return await super().get(kind, entry_id)


class Transport(StringTransport):
    """Remembers that it was told to close, as a socket does."""

    def abortConnection(self) -> None:
        """The channel's last resort."""
        self.disconnecting = True


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.store = SlowStore()
        self.site = config_api_site(
            self.store,
            names=("api.example",),
            gate=open_gate(),
            emit=self.events.append,
            clock=self.clock,
            services=lambda: EMPTY,
            new_uuid=lambda: UUID(ID),
        )
        self.site.doStart()
        self.addCleanup(self.site.doStop)
        self.transport = Transport()
        self.channel = self.site.buildProtocol(self.transport.getPeer())
        self.channel.makeConnection(self.transport)
        self.addCleanup(self.hang_up)

    def hang_up(self) -> None:
        """The network tells of the end of the connection, once."""
        if self.channel is not None:
            self.channel.connectionLost(Failure(ConnectionDone()))
            self.channel = None

    def send(self, data: bytes) -> bytes:
        self.transport.clear()
        self.channel.dataReceived(data)
        return bytes(self.transport.value())

    def call(
        self, line: bytes, *headers: bytes, body: bytes = b""
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        head = [line + b" HTTP/1.1", b"Host: 127.0.0.1:8082", *headers]
        head.append(b"Content-Length: %d" % len(body))
        return self.parse(self.send(b"\r\n".join(head) + b"\r\n\r\n" + body))

    def parse(self, answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        found = dict(line.lower().split(b": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), found, body

    def create(self) -> tuple[int, dict[bytes, bytes], bytes]:
        body = json.dumps({KIND: {"fq_name": list(FQ_NAME)}}).encode()
        return self.call(f"POST /{KIND}s".encode(), body=body)

    def test_homepage(self) -> None:
        """Hrefs start with the address by which the client calls."""
        status, headers, body = self.call(b"GET /")
        assert (status, json.loads(body)["href"]) == (200, "http://127.0.0.1:8082")
        assert headers[b"content-type"] == b"application/json; charset=utf-8"
        answer = self.send(b"GET / HTTP/1.1\r\nHost: api.EXAMPLE\r\n\r\n")
        assert json.loads(self.parse(answer)[2])["href"] == "http://api.EXAMPLE"

    def test_no_host(self) -> None:
        """HTTP/1.0 without Host gets hrefs of the listening address."""
        _, _, body = self.parse(self.send(b"GET / HTTP/1.0\r\n\r\n"))
        assert json.loads(body)["href"].startswith("http://10.0.0.1:")

    def test_etag(self) -> None:
        """The revision is the ETag, and If-Match is understood."""
        _, headers, _ = self.create()
        assert headers[b"etag"] == b'"1"'
        line, body = f"PUT /{KIND}/{ID}?x=y".encode(), b'{"%s": {}}' % KIND.encode()
        assert self.call(line, b'If-Match: "1"', body=body)[0] == 200
        assert self.call(line, b'If-Match: "1"', body=body)[0] == 412

    def test_a_change_says_whether_it_is_in_force(self) -> None:
        """In a header, which clients of Contrail's do not look at; reads have none."""
        _, headers, _ = self.create()
        assert headers[b"vagent-in-force"] == NO_AGENT.encode()
        assert b"vagent-in-force" not in self.call(b"GET /")[1]

    def test_vnc_headers(self) -> None:
        """vnc_api's odd content type is no obstacle, on GET either."""
        odd = b'Content-type: application/json; charset="UTF-8"'
        assert self.call(b"GET /?a=b", odd)[0] == 200

    def test_no_page_of_another_site_reads_a_reply(self) -> None:
        """No header lets a browser show a reply to a page of another site."""
        status, headers, _ = self.call(b"GET /")
        assert b"access-control-allow-origin" not in headers
        assert 200 == status

    def test_errors_are_text(self) -> None:
        """Errors are plain text that no browser takes for a page."""
        status, headers, body = self.call(b"GET /<script>")
        assert (status, headers[b"content-type"]) == (404, b"text/plain; charset=utf-8")
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert body == b"Not found: '/<script>'"

    def test_allow(self) -> None:
        """405 names the methods that are allowed."""
        status, headers, _ = self.call(b"PATCH /")
        assert (status, headers[b"allow"]) == (405, b"get")

    def test_head(self) -> None:
        """HEAD has the head of GET and no body."""
        status, headers, body = self.call(b"HEAD /")
        assert (status, body) == (200, b"")
        assert int(headers[b"content-length"]) > 0

    def test_largest_body(self) -> None:
        """A body of exactly 1 MiB is read."""
        body = b'{"x":"%s"}' % (b"x" * (MAX_BODY - 8))
        assert len(body) == MAX_BODY
        assert self.call(b"POST /fqname-to-id", body=body)[0] == 404

    def test_client_gone(self) -> None:
        """A client that goes away stops no change and makes no noise."""
        self.create()
        self.store.turn = Deferred()
        line = f"PUT /{KIND}/{ID}".encode()
        assert (
            self.send(
                line
                + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % 50
                + b'{"global-vrouter-config": {"flow_export_rate": 5}}'
            )
            == b""
        )
        self.hang_up()
        self.store.turn.callback(None)
        self.store.turn = None
        stored: list[Any] = []
        Deferred.fromCoroutine(self.store.entries(KIND)).addCallback(stored.append)
        assert stored[0][0].value["flow_export_rate"] == 5

    def test_fault(self) -> None:
        """A fault of ours is 500 without a word of its traceback, logged once."""

        async def explode(kind: str, entry_id: str) -> None:
            raise KeyError("inner secret")

        self.store.get = explode  # type: ignore[method-assign] # a bug
        status, _, body = self.call(f"GET /{KIND}s".encode())
        assert (status, body) == (500, b"Internal Server Error")
        assert ApiFailed("KeyError") in self.events
        assert len(self.flushLoggedErrors(KeyError)) == 1

    def test_events(self) -> None:
        """Every answer is one event, refusals included."""
        self.call(b"GET /")
        self.call(b"GET /x", b"Origin: null")
        assert self.events == [
            ApiAnswered("GET", "/", 200),
            ApiAnswered("GET", "/x", 403),
        ]


@pytest.mark.parametrize(
    ("method", "path", "logged"),
    [
        ("GET", "/vagent/instance/u/password", True),
        ("DELETE", "/vagent/instance/u/password", True),
        ("GET", "/vagent/instance/u", True),
        ("GET", "/vagent/services", False),
        ("POST", "/fqname-to-id", False),
    ],
)
def test_who_reads_secrets_is_logged(method: str, path: str, *, logged: bool) -> None:
    """With what changes something; a password is as secret as user data."""
    assert logged is is_logged(SiteRequest(method, path))
