"""Makes a port of the demo's host reachable from the real machine's loopback address.

Takes no privilege beyond the demo's own: it accepts out here and connects in there.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading

from lab.namespaces import inside

INSIDE = ("127.0.0.1", 8085)
MAX_RELAYED = 32
"""Connections at a time: a browser opens six."""
IDLE = 120.0
"""Seconds without a byte after which a connection is given up."""


def serve(listener: socket.socket, namespace: str) -> None:
    """Relay until the process ends."""
    free = threading.BoundedSemaphore(MAX_RELAYED)
    while True:
        outer, _ = listener.accept()
        if not free.acquire(blocking=False):
            outer.close()
            continue
        threading.Thread(
            target=_relay, args=(outer, namespace, free), daemon=True
        ).start()


def _relay(
    outer: socket.socket, namespace: str, free: threading.BoundedSemaphore
) -> None:
    with (
        contextlib.suppress(OSError),
        outer,
        inside(namespace, lambda: socket.create_connection(INSIDE, 5)) as inner,
    ):
        _copy_both(outer, inner)
    free.release()


def _copy_both(one: socket.socket, other: socket.socket) -> None:
    to = {one: other, other: one}
    while True:
        readable, _, _ = select.select([one, other], [], [], IDLE)
        if not readable:
            return
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            to[source].sendall(data)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
