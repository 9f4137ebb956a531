"""A small client of Contrail's config API, ours or a real one. Standard library only.

One connection per call, a timeout on every wait, no redirects and no proxies: the API
is next door. A 401 is answered by authenticating once, as vnc_api does. Refuses to know
link-local services.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vagent.errors import VagentError

TIMEOUT = 10.0
"""Seconds for each wait; an API server answers in milliseconds or is in trouble."""
MAX_REPLY = 32 * 1024 * 1024
"""Bytes: a list of all instances of a host; more is a fault of the server."""
NEVER_ANSWERED = 0
"""The `status` of an ApiError without an answer: refused, timed out, no HTTP."""
_SHOWN = 500


class ApiError(VagentError):
    """The API refused or did not answer; `status` is HTTP's or NEVER_ANSWERED."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an API listens. With `tls`, certificates are verified by the system's CAs
    (or those that SSL_CERT_FILE names).
    """

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `etag` is "" where the server has none (Contrail's)."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def etag(self) -> str:
        """The revision to send as If-Match."""
        return self.headers.get("etag", "")

    def json(self, where: str) -> Any:
        """The document. Raises ApiError if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise ApiError(f"{where}: the answer is not JSON", status=502) from None


def exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str],
    timeout: float,
) -> Answer:
    """One HTTP call. Raises ApiError (NEVER_ANSWERED) if no whole answer came."""
    where = f"{endpoint}: {method} {path.partition('?')[0]}"
    encoded = {name: value.encode() for name, value in headers.items()}
    connection = _connection(endpoint, timeout)
    try:
        connection.request(method, path, body or None, encoded)
        response = connection.getresponse()
        content = response.read(MAX_REPLY + 1)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise ApiError(f"{where}: {why}", status=NEVER_ANSWERED) from error
    finally:
        connection.close()
    if len(content) > MAX_REPLY:
        raise ApiError(f"{where}: answer above {MAX_REPLY} bytes", status=502)
    found = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, content, found)


class ApiClient:
    """Calls one API server. `authenticate` gets a token when the server wants one.

    `headers` go with every call, e.g. `Authorization` for Contrail's admin port.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        authenticate: Callable[[], str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.endpoint = endpoint
        self._authenticate = authenticate
        self._headers = {
            "Content-type": 'application/json; charset="UTF-8"',
            **(headers or {}),
        }
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<ApiClient {self.endpoint}>"

    def call(
        self, method: str, path: str, value: object = None, *, etag: str = ""
    ) -> Answer:
        """One call with a JSON body. Raises ApiError for every status but 200–202."""
        body = b"" if value is None else json.dumps(value).encode()
        answer = self._send(method, path, body, etag)
        if answer.status == 401 and self._authenticate is not None:
            self._headers["X-AUTH-TOKEN"] = self._authenticate()
            self._authenticate = None
            answer = self._send(method, path, body, etag)
        if answer.status not in (200, 201, 202):
            text = answer.body[:_SHOWN].decode("utf-8", "replace").strip()
            shown = "".join(c if c.isprintable() else " " for c in text)
            raise ApiError(
                f"{self._where(method, path)}: {answer.status} {shown}",
                status=answer.status,
            )
        return answer

    def document(self, method: str, path: str, value: object = None) -> Any:
        """Like `call`, giving the JSON of the answer."""
        return self.call(method, path, value).json(self._where(method, path))

    def fq_name_to_id(self, kind: str, fq_name: Sequence[str]) -> str | None:
        """The UUID of an object, or None if there is none of that name."""
        body = {"type": kind, "fq_name": list(fq_name)}
        try:
            return str(
                self._member(self.document("POST", "/fqname-to-id", body), "uuid")
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def create(self, kind: str, value: dict[str, Any]) -> str:
        """Make an object and return its UUID. Raises ApiError (409) if it exists."""
        made = self.document("POST", f"/{kind}s", {kind: value})
        return str(self._member(self._member(made, kind), "uuid"))

    def read(self, kind: str, uuid: str) -> tuple[dict[str, Any], str]:
        """An object and its ETag."""
        path = f"/{kind}/{uuid}?exclude_back_refs=True&exclude_children=True"
        answer = self.call("GET", path)
        found = self._member(answer.json(self._where("GET", path)), kind)
        return dict(found), answer.etag

    def update(
        self, kind: str, uuid: str, value: dict[str, Any], *, etag: str = ""
    ) -> str:
        """Write properties of an object; the reply's text. ApiError 412 if `etag` is
        given and somebody else was faster.
        """
        answer = self.call("PUT", f"/{kind}/{uuid}", {kind: value}, etag=etag)
        return answer.body.decode("utf-8", "replace")

    def _send(self, method: str, path: str, body: bytes, etag: str) -> Answer:
        headers = {**self._headers, **({"If-Match": etag} if etag else {})}
        return exchange(
            self.endpoint,
            method,
            path,
            body=body,
            headers=headers,
            timeout=self._timeout,
        )

    def _where(self, method: str, path: str) -> str:
        return f"{self.endpoint}: {method} {path.partition('?')[0]}"

    def _member(self, document: object, key: str) -> Any:
        if isinstance(document, dict) and key in document:
            return document[key]
        raise ApiError(f"{self.endpoint}: no {key} in the answer", status=502)


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    if not endpoint.tls:
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
    return http.client.HTTPSConnection(
        endpoint.host,
        endpoint.port,
        timeout=timeout,
        context=ssl.create_default_context(),
    )
