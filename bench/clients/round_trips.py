"""One byte there and one back, over one flow, as often as it goes; a process.

With `--serve` it is the other end: it answers at a TCP and a UDP port of the same
number. Otherwise it prints one line of JSON: round trips, seconds, times in µs.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
from time import perf_counter

from bench.report.figures import percentile

ANSWER_DEADLINE = 5.0
BYTE = b"x"


def serve(port: int) -> None:
    """Answer one client at a time, until SIGTERM."""
    listener = socket.create_server(("", port))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", port))
    while True:
        ready, _, _ = select.select([listener, datagrams], [], [])
        if listener in ready:
            client = listener.accept()[0]
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client:
                while said := client.recv(1):
                    client.send(said)
        else:
            said, whom = datagrams.recvfrom(1)
            datagrams.sendto(said, whom)


def ask(where: tuple[str, int], kind: socket.SocketKind, seconds: float) -> list[float]:
    """Seconds of each round trip. Raises OSError if one gets no answer."""
    times: list[float] = []
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(ANSWER_DEADLINE)
        client.connect(where)
        if kind is socket.SOCK_STREAM:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.send(BYTE)
        client.recv(1)  # the flow is there
        began = perf_counter()
        now = began
        while now < began + seconds:
            client.send(BYTE)
            client.recv(1)
            past, now = now, perf_counter()
            times.append(now - past)
    return times


def main() -> None:
    """Serve, or ask and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--address", default="")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    if options.serve:
        serve(options.port)
    kind = socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM
    times = ask((options.address, options.port), kind, options.seconds)
    print(
        json.dumps(
            {
                "trips": len(times),
                "seconds": sum(times),
                "p50_us": percentile(times, 50) * 1e6,
                "p99_us": percentile(times, 99) * 1e6,
            }
        )
    )


if __name__ == "__main__":
    main()
