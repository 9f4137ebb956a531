"""`make demo`: guests ask for their metadata, on real packets, and get their own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from demo.stage import Stage
from lab.agent import PROVISION, RunningAgent, configuration, port_add
from lab.guests import Guest, Lab, Wiring
from lab.namespaces import LabError, inside, run

PREFIX = "vagent-demo"
FOLDER = Path("/var/lib/vagent-demo")
ROOM_NAMES = ("host", "blue-gw", "green-gw", "alice", "bob", "carol")
METADATA_ADDRESS = "169.254.169.254"
METADATA = f"http://{METADATA_ADDRESS}"
PATHS = (
    "/latest/meta-data/instance-id",
    "/openstack/latest/meta_data.json",
    "/latest/user-data",
)
PYTHON_GET = (
    "import sys,urllib.request as u;"
    "sys.stdout.write(u.urlopen(sys.argv[1],timeout=10).read().decode())"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run or stop the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it all running")
    parser.add_argument("--stop", action="store_true", help="stop what --keep left")
    arguments = parser.parse_args(argv)
    if os.geteuid() != 0:
        print("make demo: needs root, for network namespaces and NFQUEUE")
        return 77
    clean_up()
    if arguments.stop:
        print("The demo is stopped; nothing of it is left.")
        return 0
    stage = Stage()
    # Ctrl-C and a closed terminal must leave as little behind as the end does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    kept = False
    try:
        Demo(stage).play(keep=arguments.keep)
        kept = arguments.keep and not stage.failures
    except LabError as failure:
        stage.failed("a step of the demo failed", str(failure), log_tail())
    finally:
        if not kept:
            clean_up()
    return finish(stage, kept=kept)


def clean_up() -> None:
    """Take away everything of the demo, running or left over."""
    relay = FOLDER / "relay.pid"
    if relay.exists():
        run("kill", relay.read_text().strip(), check=False)
    Lab.remains(PREFIX, ROOM_NAMES)
    shutil.rmtree(FOLDER, ignore_errors=True)


def log_tail() -> str:
    """The end of the agent's log, to be shown where something failed."""
    log = FOLDER / "agent.log"
    if not log.exists():
        return "the agent has not been started yet"
    return "the agent's log, which ends:\n" + "\n".join(
        log.read_text().splitlines()[-15:]
    )


def finish(stage: Stage, *, kept: bool) -> int:
    """The last word."""
    if stage.failures:
        count = len(stage.failures)
        stage.title(
            f"Failed: {count} {'thing was' if count == 1 else 'things were'} wrong"
        )
        for failure in stage.failures:
            stage.say(failure)
        return 1
    if not kept:
        stage.title(
            "Every answer was right. Nothing of the demo is left on this machine."
        )
        stage.say(
            "Next: `make demo KEEP=1` leaves it running and gives you the pages to"
            " browse; `make test` proves each promise; README.md says how to run it"
            " for real."
        )
    return 0


