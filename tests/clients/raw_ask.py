"""Runs on the lab's host: sends requests byte for byte to a server behind mutual TLS.

`raw_ask.py PORT PKI FILE`: FILE holds a JSON list of requests in base64, each of which
gets a connection of its own; prints a list of the replies in base64, "" for none.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

PORT, PKI, FILE = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
AT_A_TIME = 4
TIMEOUT = 20.0

context = ssl.create_default_context(cafile=str(PKI / "ca.crt"))
context.load_cert_chain(PKI / "agent.crt", PKI / "agent.key")


def ask(request: str) -> str:
    """Everything that the server says before it closes."""
    said = b""
    with (
        socket.create_connection(("127.0.0.1", PORT), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        suppress(OSError),
    ):
        connection.sendall(base64.b64decode(request))
        while data := connection.recv(65536):
            said += data
    return base64.b64encode(said).decode()


with ThreadPoolExecutor(AT_A_TIME) as pool:
    print(json.dumps(list(pool.map(ask, json.loads(FILE.read_text())))))
