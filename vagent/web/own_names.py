"""The host names by which operators may call this host."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any

from twisted.internet.interfaces import IDelayedCall

from vagent.config.host_names import canonical

RETRY = 60.0
"""Seconds until the FQDN is looked up again: at boot the name server may be away."""


def fqdn_of(host_name: str) -> str | None:
    """The fully qualified name, as `hostname --fqdn` finds it; None if it is not found.

    Blocks for as long as the system's resolver does.
    """
    try:
        found = socket.getaddrinfo(host_name, None, flags=socket.AI_CANONNAME)
    except OSError:
        return None
    return found[0][3]


def in_daemon_thread(work: Callable[[], None]) -> None:
    """Run it in a thread for which a process that ends does not wait: the system's
    resolver can take half a minute.
    """
    Thread(target=work, name="vagent-own-name", daemon=True).start()


class OwnNames:
    """The host names by which this host may be called, to be asked with `in`, in
    canonical spelling: localhost, its own name (complete, and its first label), its
    FQDN once `start` has looked it up, and `further` names.
    """

    def __init__(
        self,
        further: Iterable[str] = (),
        *,
        reactor: Any,
        host_name: str,
        look_up: Callable[[str], str | None] = fqdn_of,
        run: Callable[[Callable[[], None]], None] = in_daemon_thread,
    ) -> None:
        first_label = host_name.partition(".")[0]
        known = ("localhost", host_name, first_label, *further)
        self._names = {canonical(name) for name in known if name}
        self._host_name = host_name
        self._reactor = reactor
        self._look_up = look_up
        self._run = run
        self._retry: IDelayedCall | None = None
        self._stopped = False

    def __repr__(self) -> str:
        return f"<OwnNames {' '.join(sorted(self._names))}>"

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def start(self) -> None:
        """Look the FQDN up, and again every RETRY seconds until it is found."""
        self._retry = None
        self._run(self._find)

    def stop(self) -> None:
        """Look nothing up any more."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _find(self) -> None:
        name = self._look_up(self._host_name)
        self._reactor.callFromThread(self._found, name)

    def _found(self, name: str | None) -> None:
        if name is not None:
            self._names.add(canonical(name))
        elif not self._stopped:
            self._retry = self._reactor.callLater(RETRY, self.start)