class Demo:
    """The play, act by act."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.lab = Lab(PREFIX)
        self.guests: list[Guest] = []
        self.agent: RunningAgent

    def play(self, *, keep: bool) -> None:
        """All acts. Raises LabError where one cannot go on."""
        self.stage.title(
            "vagent: a guest asks 169.254.169.254 and gets its own metadata"
        )
        self.build()
        self.start()
        self.register()
        self.ask_too_early()
        self.provision()
        self.ask()
        self.forge()
        self.look()
        if keep:
            self.leave_open()
        else:
            self.unprovision()
            self.stop()
            self.remove()

    def build(self) -> None:
        """A host and three guests."""
        stage, lab = self.stage, self.lab
        stage.step(
            "A host with three guests (network namespaces, one end of a veth each)"
        )
        lab.bridge("blue", "10.0.0.1/24")
        lab.bridge("green", "10.0.0.1/24")
        same = "10.0.0.5/24"
        lab.guest(
            "alice", Wiring.BRIDGED, address=same, gateway="10.0.0.1", bridge="blue"
        )
        lab.guest(
            "bob", Wiring.ON_LINK, address=same, gateway="10.0.0.1", bridge="green"
        )
        lab.guest("carol", Wiring.ROUTED, address="192.0.2.9/24", gateway="192.0.2.1")
        self.guests = lab.guests
        for guest in self.guests:
            stage.show(f"{guest.name:6} {guest.address:10} {guest.wiring.value}")
        stage.say(
            "Alice and Bob have the same address. Only their taps tell them apart."
        )

    def start(self) -> None:
        """The agent, with the embedded metadata server behind mutual TLS."""
        self.stage.step("The agent, and the embedded metadata server behind mutual TLS")
        FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.agent = RunningAgent(self.lab, FOLDER, configuration(FOLDER))
        self.stage.command(f"vagent --config {self.agent.conf}")
        self.agent.start()
        self.stage.say(
            "It is ready: interfaces, nftables tables and an NFQUEUE of its own."
        )

    def register(self) -> None:
        """Ports, and what the metadata server shall say of the instances."""
        stage = self.stage
        stage.step("Registering the guests: their ports, and what they shall be told")
        for guest in self.guests:
            arguments = port_add(guest)
            if guest is self.guests[0]:
                stage.command(
                    " ".join(["vagentctl", *arguments[1:]])
                    .replace("--ip", "\\\n         --ip")
                    .replace("--instance", "\\\n         --instance")
                )
            self.agent.tool(*arguments)
            document = FOLDER / f"{guest.name}.json"
            document.write_text(json.dumps(instance(guest)))
            self.agent.tool("vagent.ctl", "instance", "add", str(document))
        stage.command("vagentctl port list")
        stage.show(self.agent.tool("vagent.ctl", "port", "list"))

    def ask_too_early(self) -> None:
        """Before the service is provisioned there is none."""
        stage = self.stage
        stage.step("No service is provisioned yet, so there is none")
        alice = self.guests[0]
        stage.command(f"[alice] curl {METADATA}{PATHS[0]}")
        said = curl_error(alice)
        stage.show(said)
        stage.check("refused at once, not left to time out", True, "connect" in said)

    def provision(self) -> None:
        """With Contrail's own command line."""
        stage = self.stage
        stage.step("Provisioning it, the way Contrail's operators do")
        stage.command(
            "provision_linklocal.py "
            + " ".join(PROVISION[1:]).replace(
                "--ipfabric_service_ip", "\\\n         --ipfabric_service_ip", 1
            )
        )
        stage.show(self.agent.tool(*PROVISION))
        stage.command("vagentctl service list")
        stage.show(self.agent.tool("vagent.ctl", "service", "list"))

    def ask(self) -> None:
        """Each guest by its own means."""
        stage = self.stage
        stage.step("The guests ask")
        for guest, client in zip(self.guests, ("curl", "wget", "python"), strict=True):
            answers = [fetch(guest, client, path) for path in PATHS]
            facts = json.loads(answers[1]) if answers[1].startswith("{") else {}
            stage.command(f"[{guest.name}] {client} {METADATA}{PATHS[0]}")
            stage.show(answers[0])
            stage.check(
                f"{guest.name}'s meta_data.json is {guest.name}'s",
                (guest.instance_id, guest.name),
                (facts.get("uuid"), facts.get("name")),
            )
            stage.check(
                f"{guest.name}'s user-data is {guest.name}'s",
                instance(guest)["user_data"],
                answers[2],
            )
        ids = {fetch(guest, "curl", PATHS[0]) for guest in self.guests}
        stage.check("three guests, three instance ids", 3, len(ids))

    def forge(self) -> None:
        """What a guest claims in headers is not believed."""
        stage, (alice, bob, _) = self.stage, self.guests
        stage.step("Alice claims to be Bob")
        forged = f"X-Instance-ID: {bob.instance_id}"
        stage.command(f"[alice] curl -H '{forged}' {METADATA}{PATHS[1]}")
        answer = json.loads(fetch(alice, "curl", PATHS[1], "-H", forged))
        stage.check("and still gets her own", alice.instance_id, answer.get("uuid"))

    def look(self) -> None:
        """Counters, the trace, the pages."""
        stage, agent = self.stage, self.agent
        stage.step("What the agent saw")
        stage.command("vagentctl stats")
        stage.show(agent.tool("vagent.ctl", "stats"), lines=24)
        stage.command("vagentctl trace Metadata")
        stage.show(
            "\n".join(agent.tool("vagent.ctl", "trace", "Metadata").splitlines()[-6:])
        )
        for page in ("", "Snh_MetadataInfo", "Snh_LinkLocalServiceInfo", "metrics"):
            stage.command(f"curl http://127.0.0.1:8085/{page}")
            answer = agent.get(f"http://127.0.0.1:8085/{page}")
            stage.show(answer, lines=3)
            stage.check(f"/{page} answers", True, len(answer) > 0)

    def unprovision(self) -> None:
        """Deleted is gone."""
        stage = self.stage
        stage.step("Deleting the service")
        stage.command(
            "provision_linklocal.py --linklocal_service_name metadata --oper delete"
        )
        self.agent.tool(*PROVISION[:3], "--oper", "delete")
        said = curl_error(self.guests[0])
        stage.show(said)
        stage.check("alice gets nothing again", True, "connect" in said)

    def stop(self) -> None:
        """A stopped agent leaves a guard: what guests ask does not leave the host."""
        stage, alice = self.stage, self.guests[0]
        stage.step("Stopping the agent; its rules stay and guard")
        stage.check("it ends with exit code 0", 0, self.agent.stop())
        with listening(f"{PREFIX}-blue-gw") as gateway:
            stage.command(f"[alice] curl {METADATA}{PATHS[0]}")
            stage.show(curl_error(alice, seconds=2))
            other = ("curl", "-s", "-m", "1", "http://10.0.0.1/")
            alice.machine.run(*other, check=False)
            heard = destinations(gateway)
        stage.check("her gateway hears what is for it", True, "10.0.0.1" in heard)
        stage.check("but not her question", False, METADATA_ADDRESS in heard)

    def remove(self) -> None:
        """Everything is taken back on purpose."""
        stage = self.stage
        stage.step("Taking the guard away")
        stage.command("vagentctl data-path remove")
        stage.show(self.agent.tool("vagent.ctl", "data-path", "remove"))
        stage.check(
            "no rule of it is left", "", self.lab.host.run("nft", "list", "ruleset")
        )
        links = self.lab.host.run("ip", "-brief", "link")
        stage.check("no interface of it is left", False, "vagent" in links)

    def leave_open(self) -> None:
        """For browsing."""
        port = relay_port()
        stage = self.stage
        stage.title("It is all running; look around")
        stage.say(f"Pages:     http://127.0.0.1:{port}/")
        stage.say(f"As Alice:  ip netns exec {PREFIX}-alice curl {METADATA}/openstack")
        stage.say(f"The host:  ip netns exec {PREFIX}-host nft list ruleset")
        stage.say(f"Its log:   {self.agent.log}")
        stage.say("Stop it:   make demo-stop")


