"""`vagentctl instance`: instances of the embedded metadata server."""

from __future__ import annotations

import base64
import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vagent.ctl import import_nova
from vagent.ctl.config_drive import image_of, write_image
from vagent.ctl.failure import FAILED, CommandError, exit_code
from vagent.ctl.parser import Group
from vagent.ctl.passwords import decrypted, private_key
from vagent.ctl.session import Session, objects_of, uuid_argument
from vagent.web.json_client import ApiError

INSTANCE_COLUMNS = {"uuid": "uuid", "name": "name", "tenant": "tenant_id"}
LIST_COLUMNS = {**INSTANCE_COLUMNS, "failed targets": "failed_targets"}
FILE_COLUMNS = {"file": "file", "problem": "problem"}
TARGET_COLUMNS = {
    "target": "target",
    "state": "state",
    "since": "since",
    "detail": "detail",
}


def register(groups: Any) -> None:
    """Add the group to the parser."""
    instance = Group(groups, "instance", "instances of the embedded metadata server")
    add = instance.command("add", add_instances, "create or replace instances")
    about = "JSON object with a uuid, or an array of them; - is stdin"
    add.add_argument("file", metavar="FILE", help=about)
    delete = instance.command(
        "del", delete_instances, "remove instances", aliases=["delete"]
    )
    delete.add_argument("uuids", nargs="+", metavar="UUID")
    instance.command("list", list_instances, "all instances")
    show = instance.command("show", show_instance, "one instance, every member")
    show.add_argument("uuid", metavar="UUID")
    about = "which targets of vendor data answered for an instance, and which failed"
    vendor_data = instance.command("vendordata", show_vendor_data, about)
    vendor_data.add_argument("uuid", metavar="UUID")
    about = "forget what they said: the guest's next request asks them again"
    vendor_data.add_argument("--forget", action="store_true", help=about)
    about = "the password that the guest posted, as it posted it"
    password = instance.command("password", show_password, about)
    password.add_argument("uuid", metavar="UUID")
    then = password.add_mutually_exclusive_group()
    about = "delete it, so that the guest may post another"
    then.add_argument("--clear", action="store_true", help=about)
    about = "decrypt it with this RSA private key (PEM or OpenSSH), which stays here"
    then.add_argument("--decrypt", metavar="KEYFILE", help=about)
    about = "write a config drive of an instance: an ISO 9660 image labelled config-2"
    drive = instance.command("config-drive", write_drive, about)
    drive.add_argument("uuid", metavar="UUID")
    drive.add_argument("file", metavar="FILE")
    about = "certificates (with -o json: keys) that check guests' identity documents"
    instance.command("identity-keys", show_identity_keys, about)
    import_nova.register(instance)


