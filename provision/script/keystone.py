"""Gets a token from OpenStack's Keystone, v3 or v2.0, when the API answers 401.

Where Keystone is comes from vnc_api_lib.ini, as for vnc_api; without that file it is
port 35357 of this host, and v3 is tried first. Unlike in vnc_api nothing is asked
before it is needed, and every call has a timeout.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vagent.errors import VagentError
from vagent.web.json_client import (
    NEVER_ANSWERED,
    ApiAddress,
    ApiError,
    ApiReply,
    exchange,
)

SETTINGS_FILE = Path("/etc/contrail/vnc_api_lib.ini")
_HERE = ApiAddress("127.0.0.1", 35357)
V3, V2 = "/v3/auth/tokens", "/v2.0/tokens"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The account to authenticate. The password never shows."""

    user: str
    password: str = field(repr=False)
    tenant: str


@dataclass(frozen=True, slots=True)
class Keystone:
    """Where Keystone is. Without `path`, v3 and then v2.0 are tried. `enabled` is false
    for `noauth`.
    """

    address: ApiAddress = _HERE
    path: str = ""
    domain: str = "default"
    enabled: bool = True

    @classmethod
    def of_file(cls, path: Path) -> Keystone:
        """The `[auth]` section of vnc_api_lib.ini; defaults if the file is absent.

        Raises VagentError for a file that cannot be used.
        """
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
            auth = parser["auth"] if parser.has_section("auth") else {}
            address = ApiAddress(
                auth.get("authn_server", "127.0.0.1"),
                int(auth.get("authn_port", "35357")),
                tls=auth.get("authn_protocol", "http") == "https",
            )
        except (OSError, ValueError) as error:
            raise VagentError(f"{path}: [auth]: {error}") from error
        except IniError as error:  # its text repeats lines
            raise VagentError(f"{path}: {type(error).__name__}") from error
        return cls(
            address,
            path=auth.get("authn_url", ""),
            domain=auth.get("authn_domain", "default"),
            enabled=auth.get("authn_type", "keystone") != "noauth",
        )

    def authenticate(self, credentials: Credentials, *, timeout: float) -> str:
        """A token. Raises ApiError: 401 if refused, NEVER_ANSWERED if unreachable."""
        if self.path:
            return self._token(self.path, credentials, timeout)
        try:
            return self._token(V3, credentials, timeout)
        except ApiError as error:
            if error.status == NEVER_ANSWERED:
                raise
        return self._token(V2, credentials, timeout)

    def _token(self, path: str, credentials: Credentials, timeout: float) -> str:
        is_v3 = "/v3" in path
        body = _v3_body(credentials, self.domain) if is_v3 else _v2_body(credentials)
        where = f"{self.address}: POST {path}"
        reply = exchange(
            self.address,
            "POST",
            path,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            where=where,
            timeout=timeout,
        )
        if reply.status not in (200, 201):
            raise ApiError(
                f"{where}: {reply.status}: no token for user {credentials.user!r} "
                f"in project {credentials.tenant!r}",
                status=401,
            )
        token = _TOKEN[is_v3](reply, where)
        if not token:
            raise ApiError(f"{where}: no token in the reply", status=401)
        return token


def _v3_body(credentials: Credentials, domain: str) -> dict[str, Any]:
    user = {
        "name": credentials.user,
        "domain": {"name": domain},
        "password": credentials.password,
    }
    project = {"domain": {"name": domain}, "name": credentials.tenant}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
    }


def _v2_body(credentials: Credentials) -> dict[str, Any]:
    password = {"username": credentials.user, "password": credentials.password}
    return {"auth": {"passwordCredentials": password, "tenantName": credentials.tenant}}


def _v3_token(reply: ApiReply, _where: str) -> str:
    return reply.headers.get("x-subject-token", "")


def _v2_token(reply: ApiReply, where: str) -> str:
    try:
        return str(reply.json(where)["access"]["token"]["id"])
    except (KeyError, TypeError):
        return ""


_TOKEN: dict[bool, Callable[[ApiReply, str], str]] = {True: _v3_token, False: _v2_token}
