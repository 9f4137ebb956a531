"""Session tokens on real packets: the hop limit, the restart, the neighbour."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lab.agent import configuration, port_add
from lab.guests import Wiring
from lab.namespaces import PATIENCE, Machine, run

pytestmark = pytest.mark.system

SESSION = """
import http.client, json, socket, sys
patience = float(sys.argv[1])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
wire.settimeout(patience)

def ttl_of(reply):
    while True:
        frame = wire.recv(65536)
        if reply in frame and frame[26:30] == socket.inet_aton("169.254.169.254"):
            return frame[22]

connection = http.client.HTTPConnection("169.254.169.254", timeout=patience)
asked = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
connection.request("PUT", "/latest/api/token", headers=asked)
reply = connection.getresponse()
token = reply.read()
hops = [ttl_of(token)]
shown = {"X-aws-ec2-metadata-token": token.decode()}
connection.request("GET", "/latest/user-data", headers=shown)
text = connection.getresponse().read()
hops.append(ttl_of(text))
print(json.dumps({"token": token.decode(), "text": text.decode(), "hops": hops}))
"""


def session(guest: Any) -> Any:
    """A token and a document on one connection, and with which TTL they came."""
    return json.loads(
        guest.machine.run(sys.executable, "-c", SESSION, str(5 * PATIENCE))
    )


def demanding(site: Any, more: str = "", *, mode: str = "required") -> None:
    """Start the agent with tokens for all ports, required unless said otherwise."""
    elements = f"<session-tokens>{mode}</session-tokens>{more}"
    site.agent.config = configuration(site.folder).replace(
        "</metadata-proxy>", elements + "</metadata-proxy>"
    )
    site.agent.start()


def status(ask: Any, guest: Any, *headers: str) -> str:
    """What the guest's request for its user data is answered with."""
    options = [option for header in headers for option in ("-H", header)]
    code: str = ask(
        guest, "/latest/user-data", *options, "-o", "/dev/null", "-w", "%{http_code}"
    )
    return code


def test_a_token_gets_to_every_kind_of_guest_and_no_further(
    idle_site: Any, ask: Any
) -> None:
    """With TTL 1 it arrives at bridged, on-link and routed guests: nothing on the way
    takes a hop. What follows on that connection gets no further either.
    """
    site = idle_site
    demanding(site)
    guests = [site.alice(), site.bob(), site.carol()]
    site.introduce(*guests)
    site.provision()
    for guest in guests:
        told = session(guest)
        assert f"I am {guest.name}\n" == told["text"]
        assert [1, 1] == told["hops"], guest.name
    assert "401" == status(ask, guests[0])


def test_a_token_outlives_the_agent_and_serves_nobody_else(
    idle_site: Any, ask: Any
) -> None:
    """Killed and started again, the agent takes it from its guest, and from no other;
    nothing that the agent writes has a token in it.
    """
    site = idle_site
    demanding(site, "<hop-limit>2</hop-limit>")
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    site.provision()
    told = session(alice)
    assert 2 == told["hops"][0]
    keys = site.folder / "state" / "session-keys"
    assert 0o600 == keys.stat().st_mode & 0o777
    site.agent.stop(signal.SIGKILL)
    site.agent.start()
    header = f"X-aws-ec2-metadata-token: {told['token']}"
    assert "200" == status(ask, alice, header)
    assert "401" == status(ask, bob, header)
    trace = site.agent.tool("vagent.ctl", "trace", "Metadata")
    assert "foreign-token" in trace
    assert told["token"] not in trace + site.agent.log.read_text()


def test_each_port_has_its_mode_and_keeps_it(idle_site: Any, ask: Any) -> None:
    """With tokens off for all: required for one port, audit for another, off for the
    third; so it stays when an orchestrator registers the port again, and over a kill.
    """
    site = idle_site
    demanding(site, mode="off")
    guests = [site.alice(), site.bob(), site.carol()]
    alice, bob, _ = guests
    site.introduce(*guests)
    site.provision()
    old = session_of_open(alice)
    assert "200" == status(ask, alice)
    site.agent.tool(*port_add(alice), "--session-tokens", "required")
    site.agent.tool(*port_add(bob), "--session-tokens", "audit")
    listed = json.loads(site.agent.tool("vagent.ctl", "-o", "json", "port", "list"))
    modes = {one["display-name"]: one.get("session-tokens") for one in listed}
    assert {"alice": "required", "bob": "audit", "carol": None} == modes
    assert "404" == old, "off: a PUT for a token is the upstream's business"
    for _ in range(2):
        assert ["401", "200", "200"] == [status(ask, guest) for guest in guests]
        told = session(alice)
        header = f"X-aws-ec2-metadata-token: {told['token']}"
        site.agent.register(alice)
        assert ("200", "401") == (status(ask, alice, header), status(ask, alice))
        trace = site.agent.tool("vagent.ctl", "trace", "Metadata")
        assert 1 == trace.count("Audit : no-token URL : latest/user-data")
        site.agent.stop(signal.SIGKILL)
        site.agent.start()
        assert "200" == status(ask, alice, header)
    site.agent.tool(*port_add(alice), "--session-tokens", "default")
    assert "200" == status(ask, alice)


