"""Network namespaces as machines. Real kernel parts only; everything is taken back."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
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
        run("ip", "netns", "del", self.name, check=False)

    def argv(self, *argv: str) -> list[str]:
        """The command that runs `argv` in here."""
        if argv[0] == "ip":  # needs no process of its own to get in here
            return ["ip", "-netns", self.name, *argv[1:]]
        return ["ip", "netns", "exec", self.name, *argv]

    def run(self, *argv: str, check: bool = True, text: str = "") -> str:
        """Run a command in here; its standard output. Raises LabError."""
        return run(*self.argv(*argv), check=check, text=text)

    def start(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in here and leave it running."""
        return subprocess.Popen(self.argv(*argv), **options)
