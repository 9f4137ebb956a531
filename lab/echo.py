"""Echoes in capitals after its own name, over TCP and UDP; b"quiet" gets no answer.

`python -m lab.echo NAME ADDRESS PORT [tcp] [udp]`. Without an address (""), at all of
both families, where there are two.
"""

from __future__ import annotations

import socket
import sys
import threading

_SIZE = 1000
_LONGEST = 65_535
"""Bytes of a datagram."""


def main(name: str, address: str, port: int, protocols: list[str]) -> None:
    """Serve until killed."""
    threads = [
        threading.Thread(target=serve, args=(f"{name} ".encode(), address, port))
        for protocol, serve in (("tcp", _streams), ("udp", _datagrams))
        if protocol in protocols
    ]
    for thread in threads:
        thread.start()


def _bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    if ":" in address or (not address and socket.has_dualstack_ipv6()):
        made = socket.socket(socket.AF_INET6, kind)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address or "::", port))
        return made
    made = socket.socket(socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    return made


def _streams(name: bytes, address: str, port: int) -> None:
    listener = _bound(socket.SOCK_STREAM, address, port)
    listener.listen(1024)
    while True:
        guest, _ = listener.accept()
        threading.Thread(target=_answer, args=(name, guest), daemon=True).start()


def _answer(name: bytes, guest: socket.socket) -> None:
    with guest:
        try:
            while data := guest.recv(_SIZE):
                guest.sendall(name + data.upper())
        except OSError:
            return


def _datagrams(name: bytes, address: str, port: int) -> None:
    server = _bound(socket.SOCK_DGRAM, address, port)
    while True:
        data, guest = server.recvfrom(_LONGEST)
        if data != b"quiet":
            server.sendto(name + data.upper(), guest)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