def session_of_open(guest: Any) -> str:
    """What a request for a token is answered with."""
    code: str = guest.machine.run(
        *("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT"),
        *("-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"),
        "http://169.254.169.254/latest/api/token",
    )
    return code


@pytest.fixture
def behind() -> Iterator[Callable[[Any], Machine]]:
    """`behind(guest)`: a container that the guest routes and translates for."""
    made: list[Machine] = []

    def begin(guest: Any) -> Machine:
        inner = Machine.create(f"{guest.machine.name}-in")
        made.append(inner)
        run(
            *("ip", "link", "add", "inner0", "netns", guest.machine.name),
            *("type", "veth", "peer", "name", "eth0", "netns", inner.name),
        )
        guest.machine.run("ip", "link", "set", "inner0", "up")
        inner.run("ip", "link", "set", "eth0", "up")
        for machine, device, last in ((guest.machine, "inner0", 1), (inner, "eth0", 2)):
            for address in (f"172.31.0.{last}/24", f"fd31::{last}/64"):
                nodad = ("nodad",) if ":" in address else ()
                machine.run("ip", "address", "add", address, "dev", device, *nodad)
        inner.run("ip", "route", "add", "default", "via", "172.31.0.1")
        inner.run("ip", "route", "add", "default", "via", "fd31::1")
        for switch in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            guest.machine.run("sysctl", "-qw", f"{switch}=1")
        guest.machine.run("nft", "-f", "-", text=MASQUERADE)
        return inner

    yield begin
    for machine in made:
        machine.destroy()


MASQUERADE = """
table inet docker {
  chain postrouting {
    type nat hook postrouting priority 100
    oifname eth0 masquerade
  }
}
"""


def token_of(machine: Machine, address: str = "169.254.169.254") -> tuple[int, str]:
    """curl's exit code and, if there was an answer, its status and body in a line."""
    said = machine.run(
        *("sh", "-c", 'curl -s -g -m 4 -w " %{http_code}" -X PUT "$@"; echo " $?"'),
        *("sh", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"),
        f"http://{address}/latest/api/token",
    )
    text, _, code = " ".join(said.split()).rpartition(" ")
    return int(code), text


PIPELINED = """
import socket, sys
with socket.create_connection(("169.254.169.254", 80), 5) as connection:
    connection.sendall(
        b"PUT /latest/api/token HTTP/1.1\\r\\nHost: a\\r\\n"
        b"X-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n"
        b"GET /latest/ HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
    )
    connection.settimeout(5)
    try:
        print(connection.recv(4096)[:40])
    except TimeoutError:
        print("nothing")
"""
"""The second request is behind the first while the token is on its way: TCP sends that
again twice within the five seconds."""

TIMED_OUT = 28
"""curl's exit code."""


@pytest.mark.kernel
def test_a_client_beyond_the_hop_limit_hears_nothing_or_why(
    idle_site: Any, ask: Any, behind: Any
) -> None:
    """A container behind the guest: without the switch its PUT gets no answer, with it
    403 and the reason, over IPv4 and IPv6. The guest itself gets a token in any case.
    """
    site = idle_site
    demanding(site)
    alice = site.lab.guest(
        "alice",
        Wiring.BRIDGED,
        address="10.0.0.5/24",
        gateway="10.0.0.1",
        bridge="blue",
        address6="2001:db8::5/64",
    )
    site.introduce(alice)
    site.provision()
    inner = behind(alice)
    assert "401" == status(ask, SimpleNamespace(machine=inner))
    assert TIMED_OUT == token_of(inner)[0]
    assert "nothing" == inner.run(sys.executable, "-c", PIPELINED).strip()
    site.agent.stop()
    demanding(site, "<refuse-beyond-hop-limit>true</refuse-beyond-hop-limit>")
    for address in ("169.254.169.254", "[fd00:ec2::254]"):
        code, text = token_of(inner, address)
        assert (0, True) == (code, text.startswith("This request came through a "))
        assert text.endswith(" 403")
        assert " 200" == token_of(alice.machine, address)[1][-4:]
    assert "403" == status(ask, SimpleNamespace(machine=inner))
    assert f"I am {alice.name}\n" == session(alice)["text"]
    trace = site.agent.tool("vagent.ctl", "trace", "Metadata")
    assert 3 == trace.count("Error: 403 too-far; Request for VM : ")
