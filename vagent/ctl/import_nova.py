"""`vagentctl instance import`: instances of a Nova, from rows of its databases."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vagent.ctl.failure import FAILED, USAGE, CommandError
from vagent.ctl.nova_import.document import document_of
from vagent.ctl.nova_import.rows import GROUPS_SQL, read_rows, statements
from vagent.ctl.parser import Group
from vagent.ctl.session import Session, uuid_argument
from vagent.ctl.table import as_json
from vagent.errors import VagentError
from vagent.web.json_client import NEVER_ANSWERED, ApiError

MAX_ROWS = 256 * 1024 * 1024
"""Characters of rows: 10,000 instances of 20 KiB."""
COLUMNS = {"uuid": "uuid", "name": "name", "tenant": "tenant_id"}


def register(instance: Group) -> None:
    """Add the command to the group."""
    about = "create or replace instances as a Nova has them, from rows of its databases"
    command = instance.command("import", import_instances, about)
    about = "rows as --sql makes a database print them; - is stdin"
    command.add_argument("file", nargs="?", metavar="FILE", help=about)
    about = "only these instances"
    command.add_argument("uuids", nargs="*", metavar="UUID", help=about)
    about = "print the statements for the database of a cell"
    command.add_argument("--sql", action="store_true", help=about)
    about = "print the statement for Neutron's database, which has the security groups"
    command.add_argument("--groups-sql", action="store_true", help=about)
    about = "Nova's [api] dhcp_domain (default: novalocal)"
    command.add_argument("--domain", metavar="NAME", help=about)
    about = "print the documents, and change nothing"
    command.add_argument("--print", action="store_true", help=about)


def import_instances(session: Session, args: Namespace) -> None:
    """Each instance is created or replaced; one that is refused is named at the end."""
    if args.sql or args.groups_sql:
        session.stdout.write(GROUPS_SQL if args.groups_sql else statements())
        return
    if args.file is None:
        raise CommandError("which FILE? --sql prints how to make one", code=USAGE)
    documents = _documents(session, args)
    if args.print:
        session.stdout.write(as_json(documents))
        return
    taken, refused = [], []
    for document in documents:
        try:
            path = f"/vagent/instance/{document['uuid']}"
            session.config_api.call("PUT", path, document)
        except ApiError as error:
            if error.status in (NEVER_ANSWERED, 401, 403):
                raise
            refused.append(str(error))
        else:
            taken.append(document)
    session.show_table(taken, COLUMNS)
    if refused:
        raise CommandError("\n".join(refused), code=FAILED)


def _documents(session: Session, args: Namespace) -> list[dict[str, Any]]:
    lines = session.read_input(args.file, most=MAX_ROWS).split("\n")
    try:
        found = read_rows(lines, args.file)
        wanted = [uuid_argument(text) for text in args.uuids] or list(found)
        missing = [uuid for uuid in wanted if uuid not in found]
        if missing:
            raise CommandError(f"{args.file}: no rows of {', '.join(missing)}")
        domain = {} if args.domain is None else {"domain": args.domain}
        documents = []
        for uuid in wanted:
            document, losses = document_of(found[uuid])
            documents.append(document | domain)
            for loss in losses:
                session.say(f"{uuid}: {loss}")
    except CommandError:
        raise
    except VagentError as error:
        raise CommandError(str(error)) from error
    return documents
