"""HTTP calls of vagentctl: one request, one bounded reply, one deadline.

Plain `http.client`: no reactor, no proxy from the environment, no redirect. What went
wrong is an exit code of its own (sysexits). Knows no command.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vagent.errors import VagentError

FAILED, USAGE, UNAVAILABLE, NO_PERMISSION, BAD_CONFIG = 1, 2, 69, 77, 78
"""Exit codes beside 0: `docs` and sysexits(3)."""

TIMEOUT = 10.0
"""Seconds for a whole call: the agent's own deadline for the kernel is 5."""
MAX_REPLY = 64 * 1024 * 1024
"""Bytes: the list of 16,000 ports is about 10 MiB."""
PIECE = 64 * 1024


class CommandError(VagentError):
    """The command cannot do what it was asked; `code` is its exit code, and `status`
    what a server answered, 0 if none did.
    """

    def __init__(self, message: str, *, code: int = FAILED, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Address:
    """Where one of the agent's servers listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_url(text: str) -> Address:
    """`http://host:port`, nothing after it. Raises CommandError (usage)."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    plain = (
        host is not None
        and port is not None
        and parts.scheme == "http"
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment or parts.username)
        and text.isascii()
        and text.isprintable()
    )
    if not plain or host is None or port is None:
        raise CommandError(f"{text!r} is not http://HOST:PORT", code=USAGE)
    return Address(host, port)


class ApiClient:
    """Calls one server. `clock` is a monotonic time in seconds."""

    def __init__(
        self,
        what: str,
        address: Address,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._what = what
        self._address = address
        self._clock = clock
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<ApiClient {self._what} {self._address}>"

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of a 2xx reply; `body` is sent as JSON. Raises CommandError."""
        connection = http.client.HTTPConnection(
            self._address.host, self._address.port, timeout=self._timeout
        )
        text = None if body is None else json.dumps(body).encode()
        headers = {} if text is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body=text, headers=headers)
            reply = connection.getresponse()
            content = self._read(reply)
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(error) from error
        finally:
            connection.close()
        if not 200 <= reply.status < 300:
            raise self._refused(method, path, reply.status, content)
        return content

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """As `call`, and the reply as JSON."""
        content = self.call(method, path, body)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CommandError(
                f"{self._what} at {self._address}: the reply is not JSON"
            ) from error

    def _read(self, reply: http.client.HTTPResponse) -> bytes:
        end = self._clock() + self._timeout
        pieces: list[bytes] = []
        size = 0
        while piece := reply.read1(PIECE):
            size += len(piece)
            if size > MAX_REPLY:
                raise CommandError(
                    f"{self._what} at {self._address}: the reply is over "
                    f"{MAX_REPLY} bytes"
                )
            if self._clock() > end:
                raise TimeoutError("timed out")
            pieces.append(piece)
        return b"".join(pieces)

    def _unavailable(self, error: Exception) -> CommandError:
        why = str(error) or type(error).__name__
        if isinstance(error, ConnectionRefusedError):
            why = "nothing listens there; is vagent running?"
        elif isinstance(error, TimeoutError):
            why = f"no answer within {self._timeout:g} s"
        elif isinstance(error, socket.gaierror):
            why = "no such host"
        return CommandError(f"{self._what} at {self._address}: {why}", code=UNAVAILABLE)

    def _refused(
        self, method: str, path: str, status: int, content: bytes
    ) -> CommandError:
        code = NO_PERMISSION if status in (401, 403) else FAILED
        return CommandError(
            f"{self._what} at {self._address}: {method} {path}: "
            f"{status}: {error_text(content)}",
            code=code,
            status=status,
        )


def error_text(content: bytes) -> str:
    """What an error reply says: its JSON `error` without braces, or its first line."""
    text = content[:PIECE].decode("utf-8", "replace").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text.partition("\n")[0][:500]
    said = value.get("error") if isinstance(value, dict) else value
    said = said if isinstance(said, str) else json.dumps(said)
    if said.startswith("{") and said.endswith("}"):
        said = said[1:-1].strip()
    return said[:500]
