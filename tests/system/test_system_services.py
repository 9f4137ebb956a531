"""Other link-local services: offered, changed, deleted, each without the others."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest

from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for

pytestmark = pytest.mark.system

ECHO = """
import socket, sys, threading
def serve(guest):
    while data := guest.recv(100):
        guest.sendall(data.upper())
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("127.0.0.1", int(sys.argv[1])))
def answer():
    while True:
        data, guest = datagrams.recvfrom(100)
        datagrams.sendto(data.upper(), guest)
threading.Thread(target=answer, daemon=True).start()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def offer(site: Any, name: str, port: int, *where: str, oper: str = "add") -> None:
    """Provision `name` at 169.254.1.7:port, or take it away."""
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", name),
        *("--linklocal_service_ip", "169.254.1.7"),
        *("--linklocal_service_port", str(port), "--ipfabric_service_port", str(port)),
        *("--oper", oper, *where),
    )


def serve(site: Any, *ports: int) -> None:
    """Echo servers on the host's loopback address."""
    for port in ports:
        site.start_on_host([sys.executable, "-c", ECHO, str(port)])
    wait_for(
        lambda: site.lab.host.run("ss", "-ltun"),
        lambda shown: all(shown.count(f":{port} ") == 2 for port in ports),
    )


def connect(guest: Any, port: int) -> socket.socket:
    """A TCP connection from a guest."""
    made: socket.socket = inside(
        guest.machine.name,
        lambda: socket.create_connection(("169.254.1.7", port), 3 * PATIENCE),
    )
    return made


def echoed(connection: socket.socket, text: bytes) -> bytes:
    """What comes back."""
    connection.sendall(text)
    return connection.recv(100)


LOCAL = ("--ipfabric_service_ip", "127.0.0.1")
BY_NAME = ("--ipfabric_dns_service_name", "localhost")


@pytest.mark.parametrize("where", [LOCAL, BY_NAME], ids=["address", "name"])
def test_tcp_and_udp_to_a_service_of_this_host(site: Any, where: tuple[str]) -> None:
    """One entry serves both protocols; 127.0.0.1 and a name for it are this host.

    Contrail's LinkLocalReqTest resolves "localhost" the same way.
    """
    serve(site, 7777)
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    offer(site, "echo", 7777, *where)
    for guest in (alice, bob):
        stream = connect(guest, 7777)
        assert b"STREAM" == echoed(stream, b"stream")
        stream.close()
        datagram = inside(
            guest.machine.name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        )
        datagram.settimeout(3 * PATIENCE)
        datagram.connect(("169.254.1.7", 7777))
        assert b"DATAGRAM" == echoed(datagram, b"datagram")
        datagram.close()


def test_deleting_one_service_ends_its_flows_only(site: Any) -> None:
    """Within a second; the other service on the same address goes on."""
    serve(site, 7777, 7778)
    alice = site.alice()
    site.introduce(alice)
    offer(site, "doomed", 7777, *LOCAL)
    offer(site, "kept", 7778, *LOCAL)
    doomed, kept = connect(alice, 7777), connect(alice, 7778)
    assert b"A" == echoed(doomed, b"a")
    assert b"B" == echoed(kept, b"b")
    offer(site, "doomed", 7777, oper="delete")
    time.sleep(1 * PATIENCE)
    doomed.settimeout(1)
    with pytest.raises(OSError, match=r"timed out|reset|unreachable|Broken pipe"):
        echoed(doomed, b"again")
    assert b"AGAIN" == echoed(kept, b"again")
    with pytest.raises(ConnectionRefusedError):
        connect(alice, 7777)
    doomed.close()
    kept.close()
