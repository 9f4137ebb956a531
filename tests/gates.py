"""Gates for tests of what is behind them."""

from __future__ import annotations

from vagent.config.model import Access, AccessMode
from vagent.kernel.sock_diag import socket_owner
from vagent.web.caller import Operators
from vagent.web.gate import Gate


def open_gate() -> Gate:
    """Lets everybody in, over a transport in memory too, and takes them for root."""
    return _Root(
        Access(AccessMode.OPEN),
        operators=Operators(),
        owner_of=lambda _here, _there: None,
    )


def real_gate() -> Gate:
    """What an agent has by default: root and members of the group, over loopback."""
    return Gate(Access(), operators=Operators(), owner_of=socket_owner)


class _Root(Gate):
    """Gives everybody a place as root has it."""

    def place(self, caller: object) -> int | None:
        return 0
