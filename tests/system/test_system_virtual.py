"""A virtual machine with a kernel of its own behind a tap: as a guest really is."""

from __future__ import annotations

import hashlib
import json
import os
import select
import sys
import tty
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from lab.agent import SOURCE, configuration
from lab.guests import Guest, Wiring
from lab.libvirt import Libvirtd
from lab.namespaces import Machine
from lab.virtual import BOOT_DEADLINE, VirtualMachine, leasing
from lab.waiting import wait_for
from tests.system.test_system_life import port_state

pytestmark = [pytest.mark.virtual, pytest.mark.alone]

BUILT = SOURCE / "var" / "virtual-machine"
ADDRESS = "10.0.0.7"
SIZE = 2_000_000
NOT_TENTATIVE = "while ip -6 addr | grep -q tentative; do sleep 1; done"
"""Until then a packet has ::1 as its source."""
FILES = """
import hashlib, http.server, sys
class Files(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = open(sys.argv[1], "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        told = hashlib.sha256(body).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 7780), Files).serve_forever()
"""


class Rig:
    """Virtual machines of a site, registered before they are switched on."""

    def __init__(self, site: Any, stack: ExitStack) -> None:
        self.site = site
        self._stack = stack

    def guest(self, name: str, bridge: str) -> tuple[Guest, VirtualMachine]:
        """One that gets ADDRESS from the gateway of its bridge."""
        site, folder = self.site, Path(self.site.folder)
        gateway = Machine(site.gateway(bridge))
        number = 10 + len(name) + ord(name[0])
        guest = Guest(
            name=name,
            machine=gateway,
            wiring=Wiring.BRIDGED,
            tap=f"vm-{name}",
            mac=f"52:54:00:00:00:{number:02x}",
            address=ADDRESS,
            address6="2001:db8::7",
            port_id=str(uuid.uuid4()),
            instance_id=str(uuid.uuid4()),
            tenant_id=uuid.uuid4().hex,
        )
        site.introduce(guest)
        dhcp = folder / f"dhcp-{name}"
        self._stack.enter_context(
            leasing(gateway, dhcp, ADDRESS, busybox=BUILT / "busybox")
        )
        virtual = VirtualMachine(
            site.lab.host, BUILT, guest.tap, guest.mac, bridge, folder / f"up-{name}"
        )
        self._stack.callback(virtual.power_off)
        return guest, virtual

    def files(self) -> str:
        """Provision a service that gives a file, and says what it was sent; the digest
        of the file.
        """
        content = os.urandom(SIZE // 2).hex().encode()  # wget posts text only
        path = Path(self.site.folder) / "content"
        path.write_bytes(content)
        self.site.start_on_host([sys.executable, "-c", FILES, str(path)])
        self.site.agent.tool(
            *("provision.provision_linklocal", "--linklocal_service_name", "files"),
            *("--linklocal_service_ip", "169.254.1.80"),
            *("--linklocal_service_port", "80"),
            *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "7780"),
        )
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def rig(site: Any) -> Iterator[Rig]:
    """A site with metadata provisioned; its virtual machines are off in the end."""
    site.provision()
    with ExitStack() as stack:
        yield Rig(site, stack)


def document(virtual: VirtualMachine, service: str) -> Any:
    """The instance's meta_data.json, as it gets it from a service address."""
    path = "/openstack/latest/meta_data.json"
    return json.loads(virtual.run(f"wget -q -O - 'http://{service}{path}'"))


