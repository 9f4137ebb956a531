"""vagentctl, the operator's tool: command line, commands and exit codes, without
Twisted.

Each group of commands is a module with a function `register`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from vagent.console import quiet_when_unread
from vagent.ctl import (
    ask,
    data_path,
    doctor,
    explain,
    flows,
    import_conf,
    instances,
    introspect,
    ports,
    provision,
    status,
)
from vagent.ctl.failure import USAGE, CommandError, exit_code
from vagent.ctl.guests import commands as guests
from vagent.ctl.parser import shared_options
from vagent.ctl.session import Session
from vagent.ctl.table import printable
from vagent.errors import VagentError
from vagent.web.json_client import NEVER_ANSWERED, ApiError

GROUPS = (
    status,
    ports,
    provision,
    instances,
    guests,
    flows,
    introspect,
    data_path,
    doctor,
    explain,
    ask,
    import_conf,
)
URLS = ("port_api", "config_api", "introspect")
ABOUT = "Ask and tell a vagent that runs on this host."
EPILOG = """\
examples:
  vagentctl port add --instance 32d0524b-314d-4594-b3a3-607e3f2354f8 \\
      --tap tap1 --mac 02:00:00:00:00:01 --ip 10.0.0.5
  vagentctl port list
  vagentctl -o json port show 93c2c386-6e79-485e-bfa4-b9daa713133b
  vagentctl trace Metadata
  vagentctl instance add guest.json
  vagentctl import-conf /etc/contrail/contrail-vrouter-agent.conf > agent.conf

exit codes:
  0 done   1 failed   2 usage   69 the agent does not answer
  77 no permission   78 configuration is wrong
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="vagentctl",
        description=ABOUT,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared_options()],
        allow_abbrev=False,
    )
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        group.register(groups)
    return parser


@quiet_when_unread
def main(
    argv: Sequence[str] | None = None,
    *,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run one command and return its exit code. argparse itself exits, with 2 for wrong
    usage and 0 for help.
    """
    args = build_parser().parse_args(argv)
    errors = stderr or sys.stderr
    session = Session(
        output=getattr(args, "output", "table"),
        config_path=Path(args.config) if "config" in args else None,
        urls={name: getattr(args, name, None) for name in URLS},
        token_file=getattr(args, "token_file", None),
        stdin=stdin or sys.stdin,
        stdout=stdout or sys.stdout,
        stderr=errors,
    )
    try:
        args.run(session, args)
        session.stdout.flush()
    except (CommandError, ApiError) as error:
        return _complain(error, errors)
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(error: VagentError, errors: TextIO) -> int:
    lines = str(error).splitlines()
    errors.writelines(f"vagentctl: {printable(line)}\n" for line in lines)
    code = exit_code(error)
    if code == USAGE:
        errors.write("try: vagentctl --help\n")
    if isinstance(error, ApiError) and error.status == NEVER_ANSWERED:
        errors.write("is vagent running? try: systemctl status vagent\n")
    return code
