"""The client for our own APIs and Contrail's: one request, one bounded reply, one
deadline. Standard library only.

It makes a connection for each call, follows no redirects and uses no proxies from the
environment, because the API is on this host or next to it. After a 401 it authenticates
once and repeats the call, as vnc_api does, unless the server is one of ours, which
takes a token from a file.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vagent.errors import VagentError
from vagent.web.unix_socket import address_of

TIMEOUT = 10.0
"""Seconds for a whole call: the agent's own deadline for the kernel is 5."""
MAX_REPLY = 64 * 1024 * 1024
"""Bytes: the list of 16,000 ports is about 10 MiB."""
NEVER_ANSWERED = 0
"""The `status` of an ApiError without an answer: refused, timed out, or not HTTP."""
BROKEN = 502
"""The `status` of an ApiError for an answer that cannot be used (502 Bad Gateway)."""
_PIECE = 64 * 1024
_SHOWN = 500
"""Characters of an error reply that are shown."""


class ApiError(VagentError):
    """The API refused, or gave no answer that can be used. `status` is HTTP's,
    NEVER_ANSWERED, or BROKEN.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where an API listens. With `tls`, certificates are verified by the system's
    authorities (or those that SSL_CERT_FILE names).
    """

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """The Unix socket of an API on this host."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A server's reply; header names are in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def etag(self) -> str:
        """The revision to send as If-Match; "" where there is none (Contrail's)."""
        return self.headers.get("etag", "")

    def json(self, where: str) -> Any:
        """The document. Raises ApiError (BROKEN) if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            message = f"{where}: the reply is not JSON"
            raise ApiError(message, status=BROKEN) from error


class JsonClient:
    """Calls one API.

    `title` goes before the address in messages. `authenticate` gets a token when the
    server wants one. `headers` go with every call; without a Content-Type among them a
    body is `application/json`. `timeout` is in seconds, `clock` a monotonic time.
    """

    def __init__(
        self,
        address: ApiAddress | SocketAddress,
        *,
        title: str = "",
        authenticate: Callable[[], str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._title = title
        self._authenticate = authenticate
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._clock = clock

    def __repr__(self) -> str:
        return f"<JsonClient {self._name()}>"

    def send(
        self, method: str, path: str, value: object = None, *, etag: str = ""
    ) -> ApiReply:
        """One call with a JSON body, unless `value` is None. Raises ApiError for every
        status but 2xx.
        """
        body = b"" if value is None else json.dumps(value).encode()
        reply = self._ask(method, path, body, etag)
        wants_bearer = reply.headers.get("www-authenticate", "").startswith("Bearer")
        if reply.status == 401 and self._authenticate is not None and not wants_bearer:
            self._headers["X-AUTH-TOKEN"] = self._authenticate()
            self._authenticate = None
            reply = self._ask(method, path, body, etag)
        if not 200 <= reply.status < 300:
            text = f"{reply.status}: {error_text(reply.body)}"
            raise ApiError(f"{self._where(method, path)}: {text}", status=reply.status)
        return reply

    def call(self, method: str, path: str, value: object = None) -> bytes:
        """As `send`, giving the body."""
        return self.send(method, path, value).body

    def json(self, method: str, path: str, value: object = None) -> Any:
        """As `send`, giving the body as JSON."""
        return self.send(method, path, value).json(self._where(method, path))

    def _ask(self, method: str, path: str, body: bytes, etag: str) -> ApiReply:
        headers = dict(self._headers)
        if body and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        if etag:
            headers["If-Match"] = etag
        return exchange(
            self.address,
            method,
            path,
            body=body,
            headers=headers,
            where=self._where(method, path),
            timeout=self._timeout,
            clock=self._clock,
        )

    def _name(self) -> str:
        return f"{self._title} at {self.address}" if self._title else str(self.address)

    def _where(self, method: str, path: str) -> str:
        return f"{self._name()}: {method} {path.partition('?')[0]}"


def exchange(
    address: ApiAddress | SocketAddress,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str],
    where: str,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> ApiReply:
    """One HTTP call, whatever its status. `where` begins the messages.

    Raises ApiError: NEVER_ANSWERED if no whole reply came within `timeout` seconds,
    BROKEN if it is longer than MAX_REPLY.
    """
    end = clock() + timeout
    encoded = {name: value.encode() for name, value in headers.items()}
    connection = _connection(address, timeout)
    try:
        connection.request(method, path, body=body or None, headers=encoded)
        response = connection.getresponse()
        content = _read(response, where, lambda: clock() > end)
    except (OSError, http.client.HTTPException) as error:
        why = _why(error, timeout)
        raise ApiError(f"{where}: {why}", status=NEVER_ANSWERED) from error
    finally:
        connection.close()
    found = {name.lower(): value for name, value in response.getheaders()}
    return ApiReply(response.status, content, found)


def error_text(content: bytes) -> str:
    """What an error reply says, on one short line: its JSON `error` without Contrail's
    braces, or its text.
    """
    text = content[:_PIECE].decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    else:
        found = value.get("error") if isinstance(value, dict) else value
        said = found if isinstance(found, str) else json.dumps(found)
    said = " ".join("".join(c if c.isprintable() else " " for c in said).split())
    if said.startswith("{") and said.endswith("}"):
        said = said[1:-1].strip()
    return said[:_SHOWN]


class _SocketConnection(http.client.HTTPConnection):
    """A connection to a Unix socket; Host says localhost."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with address_of(self._path) as address:
            self.sock.connect(address)


def _connection(
    address: ApiAddress | SocketAddress, timeout: float
) -> http.client.HTTPConnection:
    if isinstance(address, SocketAddress):
        return _SocketConnection(address.path, timeout)
    if not address.tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(
        address.host, address.port, timeout=timeout, context=context
    )


def _read(
    response: http.client.HTTPResponse, where: str, is_late: Callable[[], bool]
) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > MAX_REPLY:
            message = f"{where}: the reply is longer than {MAX_REPLY} bytes"
            raise ApiError(message, status=BROKEN)
        if is_late():
            raise TimeoutError
        pieces.append(piece)
    if response.length:  # read1 does not say that the connection ended too early
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _why(error: Exception, timeout: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, PermissionError):
        return "permission denied: only root and members of its group may connect"
    if isinstance(error, socket.gaierror):
        return "no such host"
    return str(error) or type(error).__name__