def test_two_virtual_machines_with_one_address(rig: Rig) -> None:
    """Their taps come after their ports. Each gets its address by DHCP and its own
    metadata, over IPv4 and IPv6; 2 MB come and go unharmed through another service,
    whatever checksums and segments its virtio card leaves to the host.
    """
    digest = rig.files()
    pairs = [rig.guest("dave", "blue"), rig.guest("erin", "green")]
    for guest, _ in pairs:
        assert "Inactive < no-dev >" == port_state(rig.site, guest)
    for _, virtual in pairs:
        virtual.power_on()
    for guest, virtual in pairs:
        virtual.wait()
        assert f"inet {ADDRESS}/24" in virtual.run("ip -4 addr show dev eth0")
        facts = document(virtual, "169.254.169.254")
        assert (guest.instance_id, guest.name) == (facts["uuid"], facts["name"])
        virtual.run("ip -6 addr add 2001:db8::7/64 dev eth0")
        virtual.run("ip -6 route add fd00:ec2::254 dev eth0")
        virtual.run(NOT_TENTATIVE)
        assert guest.instance_id == document(virtual, "[fd00:ec2::254]")["uuid"]
        url = "http://169.254.1.80/"
        assert digest in virtual.run(f"wget -q -O /file {url} && sha256sum /file")
        assert digest == virtual.run(f"wget -q -O - --post-file=/file {url}")


def test_a_virtual_machine_that_is_switched_off_and_on(rig: Rig) -> None:
    """Its tap goes and comes back as another interface of that name; it is served."""
    guest, virtual = rig.guest("dave", "blue")
    for _ in range(2):
        virtual.power_on()
        virtual.wait()
        wait_for(lambda: port_state(rig.site, guest), "Active".__eq__)
        assert guest.instance_id == document(virtual, "169.254.169.254")["uuid"]
        virtual.power_off()
        wait_for(lambda: port_state(rig.site, guest), "Inactive < no-dev >".__eq__)


def said_until(console: FileIO, words: bytes) -> bytes:
    """What a virtual machine says on its terminal, up to these words."""
    said = b""
    while words not in said:
        assert select.select([console], [], [], BOOT_DEADLINE)[0], said[-2000:]
        said += console.read(4096).replace(b"\r", b"")
    return said


def test_a_domain_of_libvirts_that_nobody_registered(idle_site: Any) -> None:
    """It is started, gets an address by DHCP, and its metadata under that address: the
    watcher has registered it, and the agent has learned the address.
    """
    site = idle_site
    gateway = Machine(site.gateway("blue"))
    libvirtd = Libvirtd(site.lab.host, Path(site.folder) / "libvirt")
    instance, path = str(uuid.uuid4()), "/openstack/latest/meta_data.json"
    extra = f"<libvirt><enabled>true</enabled><uri>{libvirtd.uri}</uri></libvirt>"
    site.agent.config = configuration(Path(site.folder), extra=extra)
    described = Path(site.folder) / "instance.json"
    described.write_text(
        json.dumps({"uuid": instance, "tenant_id": "libvirt", "name": "frank"})
    )
    dhcp = leasing(
        gateway, Path(site.folder) / "dhcp", ADDRESS, busybox=BUILT / "busybox"
    )
    libvirtd.start()
    try:
        with dhcp:
            site.agent.start()
            site.provision()
            site.agent.tool("vagent.ctl", "instance", "add", str(described))
            site.start_on_host(
                [sys.executable, "-m", "vagent.guests.process",
                 "--config", str(site.agent.conf)]
            )  # fmt: skip
            libvirtd.define(
                "frank",
                instance,
                "<interface type='bridge'><mac address='52:54:00:00:00:0f'/>"
                "<source bridge='blue'/><model type='virtio'/></interface>",
                BUILT,
            )
            libvirtd.virsh("start", "frank")
            with libvirtd.console("frank").open("r+b", buffering=0) as console:
                tty.setraw(console.fileno())
                said_until(console, b"\nready 0\n")
                console.write(f"wget -q -O - http://169.254.169.254{path}\n".encode())
                said = said_until(console, b"\ndone 0\n")
    finally:
        libvirtd.end()
    facts = json.loads(said[said.index(b"{") : said.rindex(b"}") + 1])
    assert (instance, "frank") == (facts["uuid"], facts["name"])
