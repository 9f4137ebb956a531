"""An upstream that is slow the first time it sees a guest. A process of its own.

It answers a guest it has not seen after `--cold` milliseconds, another after `--warm`,
with the guest's identity as the first line. Whoever does not prove the instance by its
signature gets 403. Waiting costs it no CPU, and it takes any number at once: what
is measured is what stands in front of it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import ssl
from pathlib import Path

from bench.clients.crowd import load
from vagent.config.model import Secret
from vagent.metadata.guest.identity_headers import signature

LOOPBACK = "127.0.0.1"
BACKLOG = 4096
FILLING = b"x" * 400 + b"\n"
"""Makes a body as long as a document of Nova's usually is."""
_FIELDS = {
    name: re.compile(rb"\r\n%b:[ \t]*([^\r]*)" % name.encode())
    for name in ("x-instance-id", "x-tenant-id", "x-instance-id-signature")
}
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"


class Nova:
    """What it knows: whom it answers what, and whom it has seen."""

    def __init__(self, expected: dict[bytes, bytes], cold: float, warm: float) -> None:
        self._expected = expected
        self._replies = {
            instance: _reply(b"%b %b\n" % (instance, rest) + FILLING)
            for instance, rest in expected.items()
        }
        self._seen: set[bytes] = set()
        self._cold, self._warm = cold, warm

    def answer(self, head: bytes) -> tuple[float, bytes]:
        """Seconds to wait, and what to say then."""
        instance, tenant, proof = (
            found[1] if (found := field.search(head)) else b""
            for field in _FIELDS.values()
        )
        if self._expected.get(instance) != tenant + b" " + proof:
            return 0.0, _FORBIDDEN
        wait = self._warm if instance in self._seen else self._cold
        self._seen.add(instance)
        return wait, self._replies[instance]


class Connection(asyncio.Protocol):
    """From whoever asks for guests. Requests have no bodies here."""

    def __init__(self, nova: Nova, loop: asyncio.AbstractEventLoop) -> None:
        self._nova = nova
        self._loop = loop
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            lowered = head.lower()
            wait, reply = self._nova.answer(lowered)
            close = b"\r\nconnection: close" in lowered
            self._loop.call_later(wait, self._say, reply, close)

    def _say(self, reply: bytes, close: bool) -> None:
        self._transport.write(reply)
        if close:
            self._transport.close()


def _reply(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _serve(options: argparse.Namespace) -> None:
    secret = Secret(options.secret.encode())
    nova = Nova(
        {
            one.instance_id.encode(): (
                f"{one.tenant_id} {signature(secret, one.instance_id)}".encode()
            )
            for one in load(options.crowd)
        },
        options.cold / 1e3,
        options.warm / 1e3,
    )
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(nova, loop),
        LOOPBACK,
        options.port,
        ssl=_tls(*options.tls) if options.tls else None,
        backlog=BACKLOG,
    )
    await server.serve_forever()


def _tls(cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert, key)
    return context


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--crowd", type=Path, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--cold", type=float, required=True, help="milliseconds")
    parser.add_argument("--warm", type=float, required=True, help="milliseconds")
    parser.add_argument("--tls", type=Path, nargs=3, metavar=("CERT", "KEY", "CA"))
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