def instance(guest: Guest) -> dict[str, object]:
    """What the embedded metadata server is told of a guest."""
    return {
        "uuid": guest.instance_id,
        "tenant_id": guest.tenant_id,
        "name": guest.name,
        "user_data": f"#cloud-config\nfinal_message: {guest.name} is up\n",
    }


def fetch(guest: Guest, client: str, path: str, *options: str) -> str:
    """Ask from inside the guest."""
    url = METADATA + path
    argv = {
        "curl": ["curl", "-sS", "-m", "10", *options, url],
        "wget": ["wget", "-q", "-T", "10", "-t", "1", "-O", "-", url],
        "python": [sys.executable, "-c", PYTHON_GET, url],
    }[client]
    return guest.machine.run(*argv)


def curl_error(guest: Guest, *, seconds: int = 5) -> str:
    """What curl says when it gets nothing."""
    done = subprocess.run(
        guest.machine.argv("curl", "-sS", "-m", str(seconds), METADATA + PATHS[0]),
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr or done.stdout).strip()


@contextmanager
def listening(machine: str) -> Iterator[socket.socket]:
    """All that a machine's eth0 carries while the block runs."""

    def open_socket() -> socket.socket:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))

    wire = inside(machine, open_socket)
    wire.bind(("eth0", 0x0800))
    wire.setblocking(False)
    yield wire
    wire.close()


def destinations(wire: socket.socket) -> set[str]:
    """Where the IPv4 packets go that were heard so far."""
    found = set()
    with suppress(BlockingIOError):
        while frame := wire.recv(2048):
            found.add(socket.inet_ntoa(frame[30:34]))
    return found


def relay_port() -> int:
    """Start the relay for the pages; the port on this machine's loopback address."""
    listener = socket.socket()
    try:
        listener.bind(("127.0.0.1", 8085))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(16)
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.relay", str(listener.fileno()), f"{PREFIX}-host"],
        pass_fds=[listener.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (FOLDER / "relay.pid").write_text(str(process.pid))
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
