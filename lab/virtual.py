"""Virtual machines with a kernel of their own, behind a tap that QEMU makes.

Software emulation is enough: nothing here needs another processor than this one's.
`tests/virtual_machine/build` makes what they boot.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.namespaces import PATIENCE, LabError, Machine

BOOT_DEADLINE = 180.0 * PATIENCE
"""Seconds from power to an address; on an idle machine it takes about ten."""
ANSWER_DEADLINE = 120.0 * PATIENCE
"""Seconds for one command in there."""
MEMORY_MIB = 192
_MAX_SAID = 1 << 20
"""Bytes of a console that are kept."""


@dataclass(slots=True)
class VirtualMachine:
    """One of them, on a host's bridge. `folder` holds its kernel and initramfs."""

    host: Machine
    folder: Path
    tap: str
    mac: str
    bridge: str
    hook: Path
    """A file to write what QEMU calls when its tap is there."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _said: bytes = field(default=b"", init=False)

    def power_on(self) -> None:
        """Start it; `wait` says when it is up."""
        self.hook.write_text(
            f"#!/bin/sh\nip link set {self.tap} master {shlex.quote(self.bridge)} up\n"
        )
        self.hook.chmod(0o700)
        self._said = b""
        self._process = self.host.start(
            [
                *("qemu-system-x86_64", "-accel", "tcg", "-m", str(MEMORY_MIB)),
                *("-display", "none", "-monitor", "none", "-no-reboot"),
                *("-serial", "stdio", "-nodefaults"),
                *("-kernel", str(self.folder / "kernel")),
                *("-initrd", str(self.folder / "initrd")),
                *("-append", "console=ttyS0 rdinit=/init panic=1 quiet loglevel=0"),
                "-netdev",
                f"tap,id=net,ifname={self.tap},script={self.hook},downscript=no",
                *("-device", f"virtio-net-pci,netdev=net,mac={self.mac},romfile="),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> None:
        """Return when it has an address. Raises LabError with what it said."""
        if self._until(b"ready", BOOT_DEADLINE)[1]:
            raise LabError(f"{self.tap}: no address; it said: {self._tail()}")

    def run(self, command: str) -> str:
        """What a command in there prints. Raises LabError."""
        said, code = self.outcome(command)
        if code:
            raise LabError(f"{self.tap}: {command}: exit {code}: {said}")
        return said

    def outcome(self, command: str) -> tuple[str, int]:
        """What a command in there prints, and its exit code."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101  for the type checker
        self._said = b""
        process.stdin.write(command.encode() + b"\n")
        process.stdin.flush()
        said, code = self._until(b"done", ANSWER_DEADLINE)
        return said.decode(), code

    def power_off(self) -> None:
        """Pull the plug; the tap goes with it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LabError(f"{self.tap}: the power is off")
        return self._process

    def _until(self, word: bytes, seconds: float) -> tuple[bytes, int]:
        """What it said before a last line of this word and a code, and the code."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(rb"\n%b (\d+)\n\Z" % word, self._said)):
            self._listen(deadline)
        return self._said[: found.start()], int(found[1])

    def _listen(self, deadline: float) -> None:
        stdout = self._running().stdout
        assert stdout is not None  # noqa: S101  for the type checker
        left = deadline - time.monotonic()
        readable = left > 0 and select.select([stdout], [], [], left)[0]
        data = os.read(stdout.fileno(), 65536) if readable else b""
        if not data or len(self._said) > _MAX_SAID:
            why = "stopped" if readable else "does not answer"
            raise LabError(f"{self.tap}: {why}; it said: {self._tail()}")
        self._said += data.replace(b"\r", b"")

    def _tail(self) -> str:
        return self._said[-2000:].decode("utf-8", "replace")


@contextmanager
def leasing(
    gateway: Machine, folder: Path, address: str, *, busybox: Path
) -> Iterator[None]:
    """A DHCP server on a gateway machine that gives this one address."""
    folder.mkdir()
    leases = folder / "leases"
    leases.touch()
    conf = folder / "udhcpd.conf"
    conf.write_text(
        f"start {address}\nend {address}\ninterface eth0\nmax_leases 1\n"
        f"lease_file {leases}\npidfile {folder}/pid\n"
        "option subnet 255.255.255.0\noption router 10.0.0.1\noption lease 3600\n"
    )
    server = gateway.start(
        [str(busybox), "udhcpd", "-f", str(conf)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        server.kill()
        server.wait()
