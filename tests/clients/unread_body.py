"""Runs in a guest: asks for what is not there, and reads no body. Prints JSON."""

from __future__ import annotations

import json
import socket
import time

PATH = "/latest/meta-data/iam/security-credentials/"


def ask(after: str) -> int:
    """The status; then close at once, reset, say that no more comes, or ask again."""
    with socket.create_connection(("169.254.169.254", 80), timeout=10) as connection:
        request = f"GET {PATH} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".encode()
        connection.sendall(request)
        status = int(connection.recv(12).split()[1])
        if after == "half-close":
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        if after == "again":
            connection.sendall(request)
            text = b""
            while text.count(b"HTTP/1.1 404") < 1:
                text += connection.recv(65536)
        if after == "reset":
            linger = b"\1\0\0\0\0\0\0\0"
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    return status


def left_open(count: int) -> list[int]:
    """The status of as many requests, on connections that nobody reads to the end."""
    kept, found = [], []
    for _ in range(count):
        connection = socket.create_connection(("169.254.169.254", 80), timeout=20)
        kept.append(connection)
        connection.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".encode()
        )
        found.append(int(connection.recv(12).split()[1]))
    for connection in kept:
        while connection.recv(65536):
            pass
    return found


began = time.monotonic()
found = [ask(after) for after in ("close", "reset", "half-close", "again")]
seconds = time.monotonic() - began
found += left_open(60)
found += left_open(60)
print(json.dumps({"status": found, "seconds": seconds}))
