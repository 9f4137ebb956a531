"""FreeIPA's client library as novajoin uses it, over a file in place of a server.

`install(FILE)` makes the modules that novajoin imports (ipalib, ipapython, gssapi). A
host's one-time password is `userpassword` in the file, as in IPA: each `host_mod`
replaces it, and the former one enrols nobody.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ERRORS = (
    *("NotFound", "DuplicateEntry", "ValidationError", "CCacheError", "TicketExpired"),
    *("KerberosError", "NetworkError", "DNSNotARecordError", "EmptyModlist"),
    *("MalformedServicePrincipal", "RealmMismatch", "InvocationError"),
)


class Commands:
    """`api.Command[name](…)`."""

    def __init__(self, file: Path, errors: Any) -> None:
        self._file = file
        self._errors = errors

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name, self._other)

    def host_mod(self, host: str, **values: Any) -> dict[str, Any]:
        known = self._read()
        if host not in known["hosts"]:
            raise self._errors.NotFound(host)
        known["hosts"][host] |= values
        known["calls"].append(["host_mod", host])
        self._file.write_text(json.dumps(known, default=str))
        return {"result": {}}

    def host_add(self, host: str, **values: Any) -> dict[str, Any]:
        known = self._read()
        if host in known["hosts"]:
            raise self._errors.DuplicateEntry(host)
        known["hosts"][host] = values
        known["calls"].append(["host_add", host])
        self._file.write_text(json.dumps(known, default=str))
        return {"result": {}}

    def _read(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self._file.read_text())
        return known

    def _other(self, *_args: Any, **_more: Any) -> dict[str, Any]:
        return {"result": {}, "results": [], "count": 0}


class Api(SimpleNamespace):
    """`ipalib.api`; novajoin logs its hash."""

    __hash__ = object.__hash__  # type: ignore[assignment]  # it has none


def install(file: Path) -> None:
    """Make the modules; what they know is in the file."""
    file.write_text(json.dumps({"hosts": {}, "calls": []}))
    public = type("PublicError", (Exception,), {})
    errors = SimpleNamespace(**{name: type(name, (public,), {}) for name in ERRORS})
    connection = SimpleNamespace(
        isconnected=lambda: True, connect=lambda: None, disconnect=lambda: None
    )
    done: set[str] = set()
    api = Api(
        Command=Commands(file, errors),
        Backend=SimpleNamespace(rpcclient=connection),
        env=SimpleNamespace(
            domain="example.test", realm="EXAMPLE.TEST", host="nova.example.test"
        ),
        isdone=done.__contains__,
        bootstrap=lambda **_: done.add("bootstrap"),
        finalize=lambda: done.add("finalize"),
    )
    _module("ipalib", api=api, errors=errors)
    _module("ipapython")
    _module("ipapython.ipautil", kinit_keytab=lambda *_, **__: None)
    _module("gssapi")
    _module("gssapi.exceptions", GSSError=type("GSSError", (Exception,), {}))


def _module(name: str, **content: Any) -> None:
    module = ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
