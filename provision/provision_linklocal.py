"""Contrail's provision_linklocal.py: same flags, same calls, same output.

It creates the object with the services; if that exists, it reads the list, replaces the
entries of the same name and writes the list back. If the server has ETags, as ours
does, no change of somebody else's in between is lost. It needs neither Twisted nor any
third-party package, and runs straight from a checkout, too.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: make the checkout importable
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from provision.script.keystone import SETTINGS_FILE, Keystone
from provision.script.objects import ConfigObjects
from provision.script.options import Options, read_options
from provision.script.refusals import (
    RefusedChangeError,
    check_addition,
    check_deletion,
)
from vagent.console import quiet_when_unread
from vagent.errors import VagentError, WireError
from vagent.linklocal.codec import FQ_NAME, KIND, PROPERTY, raw_entries
from vagent.web.json_client import (
    BROKEN,
    NEVER_ANSWERED,
    TIMEOUT,
    ApiError,
    JsonClient,
)
from vagent.web.token import bearer, given_token

MAX_ATTEMPTS = 8
"""Times that the list is read and written; each repetition means that somebody else
wrote in between."""
_PARENT_TYPE = "global-system-config"

Entries = list[Any]


@quiet_when_unread
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit code (see --help)."""
    try:
        options = read_options(sys.argv[1:] if argv is None else argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    try:
        objects = ConfigObjects(_client(options))
        run(options, objects, _say)
        if objects.not_in_force:
            _complain(f"warning: not in force: {objects.not_in_force}")
    except VagentError as error:
        _complain(str(error))
        return exit_code(error)
    return os.EX_OK


def run(options: Options, objects: ConfigObjects, say: Callable[[str], object]) -> None:
    """Add or delete. Raises ApiError when the API refuses or does not answer, and
    RefusedChangeError for what should not be done without `force`.
    """
    if options.delete:
        _delete(options, objects, say)
    else:
        _add(options, objects, say)


def _delete(
    options: Options, objects: ConfigObjects, say: Callable[[str], object]
) -> None:
    name = options.entry["linklocal_service_name"]

    def change(entries: Entries) -> Entries:
        if not options.force:
            check_deletion(entries, name)
        return without_entry(entries, name)

    reply = _change(objects, change)
    if reply is None and not options.force:
        check_deletion((), name)
    say(
        "Nothing to delete: no services exist." if reply is None else f"Updated.{reply}"
    )


def _add(
    options: Options, objects: ConfigObjects, say: Callable[[str], object]
) -> None:
    def change(entries: Entries) -> Entries:
        if not options.force:
            check_addition(entries, options.entry)
        return with_entry(entries, options.entry)

    if not options.force:
        _check_first(objects, options.entry)
    try:
        uuid = objects.create(KIND, {"uuid": None, **_properties([options.entry])})
        say(f"Created.UUID is {uuid}")
        return
    except ApiError as error:
        if error.status != 409:
            raise
    say("Already created! Updating the object.")
    reply = _change(objects, change)
    if reply is None:
        raise ApiError(f"{objects}: the object has vanished", status=404)
    say(f"Updated.{reply}")


def _check_first(objects: ConfigObjects, entry: dict[str, Any]) -> None:
    """Raise RefusedChangeError for an entry that should not be sent, whatever there is;
    the list is read then, as its entries say what would become of them.
    """
    try:
        check_addition((), entry)
    except RefusedChangeError:
        uuid = objects.fq_name_to_id(KIND, FQ_NAME)
        check_addition(() if uuid is None else _read(objects, uuid)[0], entry)


def with_entry(entries: Entries, entry: dict[str, Any]) -> Entries:
    """The list with `entry` in place of every one of its name, or at the end."""
    name = entry["linklocal_service_name"]
    if not any(_has_name(known, name) for known in entries):
        return [*entries, entry]
    return [entry if _has_name(known, name) else known for known in entries]


def without_entry(entries: Entries, name: str) -> Entries:
    """The list without the entries of that name; case counts, as in Contrail."""
    return [known for known in entries if not _has_name(known, name)]


def exit_code(error: VagentError) -> int:
    """The exit code: 69 if the API does not answer, 77 if it refuses us, else 1."""
    status = error.status if isinstance(error, ApiError) else None
    if status in (NEVER_ANSWERED, 502, 503, 504):
        return os.EX_UNAVAILABLE
    if status in (401, 403):
        return os.EX_NOPERM
    return 1


def _change(objects: ConfigObjects, change: Callable[[Entries], Entries]) -> str | None:
    """Read the list, change it and write it; repeat if somebody else wrote in between.
    Returns the reply's text, None if there is no object.
    """
    for _ in range(MAX_ATTEMPTS):
        uuid = objects.fq_name_to_id(KIND, FQ_NAME)
        if uuid is None:
            return None
        entries, etag = _read(objects, uuid)
        value = {"uuid": uuid, **_properties(change(entries))}
        try:
            return objects.update(KIND, uuid, value, etag=etag)
        except ApiError as error:
            if not (etag and error.status == 412):
                raise
    raise ApiError(f"{objects}: {MAX_ATTEMPTS} changes came between", status=412)


def _read(objects: ConfigObjects, uuid: str) -> tuple[Entries, str]:
    """The list, and its ETag."""
    found, etag = objects.read(KIND, uuid)
    try:
        return raw_entries(found.get(PROPERTY)), etag
    except WireError as error:
        raise ApiError(f"{objects}: {error}", status=BROKEN) from error


def _properties(entries: Entries) -> dict[str, Any]:
    return {
        "fq_name": list(FQ_NAME),
        "parent_type": _PARENT_TYPE,
        PROPERTY: {"linklocal_service_entry": entries},
    }


def _has_name(entry: object, name: str) -> bool:
    return isinstance(entry, dict) and entry.get("linklocal_service_name") == name


def _client(options: Options) -> JsonClient:
    """The client, with the headers of vnc_api 2005."""
    credentials = options.credentials
    headers = {
        "Content-type": 'application/json; charset="UTF-8"',
        "X-Contrail-Useragent": f"{socket.gethostname()}:{sys.argv[0]}",
        "X-Tenant-Name": credentials.tenant,
        **bearer(given_token(options.token_file) or b""),
    }
    if options.basic_auth:
        pair = f"{credentials.user}:{credentials.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return JsonClient(options.api, headers=headers)

    def authenticate() -> str:
        keystone = Keystone.of_file(SETTINGS_FILE)
        if not keystone.enabled:
            raise ApiError(f"{SETTINGS_FILE}: noauth, but the API says 401", status=401)
        return keystone.authenticate(credentials, timeout=TIMEOUT)

    return JsonClient(options.api, authenticate=authenticate, headers=headers)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _complain(line: str) -> None:
    sys.stderr.write(f"provision_linklocal.py: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
