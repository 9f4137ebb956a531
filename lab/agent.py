"""A running agent on the lab's host, configured like a real one."""

from __future__ import annotations

import http.client
import importlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from lab.guests import Guest, Lab
from lab.namespaces import PATIENCE, LabError, Machine, inside
from lab.pki import Authority
from lab.waiting import wait_for

SOURCE = Path(__file__).resolve().parents[1]
SECRET = "a-secret-for-the-lab-only"  # noqa: S105 made up, and never leaves the lab
START_DEADLINE = 90.0
"""Seconds from exec to readiness; it takes about one."""
STOP_DEADLINE = 70.0 * PATIENCE
"""Seconds from the signal to the end; more than the agent gives itself."""


def configuration(
    folder: Path, *, secret: str = SECRET, extra: str = "", proxy: str = ""
) -> str:
    """agent.conf with the embedded metadata server behind mutual TLS on loopback;
    `proxy` is more of its `<metadata-proxy>`, `extra` of the rest.
    """
    pki = Authority(folder / "pki")
    server = pki.server("metadata-server", "127.0.0.1", "localhost")
    client = pki.client("agent")
    return f"""<config><agent>
  <state-directory>{folder}/state</state-directory>
  <runtime-directory>{folder}/run</runtime-directory>
  <metadata-proxy>
    <shared-secret>{escape(secret)}</shared-secret>
    <use-ssl>true</use-ssl>
    <client-cert>{client.cert}</client-cert>
    <client-key>{client.key}</client-key>
    <ca-cert>{pki.cert}</ca-cert>
    {proxy}
  </metadata-proxy>
  <metadata-server>
    <enabled>true</enabled>
    <server-cert>{server.cert}</server-cert>
    <server-key>{server.key}</server-key>
    <client-ca>{pki.cert}</client-ca>
  </metadata-server>
  {extra}
</agent></config>
"""


def in_namespace(config: str, name: str) -> str:
    """The same agent.conf with this namespace, in place of one that all machines of
    the lab would share. Lines keep their numbers.
    """
    if "<namespace>" in config:
        return config
    element = f"<namespace>{name}</namespace>"
    if "<data-path>" in config:
        return config.replace("<data-path>", f"<data-path>{element}", 1)
    return config.replace("</agent>", f"<data-path>{element}</data-path></agent>", 1)


@dataclass(slots=True)
class RunningAgent:
    """`vagent` in the host's namespace; its log is `folder/agent.log`."""

    lab: Lab
    folder: Path
    config: str
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    spawn: bool = True
    """Run our tools as an operator does, or in this process: an interpreter's start is
    what most of such a call costs.
    """
    prefix: Sequence[str] = ()
    """A command that runs the agent, and its arguments: `env A=B`, `strace -f`."""

    @property
    def data_path(self) -> Machine:
        """The namespace in which it has guests' flows."""
        return self.lab.host.data_path

    @property
    def conf(self) -> Path:
        """Its agent.conf."""
        return self.folder / "agent.conf"

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / "agent.log"

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait` return when it is ready. Raises LabError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.conf.touch(mode=0o600)
        self.conf.write_text(in_namespace(self.config, self.data_path.name))
        self.lab.host.make_data_path()
        with self.log.open("ab") as log:
            self.process = self.lab.host.start(
                self.lab.host.with_bpf_files(
                    [
                        *self.prefix,
                        *(sys.executable, "-m", "vagent.cli", "--config"),
                        str(self.conf),
                    ]
                ),
                cwd=SOURCE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self._wait_ready()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        process = self.process
        if process is None:
            raise LabError("the agent was not started")
        process.send_signal(how)
        self.process = None
        return process.wait(STOP_DEADLINE)

    def get(self, url: str, *options: str) -> str:
        """A page or API of the agent, asked on the host with curl."""
        return self.lab.host.run("curl", "-sS", "-m", str(10 * PATIENCE), *options, url)

    def tool(self, *argv: str, check: bool = True) -> str:
        """Run one of our own tools on the host: a module name and its arguments.
        Raises LabError.
        """
        if self.spawn:
            command = self.lab.host.with_bpf_files([sys.executable, "-m", *argv])
            return self.lab.host.run(*command, check=check)
        return inside(self.lab.host.name, lambda: _call(argv, check=check))

    def register(self, guest: Guest) -> None:
        """Register the guest's port with vagentctl, as an operator would."""
        self.tool(*port_add(guest))

    def _wait_ready(self) -> None:
        process = self.process

        def state() -> str:
            if process is None or process.poll() is not None:
                return "ended"
            return "ready" if inside(self.lab.host.name, _ready) else ""

        try:
            found = wait_for(state, seconds=START_DEADLINE, pause=0.05)
        except LabError:
            found = "late"
        if found != "ready":
            said = self.log.read_text()
            raise LabError(f"the agent did not get ready ({found}); it said:\n{said}")


def _ready() -> bool:
    """Does the agent of this network say that it is ready?"""
    connection = http.client.HTTPConnection("127.0.0.1", 8085, timeout=2 * PATIENCE)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _call(argv: Sequence[str], *, check: bool) -> str:
    """What a tool says that runs in this process."""
    said, complained = io.StringIO(), io.StringIO()
    main = _main_of(argv[0])
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            code = main(argv[1:])
        except SystemExit as stop:  # argparse
            code = stop.code
    if check and code:
        text = (complained.getvalue() or said.getvalue()).strip()
        raise LabError(f"{' '.join(argv)}: exit {code}: {text}")
    return said.getvalue()


def port_add(guest: Guest) -> list[str]:
    """vagentctl's arguments to register a guest's port."""
    return [
        *("vagent.ctl", "port", "add", "--uuid", guest.port_id),
        *("--instance", guest.instance_id, "--tenant", guest.tenant_id),
        *("--ip", guest.address, "--mac", guest.mac, "--tap", guest.tap),
        *("--name", guest.name),
        *(("--ip6", guest.address6) if guest.address6 else ()),
    ]


PROVISION = (
    *("provision.provision_linklocal", "--linklocal_service_name", "metadata"),
    *("--linklocal_service_ip", "169.254.169.254", "--linklocal_service_port", "80"),
    *("--ipfabric_service_ip", "127.0.0.1", "--ipfabric_service_port", "8775"),
)
"""Arguments that provision the metadata service to the embedded server."""


def _main_of(module: str) -> Callable[[Sequence[str]], object]:
    """What `python -m MODULE` calls: the `main` of a module, or of a package."""
    package = Path(SOURCE, *module.split("."))
    found = importlib.import_module(
        f"{module}.__main__" if package.is_dir() else module
    )
    main: Callable[[Sequence[str]], object] = found.main
    return main
