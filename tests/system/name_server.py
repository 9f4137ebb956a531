"""A name server that knows one name. `python -m tests.system.name_server FILE`.

The file has an address in each line; without the file it fails (SERVFAIL), as a name
server does that cannot reach others. Every answer holds for one second.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

TTL = 1
A, AAAA = 1, 28
QUESTION = 12
"""Where the question begins: behind the header (RFC 1035 4.1.1)."""


def main(addresses: Path) -> None:
    """Answer on UDP port 53 of the loopback address until killed."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(512)
        server.sendto(answer(query, addresses), client)


def answer(query: bytes, addresses: Path) -> bytes:
    """All addresses of the kind that was asked for."""
    end = query.index(b"\0", QUESTION) + 5
    question = query[QUESTION:end]
    (kind,) = struct.unpack("!H", question[-4:-2])
    try:
        lines = addresses.read_text().split()
    except FileNotFoundError:
        return query[:2] + struct.pack("!5H", 0x8182, 1, 0, 0, 0) + question
    family = {A: socket.AF_INET, AAAA: socket.AF_INET6}.get(kind)
    found = [
        socket.inet_pton(family, line)
        for line in lines
        if family is not None and (":" in line) == (kind == AAAA)
    ]
    records = b"".join(
        struct.pack("!HHHIH", 0xC000 | QUESTION, kind, 1, TTL, len(address)) + address
        for address in found
    )
    head = query[:2] + struct.pack("!5H", 0x8180, 1, len(found), 0, 0)
    return head + question + records


if __name__ == "__main__":
    main(Path(sys.argv[1]))
