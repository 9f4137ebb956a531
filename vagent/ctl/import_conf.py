"""`vagentctl import-conf`: contrail-vrouter-agent.conf to agent.conf."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vagent.ctl.failure import BAD_CONFIG, CommandError
from vagent.ctl.parser import add_command
from vagent.ctl.session import Session
from vagent.errors import ConfigError


def register(groups: Any) -> None:
    """Add the command to the parser."""
    command = add_command(
        groups,
        "import-conf",
        import_file,
        "turn contrail-vrouter-agent.conf into agent.conf, on standard output",
    )
    command.add_argument("file", metavar="FILE", help="the INI file; - is stdin")


def import_file(session: Session, args: Namespace) -> None:
    """XML to stdout; what was left out or changed, and why, to stderr."""
    # Imported late: lxml is slow to load.
    from vagent.config.import_conf import import_conf

    try:
        xml, notes = import_conf(session.read_input(args.file))
    except ConfigError as error:
        raise CommandError(str(error), code=BAD_CONFIG) from error
    if session.output == "json":
        session.show_record({"agent.conf": xml, "notes": list(notes)})
        return
    session.stdout.write(xml if xml.endswith("\n") else xml + "\n")
    for note in notes:
        session.say(f"note: {note}")
