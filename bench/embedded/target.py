"""A vendor data target that takes its time, and counts; a process of its own.

A second port tells anybody who connects how often it was called.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl

ANSWER = b'{"ipaotp": "0123456789abcdef"}'


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, required=True, help="milliseconds")
    parser.add_argument("--counter", type=int, required=True, metavar="PORT")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    options = parser.parse_args()
    calls = 0

    async def served(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal calls
        await reader.readuntil(b"\r\n\r\n")
        calls += 1
        await asyncio.sleep(options.delay / 1e3)
        await _answer(writer, ANSWER)

    async def counted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(writer, str(calls).encode())

    context = None
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.tls)
    server = await asyncio.start_server(
        served, "127.0.0.1", options.port, backlog=1024, ssl=context
    )
    await asyncio.start_server(counted, "127.0.0.1", options.counter)
    await server.serve_forever()


async def _answer(writer: asyncio.StreamWriter, content: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    writer.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content))
    await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(main())
