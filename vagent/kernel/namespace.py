"""Network namespaces (namespaces(7)): to find one by its name, and to work inside it.

A socket belongs for good to the namespace in which it was made, a child process starts
in that of its parent, and names below /proc/sys/net mean those of whoever opens them.
So it is enough to be inside for the moment in which these are made.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from vagent.errors import KernelError

NAMED = Path("/run/netns")
"""Where iproute2 binds named namespaces to files."""
_CLONE_NEWNET = 0x40000000
_OWN = "/proc/self/ns/net"


class Network(Protocol):
    """A network in which system calls can be made."""

    def entered(self) -> AbstractContextManager[None]:
        """Inside it the calling thread is in this network. Nothing may wait in there:
        whatever else runs in this thread would be in the wrong network.
        """


class OwnNetwork:
    """The network of this process."""

    def entered(self) -> AbstractContextManager[None]:
        """Nothing to do."""
        return nullcontext()


class Namespace:
    """A named network namespace, kept by a descriptor: whoever removes its name, or
    gives it to another, changes nothing for the holder.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inside = self._home = -1

    def __repr__(self) -> str:
        return f"<Namespace {self.name} {'open' if self._inside >= 0 else 'closed'}>"

    @property
    def path(self) -> Path:
        """The file of its name."""
        return NAMED / self.name

    def is_named(self) -> bool:
        """Does the name lead to a namespace, and after `open` to this one?"""
        try:
            there, own = self.path.stat(), Path(_OWN).stat()
        except OSError:
            return False
        if there.st_dev != own.st_dev:
            return False
        return self._inside < 0 or there.st_ino == os.fstat(self._inside).st_ino

    def open(self) -> None:
        """Take hold of it. Raises KernelError."""
        self.close()
        try:
            self._home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            self._inside = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            with self.entered():
                pass
        except OSError as failure:
            self.close()
            lacks = isinstance(failure, PermissionError)
            need = "; to enter it needs CAP_SYS_ADMIN" if lacks else ""
            raise KernelError(
                f"network namespace {self.name}: {failure}{need}"
            ) from failure

    def close(self) -> None:
        """Let go of it. Without a name, interfaces and sockets it ends then."""
        for descriptor in (self._inside, self._home):
            if descriptor >= 0:
                os.close(descriptor)
        self._inside = self._home = -1

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Raises OSError where the kernel does not let this process in, and KernelError
        before `open`.
        """
        if self._inside < 0:
            raise KernelError(f"network namespace {self.name} is not open")
        _enter(self._inside)
        try:
            yield
        finally:
            _enter(self._home)


@contextmanager
def entered_if_named(name: str) -> Iterator[bool]:
    """Is there a namespace of this name? Then the calling thread is inside of it."""
    namespace = Namespace(name)
    if not namespace.is_named():
        yield False
        return
    namespace.open()
    try:
        with namespace.entered():
            yield True
    finally:
        namespace.close()


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


_LIBC = ctypes.CDLL(None, use_errno=True)
