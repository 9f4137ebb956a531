"""Network namespaces as machines. Real kernel parts only; everything is taken back."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_BPF_FILES = Path("/run/vagent-lab-bpf")
"""A bpf file system with a folder for each machine that has asked for one."""
PATIENCE = float(os.environ.get("VAGENT_LAB_PATIENCE", "1"))
"""How many times slower than usual this machine may be: deadlines grow by that."""
COMMAND_DEADLINE = 60.0 * PATIENCE
"""Seconds for one command in a namespace."""


class LabError(Exception):
    """A command of the lab failed; the message holds what it said."""


def run(*argv: str, check: bool = True, text: str = "") -> str:
    """Run a command on the real machine; its standard output. Raises LabError."""
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise LabError(f"{' '.join(argv)}: {failure}") from failure
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done.stdout


def inside(namespace: str, make: Callable[[], T]) -> T:
    """Call `make` with this namespace as the network; sockets it opens stay in there.

    Raises whatever `make` raises.
    """
    outcome: list[Any] = []

    def enter() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path("/run/netns", namespace).open() as handle:
                if libc.setns(handle.fileno(), _CLONE_NEWNET):
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code), namespace)
            outcome.append((True, make()))
        except BaseException as failure:  # carried over to the caller's thread
            outcome.append((False, failure))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    succeeded, value = outcome[0]
    if not succeeded:
        raise value
    result: T = value
    return result


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace."""

    name: str

    @property
    def bpf_files(self) -> Path:
        """What is its /sys/fs/bpf. Each `ip netns exec` has a /sys of its own, and
        nothing in it outlives the command.
        """
        return _BPF_FILES / f"lab-{self.name}"

    @property
    def data_path(self) -> Machine:
        """The namespace in which an agent of this machine has guests' flows. Its name
        is made here, as names that are made inside of `ip netns exec` end with it.
        """
        return Machine(f"{self.name}-dp")

    def make_data_path(self) -> None:
        """Make the name of that namespace, if it is not there."""
        name = self.data_path.name
        if name not in run("ip", "netns", "list").split():
            run("ip", "netns", "add", name)

    @classmethod
    def create(cls, name: str) -> Machine:
        """A fresh machine with loopback up; one left over of that name is replaced."""
        machine = cls(name)
        machine.destroy()
        run("ip", "netns", "add", name)
        machine.run("ip", "link", "set", "lo", "up")
        return machine

    def destroy(self) -> None:
        """Take it away, with its interfaces and whatever still runs in it."""
        if not Path("/run/netns", self.name).exists():
            return
        with suppress(LabError):
            pids = run("ip", "netns", "pids", self.name).split()
            if pids:
                run("kill", "-9", *pids, check=False)
        for name in (self.name, self.data_path.name):
            run("ip", "netns", "del", name, check=False)
        shutil.rmtree(self.bpf_files, ignore_errors=True)

    def argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` in here."""
        if argv[0] == "ip":  # needs no process of its own to get in here
            return ["ip", "-netns", self.name, *argv[1:]]
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, check: bool = True, text: str = "") -> str:
        """Run a command in here; its standard output. Raises LabError."""
        return run(*self.argv(*argv), check=check, text=text)

    def with_bpf_files(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` with what this machine has in /sys/fs/bpf."""
        _BPF_FILES.mkdir(exist_ok=True)
        # Tests run side by side: of two mounts the second would hide the first.
        with _BPF_FILES.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _BPF_FILES.is_mount():
                run("mount", "-t", "bpf", "bpf", str(_BPF_FILES))
        self.bpf_files.mkdir(exist_ok=True)
        bind = 'mount --bind "$0" /sys/fs/bpf && exec "$@"'
        return ["sh", "-c", bind, str(self.bpf_files), *argv]

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in here and leave it running."""
        return subprocess.Popen(self.argv(*argv), **options)
