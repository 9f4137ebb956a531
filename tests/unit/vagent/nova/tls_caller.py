"""A client of the metadata server over TLS, in memory: pyOpenSSL, which shares nothing
with the server but OpenSSL itself. No socket, no real time.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from lab.pki import Authority, KeyPair
from tests.unit.vagent.metadata.proxy_rig import FakeTransport
from vagent.config.model import MetadataServerConfig, Secret
from vagent.metadata.http.date import HttpDate
from vagent.nova.authority import Authority as Signatures
from vagent.nova.server import metadata_site
from vagent.nova.tls import TlsFactory
from vagent.nova.tls_files import ServerContexts, server_contexts
from vagent.observe.event import Event

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Pki:
    """A server's files, and a client of the same CA."""

    ca: Authority
    config: MetadataServerConfig
    client: KeyPair

    @classmethod
    def made_in(cls, folder: Path) -> Pki:
        ca = Authority(folder)
        server = ca.server("server", "nova.example")
        config = MetadataServerConfig(
            server_cert=server.cert, server_key=server.key, client_ca=ca.cert
        )
        return cls(ca, config, ca.client("client"))

    def contexts(self, events: list[Event]) -> ServerContexts:
        contexts = server_contexts(self.config, events.append)
        assert contexts is not None
        return contexts


class Nobody:
    """Knows no instances and no passwords."""

    async def get(self, instance_id: str) -> Any:
        return None

    async def set(self, instance_id: str, password: str) -> None:
        """Forget it."""


def site(clock: Clock) -> Factory[Any]:
    """The real one."""
    return metadata_site(
        Nobody(),
        Nobody(),
        Signatures(Secret(b"")),
        entropy=bytes,
        emit=lambda _event: None,
        reactor=clock,
        date=HttpDate(float, clock.seconds),
    )


class Caller:
    """One connection to `served`; `pump` carries bytes until both sides are silent."""

    def __init__(
        self,
        contexts: ServerContexts,
        ca: Path,
        pair: KeyPair | None,
        *,
        version: int = SSL.TLS1_3_VERSION,
        served: IProtocolFactory | None = None,
        greet: bool = True,
    ) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        context.set_min_proto_version(version)
        context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
        context.set_alpn_protos([b"h2", b"http/1.1"])
        context.load_verify_locations(str(ca))
        context.set_verify(SSL.VERIFY_PEER)
        if pair is not None:
            context.use_certificate_file(str(pair.cert))
            context.use_privatekey_file(str(pair.key))
        self.tls = SSL.Connection(context)
        self.tls.set_connect_state()
        self.transport = FakeTransport()
        factory = TlsFactory(
            contexts,
            served or site(self.clock),
            emit=self.events.append,
            clock=self.clock,
        )
        server = factory.buildProtocol(None)
        assert server is not None
        self.server: Any = server
        server.makeConnection(self.transport)
        self.reply = b""
        self.ended = ""
        if greet:
            self.pump()

    def say(self, data: bytes) -> None:
        """Send, if the handshake went well."""
        while data and not self.ended:
            data = data[self.tls.send(data) :]
        self.pump()

    def pump(self) -> None:
        for _ in range(8):
            self._try(self.tls.do_handshake)
            with suppress(SSL.WantReadError):
                while True:
                    self.server.dataReceived(self.tls.bio_read(65536))
            sent = self.transport.take()
            if sent:
                self.tls.bio_write(sent)
            while not self.ended and self._try(self._receive):
                pass

    def lose(self) -> None:
        self.server.connectionLost(Failure(ConnectionDone()))

    def _receive(self) -> None:
        self.reply += self.tls.recv(65536)

    def _try(self, step: Any) -> bool:
        try:
            step()
        except SSL.WantReadError:
            return False
        except SSL.ZeroReturnError:
            self.ended = "close_notify"
            return False
        except SSL.Error as error:
            self.ended = self.ended or str(error)
            return False
        return True
