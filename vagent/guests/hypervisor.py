"""The connection to libvirt: which domains run, and when to look again.

It is opened for reading only. libvirt's own event loop runs in `wait`, in the calling
thread; whatever it reports is a reason to look, and what it says is not relied upon.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from vagent.errors import VagentError

DEBIAN = "/usr/lib/python3/dist-packages"
"""Where Debian's python3-libvirt is, which a virtual environment does not look at. Its
compiled part loads in the Python version that it was made for, and in no other."""
KEEPALIVE_SECONDS, KEEPALIVES = 5, 3
"""A libvirtd that answers none of so many keepalive messages, so many seconds apart, is
taken for gone."""
_NO_SUPPORT, _NO_DOMAIN = 3, 42  # VIR_ERR_… (libvirt/virterror.h)


class HypervisorError(VagentError):
    """libvirt is not there, refused, or the connection broke."""


class Hypervisor(Protocol):
    """What the watcher needs of libvirt. Every method raises HypervisorError."""

    def domains(self) -> Iterable[tuple[str, str]]:
        """UUID and XML of each domain that runs or is paused."""

    def wait(self, seconds: float) -> bool:
        """Wait until something changed, at most so long. Did something?"""

    def close(self) -> None:
        """End the connection. Does not raise."""


def load_libvirt() -> Any:
    """The module `libvirt`: that of this environment, else Debian's. Raises
    HypervisorError.
    """
    try:
        import libvirt
    except ImportError:
        sys.path.append(DEBIAN)
        try:
            import libvirt
        except ImportError as error:
            raise HypervisorError(
                f"Python's libvirt module is missing ({error}); install python3-libvirt"
                ", or libvirt-python in this environment"
            ) from error
        finally:
            sys.path.remove(DEBIAN)
    return libvirt


class LibvirtConnection:
    """A connection to one libvirt, with its events."""

    def __init__(self, uri: str) -> None:
        self._libvirt = load_libvirt()
        self._changed = False
        self._is_closed = False
        self._uri = uri
        prepare_loop(self._libvirt)
        with self._translated():
            self._connection = self._libvirt.openReadOnly(uri)
            self._connection.registerCloseCallback(self._on_close, None)
            self._keep_alive()
            for event in self._events():
                self._connection.domainEventRegisterAny(
                    None, event, self._on_event, None
                )

    def __repr__(self) -> str:
        return f"<LibvirtConnection {self._uri}>"

    def domains(self) -> Iterator[tuple[str, str]]:
        """One that stops meanwhile is left out."""
        with self._translated():
            flags = self._libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
            for domain in self._connection.listAllDomains(flags):
                try:
                    text = domain.XMLDesc(0)
                except self._libvirt.libvirtError as error:
                    if error.get_error_code() == _NO_DOMAIN:
                        continue
                    raise
                yield domain.UUIDString(), text

    def wait(self, seconds: float) -> bool:
        """Events that came while nobody waited count as well."""
        is_over: list[bool] = []
        with self._translated():
            timer = self._libvirt.virEventAddTimeout(
                int(seconds * 1000), lambda *_: is_over.append(True), None
            )
            try:
                while not (is_over or self._changed or self._is_closed):
                    self._libvirt.virEventRunDefaultImpl()
            finally:
                self._libvirt.virEventRemoveTimeout(timer)
        if self._is_closed:
            raise HypervisorError(f"{self._uri}: the connection ended")
        changed, self._changed = self._changed, False
        return changed

    def close(self) -> None:
        """libvirt itself drops what was registered."""
        try:
            self._connection.close()
        except self._libvirt.libvirtError:
            return

    def _keep_alive(self) -> None:
        try:
            self._connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVES)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != _NO_SUPPORT:  # a driver without a server
                raise

    def _events(self) -> tuple[int, ...]:
        return (
            self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            self._libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            self._libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            self._libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
        )

    def _on_event(self, *_: object) -> None:
        self._changed = True

    def _on_close(self, *_: object) -> None:
        self._is_closed = True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._libvirt.libvirtError as error:
            raise HypervisorError(f"{self._uri}: {error}") from error


_prepared: list[bool] = []


def prepare_loop(libvirt: Any) -> None:
    """Make libvirt's event loop, once in a process and before the first connection, and
    keep libvirt from writing errors to standard error by itself.
    """
    if not _prepared:
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        _prepared.append(True)
