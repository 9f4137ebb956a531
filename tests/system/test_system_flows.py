"""The flow table is the kernel's: whose flow it is, where it goes, how it stands."""

from __future__ import annotations

import json
import signal
import socket
import sys
from typing import Any

import pytest
from lxml import etree

from lab.namespaces import PATIENCE, inside
from lab.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.kernel]

ECHO = ("169.254.1.7", 7)
ECHO_SERVER = """
import socket, threading
def tcp():
    listener = socket.create_server(("127.0.0.1", 7777))
    while True:
        guest, _ = listener.accept()
        threading.Thread(target=answer, args=(guest,)).start()
def answer(guest):
    while data := guest.recv(100):
        guest.sendall(data.upper())
threading.Thread(target=tcp).start()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 7777))
while True:
    data, guest = server.recvfrom(100)
    if data != b"quiet":
        server.sendto(data.upper(), guest)
"""
PAGES = "http://127.0.0.1:8085"


def listed(site: Any, *options: str) -> list[dict[str, Any]]:
    """`vagentctl flow list` as JSON."""
    text = site.agent.tool("vagent.ctl", "-o", "json", "flow", "list", *options)
    flows: list[dict[str, Any]] = json.loads(text)
    return flows


def connect(guest: Any, where: tuple[str, int]) -> socket.socket:
    return inside(
        guest.machine.name, lambda: socket.create_connection(where, 5 * PATIENCE)
    )


def datagrams(guest: Any) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(5 * PATIENCE)
        made.connect(ECHO)
        return made

    return inside(guest.machine.name, make)


