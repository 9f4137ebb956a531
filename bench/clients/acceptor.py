"""A listener that takes connections and does nothing else. A process of its own."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

BACKLOG = 4096


def main() -> None:
    """Listen on the loopback port given as the only argument."""
    with socket.create_server(
        ("127.0.0.1", int(sys.argv[1])), backlog=BACKLOG
    ) as listener:
        while True:
            # A client that reset its connection at once is no reason to stop.
            with suppress(ConnectionError):
                listener.accept()[0].close()


if __name__ == "__main__":
    main()
