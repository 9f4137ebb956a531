"""A libvirtd on the lab's host, with files of its own, and domains without a disk.

It sees a /run/libvirt and an /etc/libvirt that nobody else sees, so that the machine's
own libvirt, if there is one, is not touched.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from lab.namespaces import LabError, Machine
from lab.virtual import MEMORY_MIB
from lab.waiting import wait_for

_LIBVIRTD = """\
unix_sock_dir = "{folder}/run"
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
_QEMU = """\
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
_START = """\
mkdir -p /run/libvirt /etc/libvirt /var/lib/libvirt /var/log/libvirt
mount --bind {folder}/state /run/libvirt
mount --bind {folder}/etc /etc/libvirt
mount --bind {folder}/lib /var/lib/libvirt
mount --bind {folder}/log /var/log/libvirt
exec libvirtd -f {folder}/libvirtd.conf -p {folder}/libvirtd.pid
"""
_DOMAIN = """\
<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid>
 <memory unit='MiB'>{memory}</memory>
 <os><type arch='x86_64'>hvm</type>{boot}</os>
 <features><acpi/></features>
 <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
  {interfaces}<serial type='pty'/><memballoon model='none'/></devices></domain>
"""


_BOOT = """\
<kernel>{folder}/kernel</kernel><initrd>{folder}/initrd</initrd>
<cmdline>console=ttyS0 rdinit=/init panic=1 quiet loglevel=0</cmdline>
"""


def ethernet(mac: str, tap: str = "") -> str:
    """An interface of a domain whose tap is on no bridge; libvirt names it."""
    target = f"<target dev='{tap}'/>" if tap else ""
    return f"<interface type='ethernet'><mac address='{mac}'/>{target}</interface>"


@dataclass(slots=True)
class Libvirtd:
    """One, in a machine's network. `folder` holds all that it writes."""

    host: Machine
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def uri(self) -> str:
        """To connect to it."""
        return f"qemu:///system?socket={self.folder}/run/libvirt-sock"

    def start(self) -> None:
        """Start it; return when it answers. Raises LabError."""
        for name in ("run", "state", "etc", "lib", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "libvirtd.conf").write_text(_LIBVIRTD.format(folder=self.folder))
        (self.folder / "etc" / "qemu.conf").write_text(_QEMU)
        script = _START.format(folder=shlex.quote(str(self.folder)))
        with (self.folder / "log" / "libvirtd.log").open("ab") as log:
            self._process = self.host.start(
                ["unshare", "--mount", "sh", "-ec", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, seconds=30)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; its domains go on."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def virsh(self, *argv: str, check: bool = True) -> str:
        """Run virsh. Raises LabError."""
        return self.host.run("virsh", "-c", self.uri, "-q", *argv, check=check)

    def pid(self, name: str) -> int:
        """The process id of a running domain's QEMU."""
        return int((self.folder / "state" / "qemu" / f"{name}.pid").read_text())

    def console(self, name: str) -> Path:
        """The terminal of a running domain's serial port."""
        return Path(self.virsh("ttyconsole", name).strip())

    def define(
        self, name: str, uuid: str, interfaces: str, system: Path | None = None
    ) -> None:
        """Define a domain, or change the definition. `system` is a folder with a kernel
        and an initramfs that it boots.
        """
        file = self.folder / f"{name}.xml"
        file.write_text(
            _DOMAIN.format(
                name=name,
                uuid=uuid,
                interfaces=interfaces,
                memory=MEMORY_MIB if system else 32,
                boot=_BOOT.format(folder=system) if system else "",
            )
        )
        self.virsh("define", str(file))

    def end(self) -> None:
        """Take all of it away, with its domains."""
        try:
            for name in self.virsh("list", "--name").split():
                self.virsh("destroy", name, check=False)
        except LabError:
            pass  # it was down, and goes with its machine
        finally:
            self.stop(signal.SIGKILL)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            said = (self.folder / "log" / "libvirtd.log").read_text()
            raise LabError(f"libvirtd ended: {said[-2000:]}")
        try:
            self.virsh("version")
        except LabError:
            return False
        return True
