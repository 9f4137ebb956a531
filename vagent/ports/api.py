"""What each call of the port REST API does: method, path and body in, reply out.

Routes and texts are Contrail's (`port_ipc/rest_server.cc`), with two deviations: an
array that is refused is an error (Contrail answers 200), and so is a port whose file
cannot be written or removed. `GET /ports` is our own addition, and so is the body of
a `DELETE`: with `{"owner": "watcher"}` it removes only what the watcher made. Nothing
here knows sockets, or of HTTP more than the status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from vagent.errors import VagentError
from vagent.ports.codec import (
    REMOTE_PORT,
    decode_owner,
    decode_ports,
    describe,
    pretty,
)
from vagent.ports.members import UUID
from vagent.ports.port import Port, Registration
from vagent.ports.registrar import Registrar

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a body: some 8,000 ports in one array, at about 500 bytes each."""
PART = 256
"""Ports that `GET /ports` encodes before it lets the reactor do other work: under 5 ms.
"""
ROUTE = re.compile(
    rf"(?P<verb>[A-Z]+ /(?:port|ports|syncports|enable-port|disable-port))"
    rf"(?:/(?P<id>{UUID.pattern}))?"
)
AUTHOR = "vagent"

StateOf = Callable[[Registration], str]
"""A port's state in Contrail's words: `Active`, `Inactive < no-dev >`."""


@dataclass(frozen=True, slots=True)
class PortApiReply:
    """What a call is answered. `parts` are the rest of a body too long to be made at
    once; `error` is the text of an error, "" for success.
    """

    status: int
    body: bytes
    parts: Iterator[bytes] = field(default_factory=lambda: iter(()))
    error: str = ""


RefusalsOf = Callable[[str], Sequence[Mapping[str, object]]]
"""What was refused at the tap of a port, by its UUID, the latest first."""


def no_refusals(_port_id: str) -> Sequence[Mapping[str, object]]:
    """Nothing: for an agent without a data path."""
    return ()


def failed(status: int, message: str) -> PortApiReply:
    """An error in Contrail's form: `{"error":"…"}`, without blanks."""
    body = json.dumps({"error": message}, separators=(",", ":")).encode()
    return PortApiReply(status, body, error=message)


DONE = PortApiReply(200, b"{}")
UNKNOWN = failed(404, "Unknown Request")


def state_of_registration(registration: Registration) -> str:
    """A port's state as far as the registry knows it, which knows no taps."""
    port = registration.port
    if port.address is None and port.address6 is None:
        return "Inactive < no-address >"
    return "Registered"


class PortApi:
    """Answers the calls. `now` gives seconds since the epoch, for ports whose client
    did not say when they were made.
    """

    def __init__(
        self,
        registrar: Registrar,
        *,
        now: Callable[[], float],
        state_of: StateOf = state_of_registration,
        refusals_of: RefusalsOf = no_refusals,
    ) -> None:
        self._registrar = registrar
        self._registry = registrar.registry
        self._now = now
        self._state_of = state_of
        self._refusals_of = refusals_of

    async def call(self, method: str, path: str, body: bytes) -> PortApiReply:
        """The reply to one call; an error of ours becomes a reply, too."""
        route = ROUTE.fullmatch(f"{method} {path}")
        if route is None:
            return UNKNOWN
        match route["verb"], route["id"]:
            case "POST /port", None:
                return await self._add(body)
            case "GET /port", str(port_id):
                return self._show(port_id)
            case "DELETE /port", str(port_id):
                return await self._remove(port_id, body)
            case "GET /ports", None:
                return self._list()
            case "PUT /enable-port", str(port_id):
                return await self._set_link(port_id, up=True)
            case "PUT /disable-port", str(port_id):
                return await self._set_link(port_id, up=False)
            case "POST /syncports", None:
                self._registrar.sync()
                return DONE
        return UNKNOWN

    async def _add(self, body: bytes) -> PortApiReply:
        try:
            await self._registrar.add([self._stamp(p) for p in decode_ports(body)])
        except VagentError as error:
            return failed(500, f"{{ {error} }}")
        return DONE

    async def _remove(self, port_id: str, body: bytes) -> PortApiReply:
        try:
            await self._registrar.remove([port_id], owner=decode_owner(body))
        except VagentError as error:
            return failed(500, f"{{ {error} }}")
        return DONE

    def _show(self, port_id: str) -> PortApiReply:
        found = self._registry.get(port_id)
        if found is None:
            return failed(404, "{ Not Found }")
        refused = self._refusals_of(port_id)
        members = describe(found, state=self._state_of(found))
        more = {"refused": refused} if refused else {}
        return PortApiReply(200, pretty(members | more))

    def _list(self) -> PortApiReply:
        registrations = self._registry.registrations()
        if not registrations:
            return PortApiReply(200, b"[]")
        return PortApiReply(200, b"[\n", self._parts(registrations))

    def _parts(self, registrations: tuple[Registration, ...]) -> Iterator[bytes]:
        for start in range(0, len(registrations), PART):
            part = registrations[start : start + PART]
            lines = ",\n".join(
                json.dumps(describe(r, state=self._state_of(r))) for r in part
            )
            last = start + PART >= len(registrations)
            yield (lines + ("\n]" if last else ",\n")).encode()

    async def _set_link(self, port_id: str, *, up: bool) -> PortApiReply:
        try:
            found = await self._registrar.set_link(port_id, up=up, kind=REMOTE_PORT)
        except VagentError as error:
            return failed(500, f"{{{error}}}")
        return DONE if found else failed(500, f"{{Port Not found {port_id}}}")

    def _stamp(self, port: Port) -> Port:
        now = datetime.fromtimestamp(self._now()).astimezone()
        return replace(
            port, author=port.author or AUTHOR, time=port.time or now.isoformat(" ")
        )
