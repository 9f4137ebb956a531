"""An upstream of which every fourth answer takes its time. A process of its own."""

from __future__ import annotations

import argparse
import asyncio
from itertools import count

BODY = b"an answer\n"
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\n" + BODY
)
EVERY = 4
"""One of so many requests is slow."""


async def serve(port: int, seconds: float) -> None:
    """Answer at this port of loopback, for ever."""
    numbers = count(1)

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                if next(numbers) % EVERY == 0:
                    await asyncio.sleep(seconds)
                writer.write(REPLY)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Serve until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a slow answer")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.seconds))


if __name__ == "__main__":
    main()