def add_instances(session: Session, args: Namespace) -> None:
    """Create or replace instances, one by one. Stops at the first that is refused, and
    says which, what is stored and what is not.
    """
    text = session.read_input(args.file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{args.file}: not JSON: {error}") from error
    documents = value if isinstance(value, list) else [value]
    by_uuid = _by_uuid(args.file, documents)
    for number, (uuid, document) in enumerate(by_uuid.items()):
        try:
            session.config_api.call("PUT", f"/vagent/instance/{uuid}", document)
        except ApiError as error:
            if len(by_uuid) == 1:
                raise
            stored = ", ".join(list(by_uuid)[:number]) or "none"
            raise CommandError(
                f"{error}\nstored: {stored}; not known to be stored: the other"
                f" {len(by_uuid) - number} of {len(by_uuid)}. Then add all again",
                code=exit_code(error),
            ) from error
    session.show_table(documents, INSTANCE_COLUMNS)


def _by_uuid(where: str, documents: list[Any]) -> dict[str, dict[str, Any]]:
    """The documents by their UUIDs, before any is stored. Raises CommandError."""
    found: dict[str, dict[str, Any]] = {}
    for number, document in enumerate(documents):
        if not isinstance(document, dict) or not isinstance(document.get("uuid"), str):
            raise CommandError(f"{where}: instance {number}: no uuid")
        uuid = uuid_argument(document["uuid"])
        if uuid in found:
            raise CommandError(
                f"{where}: instance {number}: {uuid} is there twice; one is allowed"
            )
        found[uuid] = document
    return found


def delete_instances(session: Session, args: Namespace) -> None:
    """Remove instances. Those that do not exist are named at the end."""
    missing = []
    for uuid in [uuid_argument(text) for text in args.uuids]:
        try:
            session.config_api.call("DELETE", f"/vagent/instance/{uuid}")
        except ApiError as error:
            if error.status != 404:
                raise
            missing.append(uuid)
    if missing:
        raise CommandError(f"no such instance: {', '.join(missing)}", code=FAILED)


def list_instances(session: Session, _args: Namespace) -> None:
    """Show all instances, each document with its UUID."""
    reply = session.config_api.json("GET", "/vagent/instances")
    items = reply.get("instances", []) if isinstance(reply, Mapping) else reply
    rows = [_row(item) for item in objects_of(items)]
    with_files = FILE_COLUMNS if any("file" in row for row in rows) else {}
    session.show_table(rows, LIST_COLUMNS | with_files)


def show_instance(session: Session, args: Namespace) -> None:
    """Show one instance."""
    path = f"/vagent/instance/{uuid_argument(args.uuid)}"
    session.show_record(session.config_api.json("GET", path))


def show_vendor_data(session: Session, args: Namespace) -> None:
    """A line for each target; with --forget nothing but a remark."""
    uuid = uuid_argument(args.uuid)
    path = f"/vagent/instance/{uuid}/vendordata"
    if args.forget:
        session.config_api.call("DELETE", path)
        session.say(f"{uuid}: targets are asked again by the next request")
        return
    reply = session.config_api.json("GET", path)
    targets = reply.get("targets", []) if isinstance(reply, Mapping) else reply
    session.show_table(objects_of(targets), TARGET_COLUMNS)


def show_password(session: Session, args: Namespace) -> None:
    """Show, decrypt or delete the password of one guest."""
    uuid = uuid_argument(args.uuid)
    path = f"/vagent/instance/{uuid}/password"
    if args.clear:
        reply = session.config_api.json("DELETE", path)
        cleared = isinstance(reply, Mapping) and reply.get("cleared")
        said = "cleared; the guest may post another" if cleared else "there was none"
        session.say(f"{uuid}: {said}")
        return
    key = None if args.decrypt is None else private_key(session, args.decrypt)
    reply = session.config_api.json("GET", path)
    password = reply.get("password") if isinstance(reply, Mapping) else None
    if not isinstance(password, str):
        raise CommandError("the config API answered without a password")
    if not password:
        raise CommandError(f"{uuid}: the guest has posted no password", code=FAILED)
    if key is not None:
        password = decrypted(password, key)
    session.show_lines([password])


def write_drive(session: Session, args: Namespace) -> None:
    """Make the image of what the embedded server answers for this instance."""
    path = f"/vagent/instance/{uuid_argument(args.uuid)}/drive"
    reply = session.config_api.json("GET", path)
    files = reply.get("files") if isinstance(reply, Mapping) else None
    if not isinstance(files, dict):
        raise CommandError("the config API answered without files")
    content = {name: base64.b64decode(text) for name, text in files.items()}
    write_image(Path(args.file), image_of(content))


def show_identity_keys(session: Session, _args: Namespace) -> None:
    """The public keys of this host: PEM for openssl, in JSON a JSON Web Key Set."""
    reply = session.config_api.json("GET", "/vagent/identity-keys")
    if not isinstance(reply, dict) or not isinstance(reply.get("certificates"), str):
        raise CommandError("the config API answered without certificates")
    certificates = reply.pop("certificates")
    if session.output == "json":
        session.show_record(reply)
        return
    session.show_lines(certificates.splitlines())


def _row(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with its UUID, and with the targets that failed for it."""
    document = item.get("instance")
    if not isinstance(document, dict):
        return item
    row = {"uuid": item.get("uuid"), **document}
    if "failed_targets" in item:
        row["failed_targets"] = item["failed_targets"]
    return row
