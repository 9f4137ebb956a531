"""Datagrams at a steady rate over one flow, and what became of them; a process.

It says "going" when the first came back, goes on until its standard input ends, and
prints one line of JSON: datagrams sent and lost, the longest time without an answer in
ms. The other end is `bench.clients.steady --serve`, which sends back whatever comes.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
from time import perf_counter

INTERVAL = 0.0005
"""Seconds between two datagrams: less than what replacing the rules takes."""
GRACE = 0.5
"""Seconds in which what is under way at the end may still arrive."""
TRIES = 5
ANSWER_DEADLINE = 1.0
"""Seconds in which the first datagram of a try must come back."""
BUFFER = 4 * 1024 * 1024
"""Bytes that a socket holds while its process waits for a CPU, with 1,000 ports being
replaced beside it; without CAP_NET_ADMIN the kernel allows less."""
_SO_RCVBUFFORCE = 33
_NUMBER = struct.Struct("!I")


def serve(where: tuple[str, int]) -> None:
    """Send everything back, until SIGTERM."""
    server = _socket()
    server.bind(where)
    while True:
        server.sendto(*server.recvfrom(_NUMBER.size))


def send(where: tuple[str, int]) -> dict[str, float]:
    """Send and listen until standard input ends. Raises OSError if nobody answers."""
    with _socket() as client:
        client.settimeout(ANSWER_DEADLINE)
        client.connect(where)
        for left in reversed(range(TRIES)):
            client.send(_NUMBER.pack(0))
            try:
                client.recv(_NUMBER.size)
                break
            except TimeoutError:
                if not left:
                    raise
        print("going", flush=True)
        return _go_on(client)


def _go_on(client: socket.socket) -> dict[str, float]:
    sent, longest = 1, 0.0
    answered = {0}
    last = due = perf_counter()
    end = None
    while end is None or (perf_counter() < end and len(answered) < sent):
        left = max(0.0, due - perf_counter())
        inputs = [client, sys.stdin] if end is None else [client]
        ready, _, _ = select.select(inputs, [], [], left)
        now = perf_counter()
        if client in ready:
            answered.add(_NUMBER.unpack(client.recv(_NUMBER.size))[0])
            longest, last = max(longest, now - last), now
        if sys.stdin in ready:
            end = now + GRACE
        if now < due:
            continue
        due = now + INTERVAL
        if end is None:
            client.send(_NUMBER.pack(sent))
            sent += 1
    return {"sent": sent, "lost": sent - len(answered), "longest_gap_ms": longest * 1e3}


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    return made


def main() -> None:
    """Serve, or send and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    where = (options.address, options.port)
    if options.serve:
        serve(where)
    print(json.dumps(send(where)))


if __name__ == "__main__":
    main()