def fetch(connection: socket.socket) -> None:
    """One request on a connection that stays."""
    connection.sendall(b"GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.fixture
def echo_site(site: Any) -> Any:
    """Metadata and an echo service are provisioned; the host itself counts nothing."""
    site.lab.host.run(
        *("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=0"),
        "net.netfilter.nf_conntrack_timestamp=0",
    )
    site.provision()
    site.agent.tool(
        *("provision.provision_linklocal", "--linklocal_service_name", "echo"),
        *("--linklocal_service_ip", ECHO[0], "--linklocal_service_port", "7"),
        *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7777"),
    )
    site.start_on_host([sys.executable, "-c", ECHO_SERVER])
    wait_for(lambda: ":7777" in site.lab.host.run("ss", "-ltn"))
    wait_for(lambda: ":7777" in site.lab.host.run("ss", "-lun"))
    return site


def test_flows_have_guest_service_endpoint_and_state(echo_site: Any) -> None:
    """A kept-alive metadata connection, an echo over TCP, a UDP flow that was answered
    and one that was not are listed with what they are; bytes and age are the kernel's.
    (Contrail: MetadataReqTest, the flow.)
    """
    site, alice = echo_site, echo_site.alice()
    site.introduce(alice)
    with (
        connect(alice, ("169.254.169.254", 80)) as metadata,
        connect(alice, ECHO) as tcp,
        datagrams(alice) as udp,
        datagrams(alice) as silent,
    ):
        fetch(metadata)
        tcp.sendall(b"hello")
        assert b"HELLO" == tcp.recv(100)
        udp.send(b"hello")
        assert b"HELLO" == udp.recv(100)
        silent.send(b"quiet")
        ports = {s.getsockname()[1]: s for s in (metadata, tcp, udp, silent)}
        flows = {flow["source_port"]: flow for flow in listed(site)}
        assert ports.keys() == flows.keys()
        table = site.agent.tool("vagent.ctl", "flow", "list", "--port", alice.port_id)
    identity = site.identity(alice)
    for flow in flows.values():
        assert alice.port_id == flow["port_id"]
        assert ("alice", "10.0.0.5", identity) == (
            flow["guest"],
            flow["guest_address"],
            flow["identity"],
        )
        assert 0 <= flow["age"] < 60
        assert flow["sent_bytes"] > 0
    told = {
        port: (
            *(flow[each] for each in ("service", "service_address", "service_port")),
            *(flow[each] for each in ("endpoint_address", "endpoint_port")),
            *(flow[each] for each in ("protocol", "state")),
        )
        for port, flow in flows.items()
    }
    listener = ("169.254.64.1", 8097)
    service, answered = ("echo", *ECHO), ("127.0.0.1", 7777)
    name = {socket_: port for port, socket_ in ports.items()}
    assert {
        name[metadata]: (
            *("metadata", "169.254.169.254", 80, *listener),
            *("tcp", "ESTABLISHED"),
        ),
        name[tcp]: (*service, *answered, "tcp", "ESTABLISHED"),
        name[udp]: (*service, *answered, "udp", "REPLIED"),
        name[silent]: (*service, *answered, "udp", "UNREPLIED"),
    } == told
    assert flows[name[udp]]["received_bytes"] == 20 + 8 + len("HELLO")
    assert 0 == flows[name[silent]]["received_packets"]
    assert 5 == len(table.splitlines())
    assert "169.254.1.7:7 udp" in table


def test_guests_with_one_address_are_told_apart(echo_site: Any) -> None:
    """Both are 10.0.0.5; `--port` shows each its own, and Contrail's pages tell them
    apart by nh.
    """
    site = echo_site
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    with connect(alice, ECHO) as hers, connect(bob, ("169.254.169.254", 80)) as his:
        fetch(his)
        hers.sendall(b"x")
        assert b"X" == hers.recv(100)
        both = {(flow["guest"], flow["service"]) for flow in listed(site)}
        assert {("alice", "echo"), ("bob", "metadata")} == both
        (only,) = listed(site, "--port", bob.port_id)
        assert ("bob", his.getsockname()[1]) == (only["guest"], only["source_port"])
        tree = etree.fromstring(
            site.agent.get(f"{PAGES}/Snh_FetchAllFlowRecords").encode()
        )
        ahead = tree.xpath("//SandeshFlowData[reverse_flow='no']")
        assert {"10.0.0.5"} == {each.findtext("sip") for each in ahead}
        vmis = {each.findtext("nh"): each.findtext("vmi") for each in ahead}
        assert {alice.port_id, bob.port_id} == set(vmis.values())
        (nh,) = (each for each, vmi in vmis.items() if vmi == bob.port_id)
        key = (
            f"nh={nh}&sip=10.0.0.5&dip=169.254.169.254"
            f"&src_port={his.getsockname()[1]}&dst_port=80&protocol=6"
        )
        found = site.agent.get(f"{PAGES}/Snh_FetchFlowRecord?{key}")
        assert f">{bob.port_id}</vmi>" in found
        info = site.agent.get(f"{PAGES}/Snh_FetchLinkLocalFlowInfo")
        assert '<list type="struct" size="2">' in info
        shown = site.agent.get(f"{PAGES}/Snh_FlowListReq", "-H", "Accept: text/html")
        assert "2 of 2 flows are shown" in shown


def test_the_flows_of_a_deleted_port_are_gone(echo_site: Any) -> None:
    """They end with the port, and a neighbour's stay."""
    site = echo_site
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    with connect(alice, ECHO) as hers, connect(bob, ECHO) as his:
        for connection in (hers, his):
            connection.sendall(b"x")
            assert b"X" == connection.recv(100)
        assert 2 == len(listed(site))
        site.agent.tool("vagent.ctl", "port", "del", alice.port_id)
        wait_for(lambda: len(listed(site)) == 1)
        assert ["bob"] == [flow["guest"] for flow in listed(site)]
        asked = ("vagent.ctl", "flow", "list", "--port", alice.port_id)
        assert "" == site.agent.tool(*asked, check=False)


def test_flows_of_a_port_that_went_while_the_agent_was_away_end(
    echo_site: Any,
) -> None:
    """Its file was removed, and nobody could end them; the next agent does. They would
    be inherited by whoever gets the identity next. A neighbour's go on.
    """
    site = echo_site
    alice, bob = site.alice(), site.bob()
    site.introduce(alice, bob)
    with connect(alice, ECHO) as hers, connect(bob, ECHO) as his:
        for connection in (hers, his):
            connection.sendall(b"x")
            assert b"X" == connection.recv(100)
        site.agent.stop(signal.SIGKILL)
        (site.agent.folder / "state/ports" / alice.port_id).unlink()
        site.agent.start()
        wait_for(lambda: [flow["guest"] for flow in listed(site)], ["bob"].__eq__)
        his.sendall(b"y")
        assert b"Y" == his.recv(100)


def test_without_accounting_there_is_a_dash(site: Any) -> None:
    """Where the kernel does not count, nothing is invented."""
    alice = site.alice()
    site.introduce(alice)
    site.provision()
    site.agent.data_path.run(
        *("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=0"),
        "net.netfilter.nf_conntrack_timestamp=0",
    )
    with connect(alice, ("169.254.169.254", 80)) as metadata:
        fetch(metadata)
        (flow,) = listed(site)
        assert not {"age", "sent_bytes", "received_packets"} & flow.keys()
        row = site.agent.tool("vagent.ctl", "flow", "list").splitlines()[1].split()
        assert ["-"] * 5 == row[-5:]
