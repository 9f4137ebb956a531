"""Who may use an operator's site: root and members of a group by a Unix socket, and
over TCP whom its `<access>` lets in.
"""

from __future__ import annotations

import hmac
import socket
import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.address import UNIXAddress

from vagent.config.model import Access, AccessMode
from vagent.web.admission import Denial
from vagent.web.caller import GROUP, Operators, SiteCaller

SOCKET, TCP = "socket", "TCP"
_CREDENTIALS = struct.Struct("=iII")

End = tuple[IPv4Address | IPv6Address, int]
OwnerOf = Callable[[End, End], int | None]
"""The user who owns the TCP socket of this host with these ends, its own and its
peer's; None where there is none that is open."""


class Gate:
    """Tells who calls, and whether this caller may.

    The user at the other end of a loopback connection is asked for each time: a socket
    that was closed meanwhile, or handed on, is nobody's.
    """

    def __init__(
        self, access: Access, *, operators: Operators, owner_of: OwnerOf
    ) -> None:
        self._access = access
        self._operators = operators
        self._owner_of = owner_of

    def __repr__(self) -> str:
        return f"<Gate {self._access.mode.value}>"

    def caller(self, transport: Any) -> SiteCaller:
        """Who has the other end of this connection now."""
        peer = transport.getPeer()
        if isinstance(peer, UNIXAddress):
            return _socket_caller(transport.getHandle())
        here = transport.getHost()
        uid = None
        if ip_address(here.host).is_loopback:
            uid = self._owner_of(
                (ip_address(peer.host), peer.port), (ip_address(here.host), here.port)
            )
        return SiteCaller(TCP, uid, address=str(peer.host))

    def place(self, caller: SiteCaller) -> int | None:
        """Whose share of the site's connections this one takes: an operator's by user
        id, or None for all others together.
        """
        uid = caller.uid
        return uid if uid is not None and self._operators.has(uid) else None

    def denial(self, caller: SiteCaller, credentials: Sequence[str]) -> Denial | None:
        """None if the caller may use this site; `credentials` are the values of the
        Authorization header, one for each time that it stands in the request.
        """
        if caller.way == SOCKET:
            return self._user_denial(caller)
        match self._access.mode:
            case AccessMode.PEER_UID:
                return self._user_denial(caller)
            case AccessMode.TOKEN:
                return self._token_denial(credentials)
            case AccessMode.OPEN:
                return None

    def _user_denial(self, caller: SiteCaller) -> Denial | None:
        if caller.uid is None:
            return Denial(
                403,
                "user",
                "The user at the other end of this connection is not known: it is "
                "closed, or comes from elsewhere",
            )
        if self._operators.has(caller.uid):
            return None
        return Denial(
            403,
            "user",
            f"User {caller.uid} may not use this API; allowed: root and members of "
            f"the group {GROUP}",
        )

    def _token_denial(self, credentials: Sequence[str]) -> Denial | None:
        if len(credentials) == 1 and self._is_right(credentials[0]):
            return None
        what = "This API wants the header Authorization: Bearer, with its token"
        return Denial(401, "token", f"Wrong token. {what}" if credentials else what)

    def _is_right(self, credential: str) -> bool:
        scheme, _, token = credential.partition(" ")
        given = token.strip(" ").encode("latin-1", "replace")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given, self._access.token.value
        )


def _socket_caller(handle: socket.socket) -> SiteCaller:
    """The process that connected to a Unix socket (SO_PEERCRED in unix(7))."""
    packed = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(packed)
    return SiteCaller(SOCKET, uid, gid)
